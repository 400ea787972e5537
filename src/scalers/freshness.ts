/**
 * How fresh a question's reading must be, from how often it is asked for. Pure.
 */

/** From one round of questions to the next; no question is read more often. */
export const ROUND_MS = 1_000;
/** A question is read in every round, in every second or in every fourth. */
export const MOST_ROUNDS = 4;
/** Asks closer together are one: KEDA asks for metric and activity one after the other, and again at once where it gets an error. */
const SAME_ASK_MS = 500;
/** Longer intervals between asks change nothing, and one pause must not outweigh many asks. */
const MAX_INTERVAL_MS = 2 * MOST_ROUNDS * ROUND_MS;
/** Share of the latest interval in the average. */
const LATEST_SHARE = 1 / 4;

/** When a question was asked. */
export interface Asks {
  /** When it was asked last, in ms of `performance.now()`; -Infinity before the first time. */
  at: number;
  /** Average time between two asks, in ms; 0 before the second. */
  intervalMs: number;
}

export function noteAsk(asks: Asks, now: number): void {
  const sinceMs = Math.min(now - asks.at, MAX_INTERVAL_MS);
  if (sinceMs < SAME_ASK_MS) return;
  if (asks.intervalMs > 0) asks.intervalMs += (sinceMs - asks.intervalMs) * LATEST_SHARE;
  else if (asks.at > -Infinity) asks.intervalMs = sinceMs;
  asks.at = now;
}

/**
 * In every how many-th round the question is read: 1, 2 or 4, so that readings of different paces fall into the same rounds. A reading
 * is then about half as old as the time between asks at most. A question that is asked no more is read less and less often.
 */
export function roundsApart({ at, intervalMs }: Asks, now: number): number {
  const halfMs = Math.max(intervalMs, now - at) / 2;
  return Math.min(MOST_ROUNDS, Math.max(1, 2 ** Math.round(Math.log2(halfMs / ROUND_MS))));
}
