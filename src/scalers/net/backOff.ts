/**
 * How long to leave alone what has just failed. After the n-th failure in a row the pause is `firstMs` × 2^(n-1), at most
 * `longestMs`; the wait is a random time between half of the pause and all of it, so that many who lost the same server do not
 * come back in step.
 */

export interface BackOff {
  /** When it may be tried again, in ms of `performance.now()`; in the past when nothing has failed. */
  readonly retryAt: number;
  failed(): void;
  /** Forgets all failures: the next one counts as the first. */
  succeeded(): void;
}

export function createBackOff(firstMs: number, longestMs: number, random: () => number = Math.random): BackOff {
  let failures = 0;
  let retryAt = -Infinity;
  return {
    get retryAt() {
      return retryAt;
    },
    failed() {
      const pauseMs = Math.min(longestMs, firstMs * 2 ** failures++);
      retryAt = performance.now() + pauseMs * (0.5 + random() / 2);
    },
    succeeded() {
      failures = 0;
      retryAt = -Infinity;
    },
  };
}
