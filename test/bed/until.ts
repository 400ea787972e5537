/**
 * Waits for a condition instead of for a time; it must never let a test hang or pass because time went by.
 */
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Asks until the answer is neither `undefined` nor `false`, and gives it. A rejection counts as "not yet", and the last one is the
 * cause when `deadlineMs` has passed.
 */
export async function until<T>(
  what: string,
  ask: () => T | undefined | false | Promise<T | undefined | false>,
  { deadlineMs = 10_000, everyMs = 20 }: { readonly deadlineMs?: number; readonly everyMs?: number } = {},
): Promise<T> {
  const endAt = performance.now() + deadlineMs;
  let cause: unknown;
  for (;;) {
    try {
      const answer = await ask();
      if (answer !== undefined && answer !== false) return answer;
      cause = undefined;
    } catch (thrown) {
      cause = thrown;
    }
    if (performance.now() >= endAt) throw new Error(`not within ${deadlineMs} ms: ${what}`, { cause });
    await sleep(everyMs);
  }
}
