/**
 * The lists of one vhost's queues, each fetched at most once at a time and shared by all questions for a moment.
 */
import { toQueueScalerError, type QueueScalerError } from '../../../errors.ts';
import type { ListSource, QueueList } from './queueStats.ts';

/** How old a list may be to answer again, in ms: the live one as young as a reading, the others half of the broker's own 5 s. */
const FRESH_MS: Readonly<Record<ListSource, number>> = { totals: 500, prometheus: 2_500, statistics: 2_500, counters: 2_500 };
/** A failure is shared for this long, so that a thousand questions do not each try again. */
const FAILURE_FRESH_MS = 250;
/** A queue may be deleted and declared again as another type: how long a type is taken for granted, in ms. */
const TYPES_FRESH_MS = 60_000;
const TYPES_RETRY_MS = 5_000;

export interface QueueListCache {
  /**
   * A list from that source, or of another kind where that one cannot be had. With `notBefore`, in ms of `performance.now()`, an
   * older list is fetched again.
   */
  get(source: ListSource, notBefore?: number): Promise<QueueList>;
  /** The type of a queue as the latest list that reports types has it. */
  typeOf(queue: string): string | undefined;
  /** Fetches the totals list, which reports types, unless the queue's type is known well enough; never rejects. */
  learnType(queue: string): Promise<void>;
  /** Number of queues in the list that came last. */
  readonly size: number | undefined;
  /** How long the slowest kind of list took last time, in ms; undefined before any came. */
  readonly tookMs: number | undefined;
}

interface Slot {
  list?: QueueList;
  /** When that came. */
  listedAt?: number;
  tookMs?: number;
  pending?: Promise<QueueList> | undefined;
  failure?: { readonly at: number; readonly error: QueueScalerError } | undefined;
}

export function createQueueListCache(fetch: Readonly<Record<ListSource, () => Promise<QueueList>>>): QueueListCache {
  const slots: Record<ListSource, Slot> = { totals: {}, prometheus: {}, statistics: {}, counters: {} };
  let size: number | undefined;

  function typeOf(queue: string): string | undefined {
    const { totals, statistics } = slots;
    const [newer, older] = (totals.list?.at ?? 0) > (statistics.list?.at ?? 0) ? [totals, statistics] : [statistics, totals];
    return newer.list?.queues.get(queue)?.type ?? older.list?.queues.get(queue)?.type;
  }

  function get(source: ListSource, notBefore = -Infinity): Promise<QueueList> {
    const slot = slots[source];
    const now = performance.now();
    const { list, listedAt = -Infinity, failure } = slot;
    if (list !== undefined && list.at >= notBefore && now - listedAt <= FRESH_MS[source]) return Promise.resolve(list);
    if (failure !== undefined && now - failure.at <= FAILURE_FRESH_MS) return Promise.reject(failure.error);
    slot.pending ??= fetch[source]()
      .then((fetched) => {
        // What it says may be as old as the request, and what was told in between is newer.
        slot.list = { ...fetched, at: now };
        slot.listedAt = performance.now();
        slot.tookMs = slot.listedAt - now;
        slot.failure = undefined;
        size = fetched.queues.size;
        return slot.list;
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
  }

  return {
    get,
    typeOf,
    async learnType(queue) {
      const ageMs = performance.now() - (slots.totals.list?.at ?? -Infinity);
      if (ageMs < (typeOf(queue) === undefined ? TYPES_RETRY_MS : TYPES_FRESH_MS)) return;
      // Reading the figures reports the failure; without a type a zero only takes longer to be believed.
      await get('totals').catch(() => undefined);
    },
    get size() {
      return size;
    },
    get tookMs() {
      const took = Object.values(slots).flatMap(({ tookMs }) => tookMs ?? []);
      return took.length === 0 ? undefined : Math.max(...took);
    },
  };
}
