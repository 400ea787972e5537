/**
 * A clock that stands still while this whole process does, so that a machine with too much to do is not held against who is timed.
 */
const TICK_MS = 10;

export interface AwakeClock {
  /** In ms; at most two ticks go by while nothing runs. */
  now(): number;
  close(): void;
}

export function startAwakeClock(): AwakeClock {
  let awakeMs = 0;
  let tickedAt = performance.now();
  const sinceTick = (): number => Math.min(performance.now() - tickedAt, 2 * TICK_MS);
  const ticking = setInterval(() => {
    awakeMs += sinceTick();
    tickedAt = performance.now();
  }, TICK_MS);
  return {
    now: () => awakeMs + sinceTick(),
    close: () => {
      clearInterval(ticking);
    },
  };
}
