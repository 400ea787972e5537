/**
 * Waiting and repeating that end with a signal.
 */
import { onAbort } from '../abort.ts';

/** Resolves after the given time, or at once when the signal aborts; never rejects. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      forget();
      resolve();
    }, ms);
    const forget = onAbort(signal, () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** Runs the task at once, and again a period after each end, until the signal aborts. */
export async function repeat(periodMs: number, task: () => Promise<void>, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await task();
    await pause(periodMs, signal);
  }
}
