/**
 * How long a list is waited for where another reader can answer. One that comes late still serves a later question.
 */

/** The least, in ms. */
const LIST_PATIENCE_MS = 1_000;
/** A list may take twice as long as is likely: one of ten thousand queues takes more than a second at any time. */
const PATIENCE_FACTOR = 2;
const MAX_PATIENCE_MS = 5_000;
/** The same while an earlier answer is overdue. */
const OVERDUE_PATIENCE_MS = 100;

export const LATE = Symbol('late');

/** Resolves as the answer does, or to {@link LATE} once that has been waited for long enough. */
export type UnlessLate = <T>(answer: Promise<T>) => Promise<T | typeof LATE>;

/** `likelyMs` is how long a list takes as long as no node hangs; 0 while one may. */
export function createPatience(likelyMs: () => number): UnlessLate {
  /** Late answers that may still come. */
  let overdue = 0;

  function patienceMs(): number {
    if (overdue > 0) return OVERDUE_PATIENCE_MS;
    return Math.max(LIST_PATIENCE_MS, Math.min(MAX_PATIENCE_MS, PATIENCE_FACTOR * likelyMs()));
  }

  return async <T>(answer: Promise<T>) => {
    let timer: NodeJS.Timeout | undefined;
    const startedAt = performance.now();
    const late = new Promise<typeof LATE>((resolve) => {
      // How long an answer may take becomes known only while the first is waited for.
      const look = (): void => {
        const leftMs = startedAt + patienceMs() - performance.now();
        if (leftMs > 0) {
          timer = setTimeout(look, leftMs);
          return;
        }
        overdue++;
        const settled = (): void => {
          overdue--;
        };
        answer.then(settled, settled);
        resolve(LATE);
      };
      timer = setTimeout(look, Math.min(LIST_PATIENCE_MS, patienceMs()));
    });
    try {
      return await Promise.race([answer, late]);
    } finally {
      clearTimeout(timer);
    }
  };
}
