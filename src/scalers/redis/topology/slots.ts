/**
 * Who owns which slot of a Redis Cluster, put together from what several of its nodes say: of two claims to a slot the one with the
 * higher configuration epoch is true (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/).
 */

const SLOTS = 16_384;

/** A node in the reply of `CLUSTER NODES`. */
export interface ClusterNode {
  readonly id: string;
  /** `host:port` as announced; undefined where the node doesn't know its own. */
  readonly announced: string | undefined;
  readonly isSelf: boolean;
  readonly isPrimary: boolean;
  readonly epoch: number;
  /** Inclusive ranges. */
  readonly slots: readonly (readonly [number, number])[];
  /** Slots that this node gives away or takes over; only the node itself lists them. */
  readonly moving: readonly number[];
}

/** Reads the reply of `CLUSTER NODES`; undefined where it is none. `byName` prefers announced host names to addresses. */
export function parseClusterNodes(text: string, byName: boolean): readonly ClusterNode[] | undefined {
  const nodes: ClusterNode[] = [];
  for (const line of text.split('\n')) {
    if (line.trim() === '') continue;
    const [id, place, flagText, , , , epochText, , ...ranges] = line.trim().split(' ');
    const epoch = Number(epochText);
    if (id === undefined || place === undefined || flagText === undefined || !Number.isSafeInteger(epoch)) return undefined;
    const flags = flagText.split(',');
    if (flags.includes('handshake') || flags.includes('noaddr')) continue;
    const slots: [number, number][] = [];
    const moving: number[] = [];
    for (const range of ranges) {
      const match = /^(?:\[(\d+)-[<>]-\w+\]|(\d+)(?:-(\d+))?)$/.exec(range);
      if (match === null) return undefined;
      const [, movingSlot, from, to = from] = match;
      if (movingSlot !== undefined) moving.push(Number(movingSlot));
      else if (Number(from) <= Number(to) && Number(to) < SLOTS) slots.push([Number(from), Number(to)]);
      else return undefined;
    }
    nodes.push({
      id,
      announced: announcedIn(place, byName),
      isSelf: flags.includes('myself'),
      isPrimary: flags.includes('master'),
      epoch,
      slots,
      moving,
    });
  }
  return nodes.length > 0 ? nodes : undefined;
}

/** `ip:port@bus[,hostname[,…]]` */
function announcedIn(place: string, byName: boolean): string | undefined {
  const [address = '', name = ''] = place.split(',');
  const [, host = '', port = ''] = /^(.*):(\d+)(?:@\d+)?$/.exec(address) ?? [];
  const best = byName && name !== '' ? name : host;
  if (best === '' || port === '0' || port === '') return undefined;
  return best.includes(':') ? `[${best}]:${port}` : `${best}:${port}`;
}

/** The owner of each slot, by the most recent claim. */
export function slotOwners(claims: readonly (readonly ClusterNode[])[]): readonly (ClusterNode | undefined)[] {
  const owners = new Array<ClusterNode | undefined>(SLOTS).fill(undefined);
  for (const nodes of claims) {
    for (const node of nodes) {
      if (!node.isPrimary) continue;
      for (const [from, to] of node.slots) {
        for (let slot = from; slot <= to; slot++) {
          const claimed = owners[slot];
          if (claimed === undefined || claimed.epoch < node.epoch) owners[slot] = node;
        }
      }
    }
  }
  return owners;
}

/** CRC-16/XMODEM, polynomial 0x1021, one entry per byte. */
const CRC16 = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8;
  for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000) === 0 ? crc << 1 : (crc << 1) ^ 0x1021;
  return crc & 0xffff;
});

/** The slot of a key: CRC16 of what stands in its first braces, or of all of it, modulo 16384. */
export function slotOf(key: string): number {
  const open = key.indexOf('{');
  const close = open < 0 ? -1 : key.indexOf('}', open + 1);
  const hashed = close > open + 1 ? key.slice(open + 1, close) : key;
  let crc = 0;
  for (const byte of Buffer.from(hashed)) crc = ((crc << 8) & 0xffff) ^ (CRC16[(crc >> 8) ^ byte] ?? 0);
  return crc % SLOTS;
}
