/** A private Redis Cluster on the loopback. */
import { freePort } from './ports.ts';
import { closeAll, DOWN_AFTER_MS, startAll, startRedis, type RedisServer, type RedisTls } from './redis.ts';
import { until } from './until.ts';

export interface RedisCluster {
  /** The first half were the primaries at the start, each followed by its replica in the second half. */
  readonly nodes: readonly RedisServer[];
  /** Comma list of all nodes' `host:port`. */
  readonly addresses: string;
  /** The node that serves the slot now, as the most recent configuration that any node knows says. */
  ownerOf(slot: number): Promise<RedisServer>;
  /** Resolves when every node that answers says that all slots are served and all agree on the owners. */
  settled(): Promise<void>;
  close(): Promise<void>;
}

const SLOTS = 16_384;
const PRIMARIES = 3;

/** Three primaries with one replica each; all slots covered. */
export async function startRedisCluster(
  options: {
    readonly password?: string;
    readonly tls?: RedisTls;
    readonly config?: Readonly<Record<string, string>>;
  } = {},
): Promise<RedisCluster> {
  const nodes = await startAll(
    Array.from({ length: 2 * PRIMARIES }, async () =>
      startRedis({
        ...(options.password === undefined ? {} : { password: options.password }),
        ...(options.tls === undefined ? {} : { tls: options.tls }),
        config: {
          'cluster-enabled': 'yes',
          ...(options.tls === undefined ? {} : { 'tls-cluster': 'yes' }),
          // Until the cluster stands: a machine that stalls must not make replicas take over from primaries that are just being made.
          'cluster-replica-no-failover': 'yes',
          'cluster-config-file': 'nodes.conf',
          'cluster-port': String(await freePort()),
          'cluster-node-timeout': String(DOWN_AFTER_MS),
          'cluster-replica-validity-factor': '0',
          ...options.config,
        },
      }),
    ),
  );
  const slotOwners = async (node: RedisServer): Promise<Map<number, number>> => {
    const owners = new Map<number, number>();
    for (const [from, to, [, port]] of (await node.call('CLUSTER', 'SLOTS')) as [number, number, [string, number]][]) {
      for (let slot = from; slot <= to; slot++) owners.set(slot, port);
    }
    return owners;
  };
  const cluster: RedisCluster = {
    nodes,
    addresses: nodes.map(({ host, port }) => `${host}:${port}`).join(','),
    ownerOf: (slot) =>
      until(`somebody owns slot ${slot}`, async () => {
        const votes = new Map<number, number>();
        for (const result of await Promise.allSettled(nodes.map(slotOwners))) {
          const port = result.status === 'fulfilled' ? result.value.get(slot) : undefined;
          if (port !== undefined) votes.set(port, (votes.get(port) ?? 0) + 1);
        }
        const [winner] = [...votes].sort(([, left], [, right]) => right - left);
        return nodes.find((node) => node.port === winner?.[0]);
      }),
    settled: async () => {
      await until(
        'all nodes agree that all slots are served',
        async () => {
          const states = await Promise.allSettled(
            nodes.map(async (node) => {
              const info = String(await node.call('CLUSTER', 'INFO'));
              const owners = await slotOwners(node);
              return info.includes('cluster_state:ok') && owners.size === SLOTS ? JSON.stringify([...owners].sort()) : 'not yet';
            }),
          );
          const said = new Set(states.flatMap((state) => (state.status === 'fulfilled' ? [state.value] : [])));
          return said.size === 1 && !said.has('not yet');
        },
        { deadlineMs: 30_000, everyMs: 100 },
      );
    },
    close: () => closeAll(nodes),
  };
  try {
    const ids = (await Promise.all(nodes.map((node) => node.call('CLUSTER', 'MYID')))) as string[];
    const share = Math.ceil(SLOTS / PRIMARIES);
    for (const [index, node] of nodes.slice(0, PRIMARIES).entries()) {
      await node.call('CLUSTER', 'ADDSLOTSRANGE', index * share, Math.min((index + 1) * share, SLOTS) - 1);
      await node.call('CLUSTER', 'SET-CONFIG-EPOCH', index + 1);
    }
    const [first, ...others] = nodes as [RedisServer, ...RedisServer[]];
    for (const node of others) {
      const busPort = Number(((await node.call('CONFIG', 'GET', 'cluster-port')) as [string, string])[1]);
      await first.call('CLUSTER', 'MEET', node.host, node.port, busPort);
    }
    for (const [index, node] of nodes.slice(PRIMARIES).entries()) {
      const primary = ids[index];
      if (primary === undefined) throw new Error('a primary has no id');
      await until('the replica knows its primary', async () => (await node.call('CLUSTER', 'REPLICATE', primary)) === 'OK');
    }
    await cluster.settled();
    await until('every replica follows its primary', async () => {
      const roles = (await Promise.all(nodes.slice(PRIMARIES).map((node) => node.call('ROLE')))) as string[][];
      return roles.every((role) => role[0] === 'slave' && role[3] === 'connected');
    });
    for (const node of nodes) {
      await node.call('CONFIG', 'SET', 'cluster-replica-no-failover', 'no');
      // For its next start.
      await node.call('CONFIG', 'REWRITE');
    }
    return cluster;
  } catch (thrown) {
    await cluster.close();
    throw thrown;
  }
}
