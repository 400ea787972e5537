/**
 * Waiting and repeating that end with a signal.
 */
import { setTimeout as sleep } from 'node:timers/promises';

/** Resolves after the given time, or at once when the signal aborts; never rejects. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined);
}

/** Runs the task at once, and again a period after each end, until the signal aborts. */
export async function repeat(periodMs: number, task: () => Promise<void>, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await task();
    await pause(periodMs, signal);
  }
}
