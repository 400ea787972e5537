/**
 * Holds sweeps back for a moment while one comes after the other, so that the questions of many triggers reach the broker in few
 * large batches. A question that comes alone must never wait.
 *
 * Measured on RabbitMQ 3.10: in batches of 50 a passive declare costs the broker 87 µs of CPU, in batches of 250 about 50 µs. A round of 1000
 * polls by AMQP alone so cost a tenth of 1000 management GETs, against an eighth.
 */

/** A sweep that comes within this time of another is one of many. */
const ROW_MS = 100;
/** How long sweeps in a row are gathered: what a trigger may be told later for it, of the 2 s that it may take. */
export const GATHER_MS = 80;
/** Fewer questions than this cost next to nothing, whatever they come in. */
const FEW = 8;

/** Gives a function that resolves when a sweep of so many questions may begin. */
export function createGathering(signal: AbortSignal): (questions: number) => Promise<void> {
  let lastAt = -Infinity;
  let gathering: Promise<void> | undefined;

  return async (questions) => {
    if (gathering !== undefined) return gathering;
    const now = performance.now();
    const isInRow = now - lastAt < ROW_MS;
    if (questions >= FEW) lastAt = now;
    if (!isInRow || questions < FEW) return;
    gathering = new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', end);
        gathering = undefined;
        lastAt = performance.now();
        resolve();
      };
      const timer = setTimeout(end, GATHER_MS);
      signal.addEventListener('abort', end);
    });
    return gathering;
  };
}
