/**
 * Decides when a zero counts. Readers report false zeros at times: while a queue's leader changes, after a restart, or because their
 * figures are up to ten seconds old. Pure.
 *
 * Measured on RabbitMQ 3.10: the longest false zero that nothing gives away lasts 10 s; a classic queue's own process (totals list,
 * passive declare) was right in every failure; a quorum queue's is 0 for 0.4 s after a kill and whenever its leader hangs, then
 * after 250 ms; two kinds of reader were never wrong at once.
 */
import type { ListKind } from '../management/queueStats.ts';
import { NODE_CHANGE_MS } from '../management/clusterState.ts';
import type { ZeroStreak } from './queueMemory.ts';

/** Readers that fail in different ways. */
export type ReaderKind = 'declare' | ListKind;

export interface ZeroEvidence {
  readonly kinds: ReadonlySet<ReaderKind>;
  /** Undefined: not known. */
  readonly type: string | undefined;
  /** Kinds of reader that could have been asked. */
  readonly available: number;
  readonly recentNodeChange: boolean;
  /** When the readers were asked and when they had answered, in ms of `performance.now()`. */
  readonly askedAt: number;
  readonly at: number;
}

export type Verdict = { readonly confirmed: true; readonly note: string } | { readonly confirmed: false; readonly why: string };

/** Zeros in a row, where only time confirms. */
const MIN_SAMPLES = 3;
/** A longer silence between two zeros ends a streak. */
const MAX_GAP_MS = 120_000;

/** The streak that a zero asked for at that time continues. */
export function currentStreak(streak: ZeroStreak | undefined, askedAt: number): ZeroStreak | undefined {
  return streak !== undefined && askedAt - streak.lastAt <= MAX_GAP_MS ? streak : undefined;
}

/** Adds a zero to the streak of its queue. */
export function confirmZero(
  streak: ZeroStreak | undefined,
  evidence: ZeroEvidence,
  confirmMs: number,
): { readonly verdict: Verdict; readonly streak: ZeroStreak } {
  const { askedAt, at, recentNodeChange } = evidence;
  const before = currentStreak(streak, askedAt) ?? { since: at, samples: 0, confirmed: false };
  const next = { since: before.since, lastAt: at, samples: before.samples + 1, confirmed: before.confirmed };
  const verdict = verdictOn(next, evidence, confirmMs);
  return { verdict, streak: { ...next, confirmed: verdict.confirmed || (before.confirmed && !recentNodeChange) } };
}

function verdictOn({ since, samples, confirmed }: ZeroStreak, evidence: ZeroEvidence, confirmMs: number): Verdict {
  const { kinds, type, available, recentNodeChange, at } = evidence;
  const heldMs = at - since;
  const readers = [...kinds].join('+');
  const confirm = (note: string): Verdict => ({ confirmed: true, note });

  if (confirmMs === 0) return confirm(`${readers}, not confirmed as confirmZero is 0`);
  const live = kinds.has('totals') || kinds.has('declare');
  if (type === 'classic' && live && (kinds.size >= 2 || confirmed || kinds.has('totals'))) {
    return confirm(`confirmed by the queue’s own process (${readers})`);
  }
  if (recentNodeChange) return { confirmed: false, why: `a node changed less than ${NODE_CHANGE_MS / 1000} s ago` };
  const enough = kinds.size >= Math.min(2, available);
  if (confirmed && enough) return confirm(`still zero (${readers})`);
  if (enough && heldMs >= confirmMs && samples >= MIN_SAMPLES) {
    return confirm(`confirmed by ${readers} for ${Math.round(heldMs / 1000)} s`);
  }
  const seconds = Math.round(heldMs / 100) / 10;
  return { confirmed: false, why: `${readers} says 0 for ${seconds} s, which counts from ${confirmMs / 1000} s on` };
}
