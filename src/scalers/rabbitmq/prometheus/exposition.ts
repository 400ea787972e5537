/**
 * Reads the Prometheus plugin of every node, the cheapest reader there is; its figures are up to 5 s old. Each node reports only the
 * queues that it leads, so if one node is silent the list cannot show which queues are missing. It is asked without a login.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { BrokerError } from '../../../errors.ts';
import { endpointLabel, type Endpoint } from '../address.ts';
import type { HttpClient } from '../management/http.ts';
import { countable, implausible, type QueueStats, type QueueList, type Traffic } from '../management/queueStats.ts';

const LABEL = '"((?:[^"\\\\\\n]|\\\\.)*)"';
const METRICS =
  'messages(?:_ready|_unacked)?|consumers|messages_(?:acked|delivered|delivered_ack)_total|get(?:_ack)?_total|exchange_messages_published_total';
const LINE = new RegExp(
  `^rabbitmq_detailed_queue_(${METRICS})\\{vhost=${LABEL},(?:exchange=${LABEL},)?queue=${LABEL}\\} (\\S+)$`,
  'gm',
);
const IDENTITY = new RegExp(`^rabbitmq_identity_info\\{rabbitmq_node=${LABEL}`, 'm');
/**
 * Characters parsed in one turn of the event loop: half a millisecond's work, twice that before the code is warm. A wake-up must not
 * wait for a long answer.
 */
const TURN_CHARACTERS = 16_384;
const COUNT = /^\d{1,15}(?:\.0+)?$/;

const LENGTHS = ['queue_coarse_metrics'];
/**
 * RabbitMQ 3 does not know the last two and leaves them out. Those of later versions count on after a channel has closed, unlike the
 * families of channels, whose lines go with their channel, so that a sum of them falls whenever a worker ends.
 */
const LENGTHS_AND_COUNTERS = [...LENGTHS, 'queue_consumer_count', 'queue_delivery_metrics', 'queue_exchange_metrics'];
/** What the plugin counts, as the sums that the management API makes of it. */
const TRAFFIC: Readonly<Record<string, keyof Traffic>> = {
  exchange_messages_published_total: 'published',
  messages_delivered_total: 'delivered',
  messages_delivered_ack_total: 'delivered',
  get_total: 'delivered',
  get_ack_total: 'delivered',
  messages_acked_total: 'acknowledged',
};
/** A family's metrics are told of even where no queue has any. */
const COUNTS = ['messages_acked_total', 'exchange_messages_published_total'].map(
  (end) => `# TYPE rabbitmq_detailed_queue_${end} `,
);

/** What one node says of its queues. */
interface NodeMetrics {
  /** By queue, and by the end of the metric's name; a figure that is given twice or is no count is undefined. */
  readonly gauges: ReadonlyMap<string, ReadonlyMap<string, number | undefined>>;
  /** What has passed through this node, whichever node leads the queue; undefined where it does not count. */
  readonly traffic: ReadonlyMap<string, Traffic> | undefined;
}

/** Where a node serves its metrics, and its name where that is known. */
export interface MetricsSource {
  readonly endpoint: Endpoint;
  readonly node: string | undefined;
}

/** Rejects with a {@link BrokerError} unless every node answers. With `counters` rows also have those, where the broker has them. */
export async function scrape(
  http: HttpClient,
  sources: readonly MetricsSource[],
  vhost: string,
  counters: boolean,
  signal: AbortSignal,
): Promise<QueueList> {
  const families = (counters ? LENGTHS_AND_COUNTERS : LENGTHS).map((family) => `family=${family}&`).join('');
  const path = `/metrics/detailed?${families}vhost=${encodeURIComponent(vhost)}`;
  const answers = await Promise.all(
    sources.map(async ({ endpoint, node }) => {
      const answer = await http.get(endpoint, path, signal);
      const [, name = node] = IDENTITY.exec(answer.body) ?? [];
      if (node === undefined || name === node) return answer;
      throw new BrokerError(
        'BROKER_REPLY_INVALID',
        `the metrics at ${endpointLabel(endpoint)} are those of another node than ${node}`,
      );
    }),
  );
  const queues = await readMetrics(
    answers.map(({ body }) => body),
    vhost,
  );
  return { kind: 'prometheus', at: Math.min(...answers.map(({ at }) => at)), queues };
}

