/**
 * Queues as the management API reports them, row by row. What a row lacks is absent in the result, and a row that breaks the rules
 * becomes an error, never a zero.
 */
import { QueueError, type QueueScalerError } from '../../../errors.ts';

/** What a list or a single GET says about a queue. An absent figure was absent in the answer. */
export interface QueueStats {
  readonly name: string;
  /** `classic`, `quorum`, `stream` or another; undefined if not reported. */
  readonly type?: string | undefined;
  /** It has members on several nodes; only statistics show mirrors. */
  readonly replicated: boolean;
  readonly ready: number | undefined;
  readonly unacknowledged: number | undefined;
  /** Ready and unacknowledged ones. */
  readonly messages: number | undefined;
  /** Messages that are neither: of a quorum queue those that are to be tried again later, or are on their way to a dead-letter queue. */
  readonly delayed?: number | undefined;
  readonly consumers?: number | undefined;
  readonly counters?: Counters | undefined;
  /** Why the figures must not be used. */
  readonly error?: QueueScalerError | undefined;
}

export interface Traffic {
  readonly published: number;
  readonly delivered: number;
  readonly acknowledged: number;
}

/** Messages since the queue's statistics began. */
export interface Counters extends Traffic {
  /** The broker's own rates, messages a second; undefined where it has none, or none that can be true. */
  readonly rates: Traffic | undefined;
}

/** The readers that list all queues of a vhost. */
export type ListKind = 'totals' | 'statistics' | 'prometheus';

/** What can be fetched: lists of each kind, and `counters`, the Prometheus plugin's with the counters that rates are taken from. */
export type ListSource = ListKind | 'counters';

/** Whoever can be asked for a queue: a list, or a GET of that queue alone. */
export type BulkReader = ListSource | 'single';

/** What a list or a single GET said about a queue. */
export interface Listed {
  readonly stats: QueueStats;
  readonly kind: ListKind;
  /** A second reader that says the same. */
  readonly agreed?: ListKind;
  readonly at: number;
}

/** Undefined: not asked, or there is no management API. `not listed any more` is a queue of a set that lists had lately. */
export type ListAnswer = Listed | 'not listed' | 'not listed any more' | QueueScalerError | undefined;

export function isListed(answer: ListAnswer): answer is Listed {
  return typeof answer === 'object' && !(answer instanceof Error);
}

export interface QueueList {
  readonly kind: ListKind;
  /** A time that no figure is older than, but for what the broker's own sampling takes, in ms of `performance.now()`. */
  readonly at: number;
  readonly queues: ReadonlyMap<string, QueueStats>;
}

/** `live` is a queue of which there are no statistics, on RabbitMQ 3. */
const ALIVE: ReadonlySet<string> = new Set(['running', 'idle', 'flow', 'live']);
const FIGURES = ['messages', 'messages_ready', 'messages_unacknowledged'];

/** Statistics with all figures that counting messages needs. */
export type CountedStats = QueueStats & { readonly ready: number; readonly unacknowledged: number; readonly messages: number };

export function isCounted(stats: QueueStats): stats is CountedStats {
  const { error, ready, unacknowledged, messages } = stats;
  return error === undefined && ready !== undefined && unacknowledged !== undefined && messages !== undefined;
}

/**
 * Whether a row of the answer, which is a list of rows or one row, has a field twice: then one of two values would be taken at random.
 * After a healed partition the statistics of two nodes are added up, and a row repeats what they disagree about: `node`, or for a
 * mirrored queue on RabbitMQ 3.10 only `slave_nodes`.
 */
export function hasRepeatedFields(body: string, json: unknown, kind: ListKind): boolean {
  const fields = kind === 'statistics' ? [...FIGURES, 'node', 'slave_nodes'] : FIGURES;
  const rows = Array.isArray(json) ? json.map(asRecord) : [asRecord(json)];
  return fields.some((field) => {
    const once = rows.filter((row) => Object.hasOwn(row, field)).length;
    // If the text has more, they may be a queue's own arguments of that name.
    return occurrences(body, `"${field}":`) > once && keysOf(body, Array.isArray(json) ? 2 : 1, field) > once;
  });
}

/** Inside a JSON string the quotes would be escaped, so what is found is always a key. */
function occurrences(text: string, part: string): number {
  let count = 0;
  for (let at = text.indexOf(part); at >= 0; at = text.indexOf(part, at + part.length)) count++;
  return count;
}

