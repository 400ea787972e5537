/**
 * Decides when a zero counts. Readers report false zeros at times: while a queue's leader changes, after a restart, or because their
 * figures are up to ten seconds old. Pure.
 *
 * Measured on RabbitMQ 3.10: the longest false zero that nothing gives away lasts 10 s; a classic queue's own process (totals list,
 * passive declare) was right in every failure; a quorum queue's is 0 for 0.4 s after a kill and whenever its leader hangs, then
 * after 250 ms; two kinds of reader were never wrong at once, but for the half second after a kill, when the list of nodes tells.
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
  /** No message can be held by a consumer without the readers' knowing: nobody consumes, or held ones do not count. */
  readonly unheld: boolean;
  /** Seen after the answers, all nodes run, and have for long. */
  readonly calm: boolean;
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
  const evident = evidentNote(next, evidence);
  const confirmed = evident !== undefined || (before.confirmed && !recentNodeChange);
  const verdict: Verdict = evident === undefined ? verdictByTime(next, evidence, confirmMs) : { confirmed: true, note: evident };
  return { verdict, streak: { ...next, confirmed } };
}

/**
 * Whether a calm cluster would confirm the zero at once: the leader of a quorum queue is asked by the declare, and answers 0 in its place
 * only while it cannot be reached.
 */
export function calmWouldConfirm({ kinds, type, recentNodeChange, unheld }: ZeroEvidence): boolean {
  return type === 'quorum' && unheld && !recentNodeChange && kinds.has('declare') && kinds.size >= 2;
}

/** How the zero is known without waiting; undefined where only time can tell, which every trigger gives it itself. */
function evidentNote({ confirmed }: ZeroStreak, evidence: ZeroEvidence): string | undefined {
  const { kinds, type, available, recentNodeChange, calm } = evidence;
  const readers = [...kinds].join('+');
  const live = kinds.has('totals') || kinds.has('declare');
  if (type === 'classic' && live && (kinds.size >= 2 || confirmed || kinds.has('totals'))) {
    return `confirmed by the queue’s own process (${readers})`;
  }
  if (calm && calmWouldConfirm(evidence)) return `confirmed by its leader (${readers}), as all nodes run and have for long`;
  return confirmed && !recentNodeChange && isEnough(kinds, available) ? `still zero (${readers})` : undefined;
}

function verdictByTime({ since, samples }: ZeroStreak, evidence: ZeroEvidence, confirmMs: number): Verdict {
  const { kinds, available, recentNodeChange, at } = evidence;
  const heldMs = at - since;
  const readers = [...kinds].join('+');
  if (confirmMs === 0) return { confirmed: true, note: `${readers}, not confirmed as confirmZero is 0` };
  if (recentNodeChange) return { confirmed: false, why: `a node changed less than ${NODE_CHANGE_MS / 1000} s ago` };
  if (isEnough(kinds, available) && heldMs >= confirmMs && samples >= MIN_SAMPLES) {
    return { confirmed: true, note: `confirmed by ${readers} for ${Math.round(heldMs / 1000)} s` };
  }
  const seconds = Math.round(heldMs / 100) / 10;
  return { confirmed: false, why: `${readers} says 0 for ${seconds} s, which counts from ${confirmMs / 1000} s on` };
}

function isEnough(kinds: ReadonlySet<ReaderKind>, available: number): boolean {
  return kinds.size >= Math.min(2, available);
}
