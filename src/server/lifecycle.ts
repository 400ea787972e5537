/**
 * Ends the parts of a server, last started first, each within what is left of one grace period, whether the others fail or not.
 */
import { onAbort } from '../abort.ts';
import type { Logger } from '../logger.ts';

/** Longest shutdown, in ms; Kubernetes kills a pod after 30 s by default. */
export const SHUTDOWN_GRACE_MS = 5_000;

export interface Lifecycle {
  /** Remembers how to end what has just been started. `end` gets a signal that aborts when the grace period is over. */
  started(name: string, end: (overdue: AbortSignal) => Promise<void> | void): void;
  /** Ends all, last started first. Never rejects; calling it again waits for the same end. */
  close(): Promise<void>;
}

export function createLifecycle(logger: Logger, graceMs = SHUTDOWN_GRACE_MS): Lifecycle {
  const parts: { readonly name: string; readonly end: (overdue: AbortSignal) => Promise<void> | void }[] = [];
  let closing: Promise<void> | undefined;

  async function closeAll(): Promise<void> {
    const overdue = AbortSignal.timeout(graceMs);
    for (const { name, end } of parts.reverse()) {
      try {
        if (!(await endsInTime(Promise.resolve(end(overdue)), overdue)))
          logger.warn({ part: name, graceMs }, 'did not end in time');
      } catch (error) {
        logger.warn({ part: name, error }, 'failed to end');
      }
    }
  }

  return {
    started: (name, end) => void parts.push({ name, end }),
    close: () => (closing ??= closeAll()),
  };
}

/** How long a part may still take once the grace period is over, to drop what it holds. */
const LAST_MS = 50;

function endsInTime(ended: Promise<void>, overdue: AbortSignal): Promise<boolean> {
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    const forget = onAbort(overdue, () => {
      timer = setTimeout(() => {
        resolve(false);
      }, LAST_MS);
    });
    ended
      .then(() => {
        resolve(true);
      }, reject)
      .finally(() => {
        clearTimeout(timer);
        forget();
      });
  });
}