/** The queues of a vhost by the answers of all nodes. Throws a {@link BrokerError} if one is no metrics. */
export async function readMetrics(bodies: readonly string[], vhost: string): Promise<Map<string, QueueStats>> {
  const nodes: NodeMetrics[] = [];
  for (const body of bodies) nodes.push(await parseMetrics(body, vhost));
  const rows = new Map<string, QueueStats>();
  for (const { gauges } of nodes) {
    for (const [name, figures] of gauges) {
      const row = rowOf(name, figures, trafficOf(name, nodes));
      // A node that no longer leads a queue, or led a deleted one of that name, may keep its line for a while.
      rows.set(name, rows.has(name) ? { ...row, error: implausible(name, 'more than one node claims to lead it') } : row);
    }
  }
  return rows;
}

function rowOf(name: string, figures: ReadonlyMap<string, number | undefined>, traffic: Traffic | undefined): QueueStats {
  const [ready, unacknowledged, messages] = ['messages_ready', 'messages_unacked', 'messages'].map((end) => figures.get(end));
  return {
    name,
    replicated: false,
    ...countable({ ready, unacknowledged, messages }),
    consumers: figures.get('consumers'),
    counters: traffic && { ...traffic, rates: undefined },
  };
}

/** Undefined unless every node counts, as each counts what passes through its own channels. */
function trafficOf(queue: string, nodes: readonly NodeMetrics[]): Traffic | undefined {
  const sum = { published: 0, delivered: 0, acknowledged: 0 };
  for (const { traffic } of nodes) {
    if (traffic === undefined) return undefined;
    for (const [what, count] of Object.entries(traffic.get(queue) ?? {})) sum[what as keyof Traffic] += count as number;
  }
  return Object.values(sum).every(Number.isSafeInteger) ? sum : undefined;
}

async function parseMetrics(body: string, vhost: string): Promise<NodeMetrics> {
  if (!/^#|^$/.test(body))
    throw new BrokerError('BROKER_REPLY_INVALID', 'the Prometheus plugin answered something other than metrics');
  const gauges = new Map<string, Map<string, number | undefined>>();
  const traffic = new Map<string, Record<keyof Traffic, number>>();
  for (let start = 0; start < body.length;) {
    const end = body.indexOf('\n', start + TURN_CHARACTERS) + 1 || body.length;
    for (const [, metric = '', inVhost = '', , queue = '', text = ''] of body.slice(start, end).matchAll(LINE)) {
      if (unescape(inVhost) !== vhost) continue;
      const name = unescape(queue);
      const figure = COUNT.test(text) ? Number(text) : undefined;
      const counted = TRAFFIC[metric];
      if (counted === undefined) {
        const figures = entry(gauges, name, () => new Map<string, number | undefined>());
        figures.set(metric, figures.has(metric) ? undefined : figure);
      } else {
        entry(traffic, name, () => ({ published: 0, delivered: 0, acknowledged: 0 }))[counted] += figure ?? NaN;
      }
    }
    start = end;
    if (start < body.length) await nextTurn();
  }
  return { gauges, traffic: COUNTS.every((line) => body.includes(line)) ? traffic : undefined };
}

function entry<V>(map: Map<string, V>, key: string, create: () => V): V {
  let value = map.get(key);
  if (value === undefined) map.set(key, (value = create()));
  return value;
}

function unescape(label: string): string {
  return label.replaceAll(/\\(.)/g, (_, letter: string) => (letter === 'n' ? '\n' : letter));
}
