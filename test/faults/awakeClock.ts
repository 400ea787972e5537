/**
 * A clock that stands still while this process does, or while the process that is timed waits for a processor, so that a machine with
 * too much to do is held against nobody.
 */
import { readFileSync } from 'node:fs';

const TICK_MS = 10;

export interface AwakeClock {
  /** In ms; at most two ticks go by while nothing runs here. */
  now(): number;
  close(): void;
}

/** `pid` is that of the process that is timed; it must outlive the clock. */
export function startAwakeClock(pid: number): AwakeClock {
  let awakeMs = 0;
  let lookedAt = performance.now();
  let waited = waitedMs(pid);
  function look(): void {
    const [now, waitedNow] = [performance.now(), waitedMs(pid)];
    awakeMs += Math.max(0, Math.min(now - lookedAt, 2 * TICK_MS) - (waitedNow - waited));
    [lookedAt, waited] = [now, waitedNow];
  }
  const ticking = setInterval(look, TICK_MS);
  return {
    now() {
      look();
      return awakeMs;
    },
    close: () => {
      clearInterval(ticking);
    },
  };
}

/** How long the main thread of a process has been ready to run without a processor, in ms, https://docs.kernel.org/scheduler/sched-stats.html */
function waitedMs(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[1]) / 1e6;
}
