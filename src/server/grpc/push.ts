/**
 * Decides when a stream sends KEDA its state: at once when work appears, sparingly where KEDA may know. KEDA drops a `true` that comes
 * before its own status is written, so it is repeated where no poll says the same; but each one costs KEDA a write of the object's status
 * and delays the scale to zero.
 */
import type { Told, Trigger } from '../../scalers/trigger.ts';

/** A stream that stays active is told so again after this time at the earliest, if no call has said it meanwhile. */
export const REPEAT_AFTER_MS = 30_000;
/** Repeats of all streams together are at least this far apart: KEDA may write 20 times a second for everything it does. */
const REPEAT_GAP_MS = 1_000;
/**
 * So often a stream may say `true` for long, and so many at once, so that a flapping queue costs little and one that is soon filled again
 * waits for nothing. A `true` that contradicts what KEDA was told by a call is never held back: polls set its pace.
 */
export const TRUE_PACE_MS = 5_000;
export const TRUES_AT_ONCE = 5;

/** What one stream has told. Times are in ms of one clock. */
export interface PushState {
  /** What it told last. */
  readonly told: boolean | undefined;
  /** When it told `true` last. */
  readonly trueAt: number;
  /** When the last `true` would have been due if each had waited for {@link TRUE_PACE_MS} after the one before. */
  readonly paceAt: number;
}

export type Advice = { readonly send: true } | { readonly send: false; readonly againInMs?: number };

export const UNTOLD: PushState = { told: undefined, trueAt: -Infinity, paceAt: -Infinity };

/**
 * Whether the state must be told now, or if it stays so, later. `answered` is what a call was told last; `afresh`, that the work has come
 * after a time without any, whatever the stream has told. Pure.
 */
export function advise(state: PushState, active: boolean, afresh: boolean, answered: Told | undefined, now: number): Advice {
  const { told, trueAt, paceAt } = state;
  if (!active) return { send: told !== false };
  if (answered?.active === false && answered.at >= trueAt) return { send: true };
  if (told === true && !afresh) return { send: false };
  const againInMs = paceAt - (TRUES_AT_ONCE - 2) * TRUE_PACE_MS - now;
  return againInMs > 0 ? { send: false, againInMs } : { send: true };
}

/** The state once that has been told. Pure. */
export function afterTelling({ trueAt, paceAt }: PushState, active: boolean, now: number): PushState {
  if (!active) return { told: false, trueAt, paceAt };
  const latest = now + (TRUES_AT_ONCE - 1) * TRUE_PACE_MS;
  return { told: true, trueAt: now, paceAt: Math.min(Math.max(now, paceAt + TRUE_PACE_MS), latest) };
}

interface Follower {
  /** When it was last told that KEDA knows of the work, in ms of `performance.now()`. */
  knownAt: number;
  /** Says `true` again, unless a call has said it lately; tells whether it did. */
  repeat(now: number): boolean;
}

export interface Push {
  /** Tells the trigger's state by `tell` until the returned function is called. Unknown states are not told. */
  follow(trigger: Trigger, tell: (active: boolean) => void): () => void;
  close(): void;
}

/** @param woke is told how long ago the broker answered when a `true` goes out because work appeared, in ms. */
export function createPush(woke: (ms: number) => void = () => undefined): Push {
  // In the order of `knownAt`, so that only the first are ever looked at.
  const active = new Set<Follower>();
  const repeating = setInterval(() => {
    const now = performance.now();
    for (const follower of active) if (now - follower.knownAt < REPEAT_AFTER_MS || follower.repeat(now)) return;
  }, REPEAT_GAP_MS);
  repeating.unref();

  return {
    follow(trigger, tell) {
      let state = UNTOLD;
      let latest: boolean | undefined;
      let afresh = false;
      let deferred: NodeJS.Timeout | undefined;
      let stopped = false;

      const know = (now: number): void => {
        follower.knownAt = now;
        active.delete(follower);
        active.add(follower);
      };
      const say = (value: boolean, now: number): void => {
        state = afterTelling(state, value, now);
        afresh = false;
        if (value) know(now);
        else active.delete(follower);
        tell(value);
      };
      const follower: Follower = {
        knownAt: -Infinity,
        repeat(now) {
          const { told } = trigger;
          const known = told?.active === true && now - told.at < REPEAT_AFTER_MS;
          if (known) know(now);
          else say(true, now);
          return !known;
        },
      };
      const consider = (): void => {
        deferred = undefined;
        if (latest === undefined || stopped) return;
        const now = performance.now();
        const advice = advise(state, latest, afresh, trigger.told, now);
        if (advice.send) say(latest, now);
        else if (advice.againInMs !== undefined) deferred = setTimeout(consider, advice.againInMs);
      };
      const unwatch = trigger.watch({
        sample({ decision, reading }, isAfresh = false) {
          latest = decision.active;
          afresh = latest && (afresh || isAfresh);
          const woken = latest && (afresh || state.told === false);
          const { trueAt } = state;
          clearTimeout(deferred);
          consider();
          if (woken && state.trueAt > trueAt) woke(performance.now() - reading.at);
          else if (latest && state.told === true) active.add(follower);
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