/** How often a key occurs in JSON at that depth of brackets. */
function keysOf(json: string, within: number, key: string): number {
  let depth = 0;
  let count = 0;
  for (let at = 0; at < json.length; at++) {
    const character = json[at];
    if (character === '{' || character === '[') depth++;
    else if (character === '}' || character === ']') depth--;
    else if (character === '"') {
      if (depth === within && json.startsWith(`"${key}":`, at)) count++;
      while (++at < json.length && json[at] !== '"') if (json[at] === '\\') at++;
    }
  }
  return count;
}

export function parseQueueStats(item: unknown, repeated: boolean): QueueStats | undefined {
  const fields = asRecord(item);
  const { name, type, state } = fields;
  if (typeof name !== 'string') return undefined;
  const stats = {
    name,
    type: typeof type === 'string' ? type : undefined,
    replicated: type === 'quorum' || type === 'stream' || fields['slave_nodes'] !== undefined,
    ready: count(fields['messages_ready']),
    unacknowledged: count(fields['messages_unacknowledged']),
    messages: count(fields['messages']),
    consumers: count(fields['consumers']),
    counters: parseCounters(fields['message_stats']),
  };
  const twice = 'a field of it is told twice, as after a healed partition, when figures of two nodes are added up';
  return { ...stats, ...countable(stats), error: repeated ? implausible(name, twice) : rowError(stats, state, fields) };
}

type Lengths = Pick<QueueStats, 'ready' | 'unacknowledged' | 'messages'>;

/**
 * Since RabbitMQ 4.3 the broker counts delayed retries among a quorum queue's messages, except in the answer to a passive declare. Not
 * every list tells how many they are, but all of them tell the others. Measured: one that is due is ready at once, consumers or not.
 */
export function countable({ ready, unacknowledged, messages }: Lengths): Lengths & Pick<QueueStats, 'delayed'> {
  const delayed = Math.max(0, (messages ?? NaN) - (ready ?? NaN) - (unacknowledged ?? NaN));
  if (messages === undefined || Number.isNaN(delayed)) return { ready, unacknowledged, messages };
  return { ready, unacknowledged, messages: messages - delayed, delayed };
}

function rowError(stats: QueueStats, state: unknown, fields: Readonly<Record<string, unknown>>): QueueScalerError | undefined {
  const { name, ready = NaN, unacknowledged = NaN, messages = NaN } = stats;
  // During a failover rows have 0 messages and no state.
  if (state === undefined || state === null)
    return new QueueError('FIELD_MISSING', `queue ${name}: the broker does not tell its state yet`);
  if (typeof state !== 'string' || !ALIVE.has(state)) {
    const is = typeof state === 'string' ? state.slice(0, 40) : 'in an unknown state';
    return new QueueError('QUEUE_DOWN', `queue ${name} is ${is}`);
  }
  for (const field of [...FIGURES, 'consumers']) {
    const value = fields[field];
    if (value !== undefined && value !== null && !isCount(value)) return implausible(name, `${field} is no count`);
  }
  return messages < Math.max(ready, unacknowledged)
    ? implausible(name, `${messages} messages are fewer than ${ready} ready or ${unacknowledged} unacknowledged`)
    : undefined;
}

export function implausible(name: string, why: string): QueueError {
  return new QueueError('VALUE_IMPLAUSIBLE', `queue ${name}: ${why}`);
}

function parseCounters(stats: unknown): Counters | undefined {
  if (typeof stats !== 'object' || stats === null) return undefined;
  const fields = asRecord(stats);
  const counters = trafficOf((name) => (fields[name] === undefined ? 0 : count(fields[name])));
  const rates = trafficOf((name) => {
    const details = fields[`${name}_details`];
    if (details === undefined) return 0;
    const { rate } = asRecord(details);
    return typeof rate === 'number' && Number.isFinite(rate) && rate >= 0 ? rate : undefined;
  });
  return counters && { ...counters, rates };
}

function trafficOf(figureOf: (name: string) => number | undefined): Traffic | undefined {
  const [published, delivered, acknowledged] = ['publish', 'deliver_get', 'ack'].map(figureOf);
  if (published === undefined || delivered === undefined || acknowledged === undefined) return undefined;
  return { published, delivered, acknowledged };
}

export function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

export function count(value: unknown): number | undefined {
  return isCount(value) ? value : undefined;
}

export function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}
