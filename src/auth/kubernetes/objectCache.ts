/**
 * Objects read one by one with `get` and remembered: Secrets, and what a pod's environment is made of. However often it is asked, the
 * API server's load stays bounded.
 */
import { LRUCache } from 'lru-cache';
import { untilAborted } from '../../abort.ts';
import { ApiFailure } from './apiFailure.ts';

/** An answer so young is not asked for again, not even after a broker's refusal. */
const FRESH_FLOOR_MS = 1_000;
/** A known answer is renewed in the background after this time, give or take a tenth; a refused password renews it at once. */
const RENEW_MS = 600_000;
/** "There is none" is believed for so long. */
const ABSENT_MS = 5_000;
/** With the API server away, the last answer stands in for so long. */
const LAST_GOOD_MS = 3_600_000;
const MAX_OBJECTS = 50_000;
/** Requests under way at once. */
const CONCURRENCY = 32;
/** Requests for what is already known, or for names that a caller gives: so many a second, and so many at once after a rest. */
const REPEATS_PER_S = 20;
const REPEAT_BURST = 100;

export interface ObjectCache<T> {
  /**
   * The object, undefined where there is certainly none; `fetch` runs at most once at a time for one key. A request
   * that is not the first for its object or whose name nobody vouches for: over the allowed rate it is answered from memory, or
   * fails where that holds no object.
   */
  get(key: string, fetch: (signal: AbortSignal) => Promise<T | undefined>, options: CacheOptions): Promise<T | undefined>;
  close(): void;
}

export interface CacheOptions {
  readonly signal: AbortSignal;
  readonly maxAgeMs: number | undefined;
  /** The name comes from a caller, and no object of ours vouches for it. */
  readonly unvouched?: boolean;
  /** Whether the failure is a certain answer, so that the last good one may not stand in. */
  readonly isCertain: (failure: unknown) => boolean;
}

interface Entry<T> {
  answer: { readonly value: T | undefined; readonly at: number; readonly renewAfterMs: number } | undefined;
  pending: Promise<T | undefined> | undefined;
}

export function createObjectCache<T>(now: () => number = () => performance.now()): ObjectCache<T> {
  const entries = new LRUCache<string, Entry<T>>({ max: MAX_OBJECTS });
  const closing = new AbortController();
  const waiting: (() => void)[] = [];
  let running = 0;
  let tokens = REPEAT_BURST;
  let refilledAt = now();

  function takeToken(): boolean {
    const at = now();
    tokens = Math.min(REPEAT_BURST, tokens + ((at - refilledAt) / 1000) * REPEATS_PER_S);
    refilledAt = at;
    if (tokens < 1) return false;
    tokens--;
    return true;
  }

  async function inTurn(run: () => Promise<T | undefined>): Promise<T | undefined> {
    if (running >= CONCURRENCY) await new Promise<void>((go) => waiting.push(go));
    running++;
    try {
      return await run();
    } finally {
      running--;
      waiting.shift()?.();
    }
  }

  function start(
    entry: Entry<T>,
    fetch: (signal: AbortSignal) => Promise<T | undefined>,
    options: CacheOptions,
  ): Promise<T | undefined> {
    entry.pending ??= inTurn(() => fetch(closing.signal))
      .then(
        (value) => {
          const renewAfterMs = value === undefined ? ABSENT_MS : RENEW_MS * (0.9 + 0.2 * Math.random());
          entry.answer = { value, at: now(), renewAfterMs };
          return value;
        },
        (failure: unknown) => {
          const { answer } = entry;
          if (answer?.value !== undefined && !options.isCertain(failure) && now() - answer.at <= LAST_GOOD_MS)
            return answer.value;
          entry.answer = undefined;
          throw failure;
        },
      )
      .finally(() => {
        entry.pending = undefined;
      });
    return entry.pending;
  }

  return {
    async get(key, fetch, options) {
      let entry = entries.get(key);
      if (entry === undefined) {
        entry = { answer: undefined, pending: undefined };
        entries.set(key, entry);
      }
      const { answer } = entry;
      const age = answer === undefined ? Infinity : now() - answer.at;
      const oldest = Math.max(FRESH_FLOOR_MS, Math.min(options.maxAgeMs ?? Infinity, answer?.renewAfterMs ?? 0));
      if (answer !== undefined && age <= oldest) return answer.value;

      const repeat = answer !== undefined || options.unvouched === true;
      if (entry.pending === undefined && repeat && !takeToken()) {
        if (answer?.value !== undefined) return answer.value;
        throw new ApiFailure(0, `more than ${REPEATS_PER_S} questions a second are not passed on to the API server`);
      }
      const fetching = start(entry, fetch, options);
      const mayWait = options.maxAgeMs === undefined && answer?.value !== undefined;
      if (mayWait) {
        fetching.catch(() => undefined);
        return answer.value;
      }
      // The request goes on for the others that wait for it.
      return await untilAborted(fetching, options.signal);
    },
    close() {
      closing.abort();
      for (const go of waiting.splice(0)) go();
    },
  };
}
