/**
 * Whether this process may get calls: from the start until the end, and not before all that is watched in Kubernetes has been read
 * once. What is lost later, be it a broker or the API server, must never make it unready: another replica would find the same.
 */
import type { WatchState } from '../auth/credentials.ts';

/** How often it is looked whether the watches have caught up, until they have. */
const LOOK_MS = 100;

export interface Readiness {
  /** What is still waited for, for a person; empty if ready. */
  waitingFor(): readonly string[];
  serving(): void;
  ending(): void;
}

/** `changed` is told whenever the answer may be another. */
export function createReadiness(watches: () => readonly WatchState[], changed: () => void): Readiness {
  let state: 'starting' | 'catching up' | 'ready' | 'ending' = 'starting';
  let looking: NodeJS.Timeout | undefined;

  const unsynced = (): string[] => watches().flatMap(({ kind, synced }) => (synced ? [] : [`Kubernetes’ ${kind}s`]));

  function look(): void {
    if (unsynced().length > 0) return;
    clearInterval(looking);
    state = 'ready';
    changed();
  }

  return {
    waitingFor() {
      switch (state) {
        case 'starting':
          return ['the start'];
        case 'catching up':
          return unsynced();
        case 'ready':
          return [];
        case 'ending':
          return ['the end'];
      }
    },
    serving() {
      state = 'catching up';
      looking = setInterval(look, LOOK_MS);
      look();
    },
    ending() {
      clearInterval(looking);
      state = 'ending';
      changed();
    },
  };
}
