/**
 * The lists of one vhost's queues, each fetched at most once at a time and shared by all questions for a moment.
 */
import type { QueueScalerError } from '../../../errors.ts';
import { toQueueScalerError } from '../../../errors.ts';
import type { QueueStats, QueueList } from './queueStats.ts';
import type { Kind } from '../read/zero.ts';

export type ListKind = Exclude<Kind, 'declare'>;

/** How old a list may be to answer again, in ms: the live one as young as a reading, the others half of the broker's own 5 s. */
const FRESH_MS: Readonly<Record<ListKind, number>> = { totals: 500, prometheus: 2_500, statistics: 2_500 };

export interface QueueListCache {
  /**
   * A list of that kind, or of another where that one cannot be had; one had before the time `notBefore`, in ms of
   * `performance.now()`, will not do.
   */
  get(kind: ListKind, notBefore?: number): Promise<QueueList>;
  /** The type of a queue, as any list has told it last. */
  typeOf(queue: string): string | undefined;
  /** Has the totals list tell the queue's type, unless that was told lately; never rejects. */
  learnType(queue: string): Promise<void>;
  /** Queues in the longest list had so far. */
  readonly size: number | undefined;
  /** How long the slowest kind of list took when it was had last, in ms; undefined before any was. */
  readonly tookMs: number | undefined;
}

interface Slot {
  rows: QueueList | undefined;
  tookMs: number | undefined;
  pending: Promise<QueueList> | undefined;
  /** The last failure, so that a thousand questions do not each try again. */
  failure: { readonly at: number; readonly error: QueueScalerError } | undefined;
}

const FAILURE_FRESH_MS = 250;
/** A queue may have been deleted and declared anew as another type, in ms. */
const TYPES_FRESH_MS = 60_000;
const TYPES_RETRY_MS = 5_000;

export function createQueueListCache(fetch: (kind: ListKind) => Promise<QueueList>): QueueListCache {
  const slots = new Map<ListKind, Slot>();
  const types = new Map<string, string>();
  let size: number | undefined;

  function learn(rows: QueueList): void {
    size = rows.queues.size;
    for (const { name, type } of rows.queues.values()) if (type !== undefined) types.set(name, type);
    if (types.size > 2 * size + 100) for (const name of types.keys()) if (!rows.queues.has(name)) types.delete(name);
  }

  function slotOf(kind: ListKind): Slot {
    let slot = slots.get(kind);
    if (slot === undefined)
      slots.set(kind, (slot = { rows: undefined, tookMs: undefined, pending: undefined, failure: undefined }));
    return slot;
  }

  const typesFresh = (queue: string): boolean => {
    const age = performance.now() - (slots.get('totals')?.rows?.at ?? -Infinity);
    return age < (types.has(queue) ? TYPES_FRESH_MS : TYPES_RETRY_MS);
  };

  const lists: QueueListCache = {
    async learnType(queue) {
      // Whoever asks for figures tells of the trouble; without a type a zero only takes longer to be believed.
      if (!typesFresh(queue)) await lists.get('totals').catch(() => undefined);
    },
    typeOf: (queue) => types.get(queue),
    get size() {
      return size;
    },
    get tookMs() {
      const took = [...slots.values()].flatMap(({ tookMs }) => tookMs ?? []);
      return took.length === 0 ? undefined : Math.max(...took);
    },
    get(kind, notBefore = -Infinity) {
      const slot = slotOf(kind);
      const now = performance.now();
      if (slot.rows !== undefined && slot.rows.at >= notBefore && now - slot.rows.at <= FRESH_MS[kind])
        return Promise.resolve(slot.rows);
      if (slot.failure !== undefined && now - slot.failure.at <= FAILURE_FRESH_MS) return Promise.reject(slot.failure.error);
      slot.pending ??= fetch(kind)
        .then((rows) => {
          slot.rows = rows;
          slot.tookMs = performance.now() - now;
          slot.failure = undefined;
          learn(rows);
          return rows;
        })
        .catch((thrown: unknown) => {
          const error = toQueueScalerError(thrown);
          slot.failure = { at: performance.now(), error };
          throw error;
        })
        .finally(() => {
          slot.pending = undefined;
        });
      return slot.pending;
    },
  };
  return lists;
}

/** A row with all figures that counting messages needs. */
export type CountedStats = QueueStats & { readonly ready: number; readonly unacknowledged: number; readonly messages: number };

/** Whether the row has all figures that counting messages needs. */
export function isCounted(row: QueueStats): row is CountedStats {
  return row.error === undefined && row.ready !== undefined && row.unacknowledged !== undefined && row.messages !== undefined;
}
