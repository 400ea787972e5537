/**
 * Decides when a stream sends KEDA its state: at once when work appears, sparingly after that. KEDA drops a `true` that comes before
 * its own status is written, so it is repeated; but each one costs KEDA a write of the object's status and delays the scale to zero.
 */
import type { Trigger } from '../../scalers/triggers.ts';

/** A stream that stays active is told so again after this time at the earliest. */
export const REPEAT_AFTER_MS = 30_000;
/** Repeats of all streams together are at least this far apart: KEDA may write 20 times a second for everything it does. */
const REPEAT_GAP_MS = 1_000;
/** Two `true` of one stream, whatever happened between them, are at least this far apart, so that a flapping queue costs little. */
export const TRUE_GAP_MS = 2_000;

/** What one stream has to say next. Pure: times are in ms of one clock. */
export interface PushState {
  /** What KEDA was told last. */
  readonly told: boolean | undefined;
  /** When `true` was told last. */
  readonly trueAt: number;
}

export type Advice = { readonly send: true } | { readonly send: false; readonly againInMs?: number };

export const UNTOLD: PushState = { told: undefined, trueAt: -Infinity };

/** Whether the state must be told now, or if it stays so, later. */
export function advise({ told, trueAt }: PushState, active: boolean, now: number): Advice {
  if (active === told) return { send: false };
  const sinceTrue = now - trueAt;
  if (active && sinceTrue < TRUE_GAP_MS) return { send: false, againInMs: TRUE_GAP_MS - sinceTrue };
  return { send: true };
}

interface Follower {
  /** When `true` was told last, in ms of `performance.now()`. */
  trueAt: number;
  repeat(now: number): void;
}

export interface Push {
  /** Tells the trigger's state by `tell` until the returned function is called. Unknown states are not told. */
  follow(trigger: Trigger, tell: (active: boolean) => void): () => void;
  close(): void;
}

/** @param woke is told how long ago the broker answered when a `true` goes out because work appeared, in ms. */
export function createPush(woke: (ms: number) => void = () => undefined): Push {
  // In the order in which they were last told, so that only the first is ever looked at.
  const active = new Set<Follower>();
  const repeating = setInterval(() => {
    const now = performance.now();
    const [oldest] = active;
    if (oldest !== undefined && now - oldest.trueAt >= REPEAT_AFTER_MS) oldest.repeat(now);
  }, REPEAT_GAP_MS);
  repeating.unref();

  return {
    follow(trigger, tell) {
      let told: boolean | undefined;
      let latest: boolean | undefined;
      let deferred: NodeJS.Timeout | undefined;
      let stopped = false;

      const say = (value: boolean, now: number): void => {
        told = value;
        active.delete(follower);
        if (value) {
          follower.trueAt = now;
          active.add(follower);
        }
        tell(value);
      };
      const follower: Follower = {
        trueAt: -Infinity,
        repeat: (now) => {
          say(true, now);
        },
      };
      const consider = (): void => {
        deferred = undefined;
        if (latest === undefined || stopped) return;
        const now = performance.now();
        const advice = advise({ told, trueAt: follower.trueAt }, latest, now);
        if (advice.send) say(latest, now);
        else if (advice.againInMs !== undefined) deferred = setTimeout(consider, advice.againInMs);
      };
      const unwatch = trigger.watch({
        sample: ({ decision, reading }) => {
          const edge = decision.active && told === false;
          latest = decision.active;
          clearTimeout(deferred);
          consider();
          if (!edge) {
            if (latest && told === true) active.add(follower);
          } else if (told) woke(performance.now() - reading.at);
        },
        // KEDA has no word for "unknown" here: nothing is told, nothing repeated, and polling tells the error.
        trouble: () => {
          latest = undefined;
          active.delete(follower);
        },
      });
      return () => {
        stopped = true;
        clearTimeout(deferred);
        active.delete(follower);
        unwatch();
      };
    },
    close: () => {
      clearInterval(repeating);
      active.clear();
    },
  };
}
