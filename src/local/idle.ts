/**
 * Notices that there is nothing left to do: every ScaledObject has been active, and is back at its count of rest with no worker left
 * to stop.
 */
import type { LoopEvent } from './events.ts';

interface Counts {
  readonly wanted: number;
  readonly existing: number;
  readonly stopping: number;
}

export interface IdleWatch {
  /** An event of the object's loop; `rest` is its replicas at rest. */
  heard(object: string, event: LoopEvent, counts: Counts, rest: number): void;
  /** The object's replicas changed. */
  changed(object: string, counts: Counts, rest: number): void;
}

/** Calls `idle` once, when so many objects have worked and rest. */
export function idleWatch(objects: number, idle: () => void): IdleWatch {
  const worked = new Set<string>();
  const resting = new Set<string>();

  function changed(object: string, { wanted, existing, stopping }: Counts, rest: number): void {
    if (wanted === rest && existing === rest && stopping === 0 && worked.has(object)) resting.add(object);
    else resting.delete(object);
    if (resting.size === objects) idle();
  }

  return {
    heard(object, event, counts, rest) {
      if ((event.event === 'poll' || event.event === 'push') && event.active) {
        worked.add(object);
        // Active again, it may be about to be scaled.
        resting.delete(object);
        return;
      }
      changed(object, counts, rest);
    },
    changed,
  };
}
