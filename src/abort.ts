/**
 * What happens when a signal aborts, or has done so already.
 */

/** Calls `act` once: now where the signal has aborted already, otherwise when it does. The result takes that back. */
export function onAbort(signal: AbortSignal, act: () => void): () => void {
  if (signal.aborted) act();
  else signal.addEventListener('abort', act, { once: true });
  return () => {
    signal.removeEventListener('abort', act);
  };
}

/** Waits for the promise, but no longer than the signal: then rejects with its reason while the promise goes on unheard. */
export function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const forget = onAbort(signal, () => {
      reject(signal.reason instanceof Error ? signal.reason : new Error('aborted'));
    });
    promise.then(resolve, reject).finally(forget);
  });
}
