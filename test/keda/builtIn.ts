/**
 * What KEDA 2.20's own RabbitMQ and Redis scalers make of a broker's answers, written from their documented formulas: the second
 * opinion on what `convert` promises. It asks the broker as KEDA does and shares no code with `src/`.
 */
import { connect } from 'amqplib';

export interface Verdict {
  readonly value: number;
  readonly target: number;
  readonly active: boolean;
}

type Metadata = Readonly<Record<string, string>>;
type Call = (command: string, ...args: (string | number)[]) => Promise<unknown>;

interface Figures {
  readonly messages: number;
  readonly published: number;
  readonly delivered: number;
}

interface QueueAnswer {
  readonly messages?: number;
  readonly messages_ready?: number;
  readonly message_stats?: {
    readonly publish_details?: { readonly rate?: number };
    readonly deliver_get_details?: { readonly rate?: number };
  };
}

/** Rejects where KEDA's scaler gives an error. `host` is an AMQP or HTTP URL with user, password and vhost. */
export async function rabbitmqVerdict(metadata: Metadata): Promise<Verdict> {
  const host = new URL(metadata['host'] ?? '');
  const name = metadata['queueName'] ?? '';
  const activation = Number(metadata['activationValue'] ?? 0);
  const shortcut = metadata['mode'] === undefined && metadata['value'] === undefined;
  const mode = shortcut ? 'QueueLength' : metadata['mode'];
  const target = Number(shortcut ? (metadata['queueLength'] ?? 20) : metadata['value']);
  const figures = host.protocol.startsWith('amqp') ? await declared(host, name) : await asked(host, name, metadata);
  return { target, ...judged(figures, mode ?? '', activation) };
}

function judged({ messages: m, published: p, delivered: d }: Figures, mode: string, a: number): Omit<Verdict, 'target'> {
  switch (mode) {
    case 'QueueLength':
      return { value: m, active: m > a };
    case 'MessageRate':
      return { value: p, active: p > a || m > a };
    case 'DeliverGetRate':
      return { value: d, active: d > a };
    case 'PublishedToDeliveredRatio': {
      const ratio = p > 0 && d === 0 ? a : p > 0 && d > 0 ? p / d : 0;
      return { value: ratio, active: ratio > a || (p > 0 && d === 0) };
    }
    case 'ExpectedQueueConsumptionTime': {
      if (d === 0) return { value: a, active: true };
      const time = m === 0 ? 0 : Math.max(0, (p - d) / d + m / d);
      return { value: time, active: time > a };
    }
    default:
      throw new Error(`KEDA has no mode ${mode}`);
  }
}

/** Ready messages alone, by a passive declare. */
async function declared(host: URL, queue: string): Promise<Figures> {
  const connection = await connect(host.href);
  try {
    const channel = await connection.createChannel();
    channel.on('error', () => undefined);
    return { messages: (await channel.checkQueue(queue)).messageCount, published: 0, delivered: 0 };
  } finally {
    await connection.close();
  }
}

async function asked(host: URL, queue: string, metadata: Metadata): Promise<Figures> {
  const { username, password, origin, pathname } = host;
  const headers = { authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}` };
  const vhost = pathname === '/' || pathname === '' ? '/%2F' : pathname;
  const pattern = metadata['useRegex'] === 'true';
  const path = pattern
    ? `${vhost}?page=1&use_regex=true&pagination=false&name=${encodeURIComponent(queue)}&page_size=${metadata['pageSize'] ?? 100}`
    : `${vhost}/${encodeURIComponent(queue)}`;
  const response = await fetch(`${origin}/api/queues${path}`, { headers });
  if (!response.ok) throw new Error(`status ${response.status}`);
  const ready = metadata['excludeUnacknowledged'] === 'true';
  const figures = (answer: QueueAnswer): Figures => ({
    messages: (ready ? answer.messages_ready : answer.messages) ?? 0,
    published: answer.message_stats?.publish_details?.rate ?? 0,
    delivered: answer.message_stats?.deliver_get_details?.rate ?? 0,
  });
  if (!pattern) return figures((await response.json()) as QueueAnswer);
  const { items } = (await response.json()) as { readonly items: readonly QueueAnswer[] };
  const all = items.map(figures);
  const combined = (of: keyof Figures, isCount: boolean): number => {
    const values = all.map((each) => each[of]);
    const sum = values.reduce((total, value) => total + value, 0);
    if (metadata['operation'] === 'max') return Math.max(0, ...values);
    if (metadata['operation'] !== 'avg' || values.length === 0) return sum;
    return isCount ? Math.trunc(sum / values.length) : sum / values.length;
  };
  return {
    messages: combined('messages', true),
    published: combined('published', false),
    delivered: combined('delivered', false),
  };
}

/** `call` must reach the server that owns the key. */
export async function redisVerdict(metadata: Metadata, call: Call): Promise<Verdict> {
  if (metadata['stream'] !== undefined) return streamVerdict(metadata, metadata['stream'], call);
  const list = metadata['listName'] ?? '';
  const lengths: Readonly<Record<string, string>> = { list: 'LLEN', none: 'LLEN', set: 'SCARD', zset: 'ZCARD', hash: 'HLEN' };
  const length = lengths[String(await call('TYPE', list))];
  if (length === undefined) throw new Error('unsupported key type');
  const value = Number(await call(length, list));
  return {
    value,
    target: Number(metadata['listLength'] ?? 5),
    active: value > Number(metadata['activationListLength'] ?? 0),
  };
}

async function streamVerdict(metadata: Metadata, stream: string, call: Call): Promise<Verdict> {
  const group = metadata['consumerGroup'];
  const told = (value: number, target: string | undefined): Verdict => ({
    value,
    target: Number(target ?? 5),
    active: value > Number(metadata['activationLagCount'] ?? 0),
  });
  if (group === undefined) return told(Number(await call('XLEN', stream)), metadata['streamLength']);
  if (metadata['lagCount'] === undefined) {
    const [pending] = (await call('XPENDING', stream, group)) as [number];
    return told(pending, metadata['pendingEntriesCount']);
  }
  try {
    const groups = ((await call('XINFO', 'GROUPS', stream)) as unknown[][]).map(
      (fields) =>
        Object.fromEntries(fields.flatMap((name, at) => (at % 2 === 0 ? [[name, fields[at + 1]]] : []))) as Record<
          string,
          unknown
        >,
    );
    const found = groups.find(({ name }) => name === group);
    // A lag of nil comes out of its client as -1, and counts as none.
    if (found !== undefined) return told(Math.max(0, Number(found['lag'] ?? -1)), metadata['lagCount']);
  } catch (thrown) {
    if (thrown instanceof Error && thrown.message === 'ERR no such key') return told(0, metadata['lagCount']);
  }
  return told(Number(await call('XLEN', stream)), metadata['lagCount']);
}
