/**
 * Decides when a zero counts. Readers say zero falsely at times: while a queue's leader changes, after a restart, or because their
 * figures are up to ten seconds old. No zero may pass on the word of a reader that could be lying.
 *
 * Measured on RabbitMQ 3.10: the longest false zero without any tell lasts 10 s; a classic queue's own process (totals list,
 * passive declare) was right in every failure; a quorum queue's is 0 for 0.4 s after a kill and whenever its leader hangs, then
 * after 250 ms; two kinds of reader were never wrong at once.
 */

/** Readers that fail in different ways. */
export type Kind = 'declare' | 'totals' | 'statistics' | 'prometheus';

export interface ZeroEvidence {
  readonly kinds: ReadonlySet<Kind>;
  /** Undefined: not known. */
  readonly type: string | undefined;
  /** Kinds of reader that could have been asked. */
  readonly available: number;
}

export type Verdict = { readonly confirmed: true; readonly note: string } | { readonly confirmed: false; readonly why: string };

export interface Zeros {
  /** The queue had messages, or could not be read. */
  resetZero(queue: string): void;
  zero(queue: string, evidence: ZeroEvidence, confirmMs: number): Verdict;
  /** Whether a zero of this queue was confirmed and nothing else was read since. */
  isConfirmed(queue: string): boolean;
  /** A node went, came or hangs: for {@link EVENT_MS} no zero of a replicated queue counts. */
  nodeEvent(): void;
  /** Less than {@link EVENT_MS} since the last event. */
  recentNodeChange(): boolean;
}

/** How long the broker may tell of its queues falsely after a node event. */
export const EVENT_MS = 15_000;
/** Zeros in a row, where only time confirms. */
const MIN_SAMPLES = 3;
/** A longer silence between two zeros begins a new row. */
const MAX_GAP_MS = 120_000;
/** A passive declare that took longer was ended by the broker's own limit of 250 ms, and says 0 without having asked the leader. */
export const SLOW_DECLARE_MS = 200;

interface Row {
  since: number;
  lastAt: number;
  samples: number;
  kinds: Set<Kind>;
  confirmed: boolean;
}

export function createZeros(now: () => number = () => performance.now()): Zeros {
  const rows = new Map<string, Row>();
  let eventAt = -Infinity;

  function eventful(): boolean {
    return now() - eventAt < EVENT_MS;
  }

  function rowOf(queue: string): Row {
    const at = now();
    let row = rows.get(queue);
    if (row === undefined || at - row.lastAt > MAX_GAP_MS) {
      row = { since: at, lastAt: at, samples: 0, kinds: new Set(), confirmed: false };
      rows.set(queue, row);
    }
    return row;
  }

  return {
    resetZero: (queue) => rows.delete(queue),
    isConfirmed: (queue) => rows.get(queue)?.confirmed === true,

    zero(queue, { kinds, type, available }, confirmMs) {
      const row = rowOf(queue);
      row.lastAt = now();
      row.samples++;
      for (const kind of kinds) row.kinds.add(kind);
      const heldMs = row.lastAt - row.since;
      const spoken = [...kinds].join('+');

      if (confirmMs === 0) return confirm(row, `${spoken}, not confirmed as confirmZero is 0`);
      const live = kinds.has('totals') || kinds.has('declare');
      if (type === 'classic' && live && (kinds.size >= 2 || row.confirmed || kinds.has('totals'))) {
        return confirm(row, `confirmed by the queue’s own process (${spoken})`);
      }
      if (eventful()) {
        row.confirmed = false;
        return { confirmed: false, why: `a node changed less than ${EVENT_MS / 1000} s ago` };
      }
      const enough = kinds.size >= Math.min(2, available);
      if (row.confirmed && enough) return confirm(row, `still zero (${spoken})`);
      if (enough && heldMs >= confirmMs && row.samples >= MIN_SAMPLES) {
        return confirm(row, `confirmed by ${spoken} for ${Math.round(heldMs / 1000)} s`);
      }
      const seconds = Math.round(heldMs / 100) / 10;
      return { confirmed: false, why: `${spoken} says 0 for ${seconds} s, which counts from ${confirmMs / 1000} s on` };
    },

    nodeEvent() {
      eventAt = now();
    },
    recentNodeChange: eventful,
  };

  function confirm(row: Row, note: string): Verdict {
    row.confirmed = true;
    return { confirmed: true, note };
  }
}
