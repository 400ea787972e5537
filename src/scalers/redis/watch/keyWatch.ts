/**
 * Keeps the readings of watched keys fresh with as few readings as possible: the server tells which keys have changed, a slow poll
 * covers what it does not tell, and a faster one what it does not track. A change must never be lost: a key that changes while it
 * is being read is read again. It is long because when a key is read, with what, and whether its result stands, is one state.
 */
import { BrokerError } from '../../../errors.ts';
import { sameValue, type Part, type PartResult } from '../read/commands.ts';
import type { Reader } from '../read/reader.ts';
import type { RedisNode } from '../topology/node.ts';
import type { Session } from '../wire/session.ts';

/** A sleeping key is read at once when it changes, but not more often than this: consumers may wait on it and take each message at once. */
const SLEEPING_GAP_MS = 10;
/** A key with work is read again so long after its last reading; until then the server keeps silent about it. */
const BUSY_GAP_MS = 250;
/** How often each key is read although the server tells of changes: it tells nothing of `SWAPDB`. */
export const SAFETY_POLL_MS = 20_000;
/** The same for a stream's group, of whose reads and acknowledgements the server tells nothing. */
export const GROUP_POLL_MS = 5_000;
/** A server that tells of changes is believed to have none to tell for so long after it was last heard of. */
const VOUCHED_MS = 2_000;
/** How often a sleeping key is read where the server does not tell of changes. */
export const UNTRACKED_POLL_MS = 200;
/** How often a key is tried that could not be read. */
const FAILED_POLL_MS = 1_000;
const TICK_MS = 50;
/**
 * At most so many keys a second are polled where the server tells of no changes, and so many where the last try failed, whatever their
 * number: the first that can be read again brings all others along.
 */
const MOST_UNTRACKED_PER_S = 5_000;
const MOST_FAILED_PER_S = 100;

export interface WatchedPart {
  readonly part: Part;
  /** Parts that share this are read at one moment when several of them have changed. */
  readonly together: Together | undefined;
  /** Whether the next message for this key must be noticed soonest. */
  sleeping(): boolean;
  /** Told every result. */
  heard(): void;
}

export interface PartWatch {
  add(watched: WatchedPart): () => void;
  result(partId: string): PartResult | undefined;
  /** Whether what was read last of this key is still so: the server, heard of just now, would have told of a change and has not. */
  stands(key: string): boolean;
  /** A session has answered somebody: what it had to tell of changes before, it has told. */
  answered(session: Session): void;
  /** What a node tells. */
  invalidated(keys: readonly string[] | null): void;
  /** A session has ended: what it read may be so no longer, and nobody tells. */
  ended(): void;
  /** The node tells from now on, of what it is asked for from now on. */
  followed(node: RedisNode): void;
  /** Reads the keys again that the predicate names. */
  reread(which: (key: string) => boolean): void;
  close(): void;
}

/** Keys between which messages move in one step. */
export interface Together {
  /** Cells that have changed and are to be read. */
  readonly due: Set<Cell>;
  /** Cells that are being read. */
  reading: number;
}

export function readTogether(): Together {
  return { due: new Set(), reading: 0 };
}

interface Cell {
  readonly part: Part;
  readonly watched: Set<WatchedPart>;
  state: 'idle' | 'queued' | 'reading';
  /** Changed while being read. */
  dirty: boolean;
  /** What it was read together with; for as long as it is being read. */
  readingWith: readonly Together[];
  readAt: number;
  timer: NodeJS.Timeout | undefined;
  result: PartResult | undefined;
  session: Session | undefined;
}

/** `remember` is told every result. */
export function createPartWatch(reader: Reader, remember: (part: Part, result: PartResult) => void): PartWatch {
  const cells = new Map<string, Cell>();
  const byKey = new Map<string, Cell[]>();
  const closing = new AbortController();
  let queue: Cell[] = [];
  let ticker: NodeJS.Timeout | undefined;
  /** The cells in the order in which the poll visits them; made anew when it is through. */
  let round: Iterator<Cell> | undefined;
  let failedBudget = 0;
  /** When each session last answered. */
  const heardAt = new WeakMap<Session, number>();

  function touch(cell: Cell): void {
    if (cell.state === 'reading') cell.dirty = true;
    if (cell.state !== 'idle' || cell.timer !== undefined) return;
    const wait = cell.readAt + gap(cell) - performance.now();
    if (wait <= 0) enqueue(cell);
    else {
      cell.timer = setTimeout(() => {
        cell.timer = undefined;
        if (cell.state === 'idle') enqueue(cell);
      }, wait);
      for (const { due } of togetherOf(cell)) due.add(cell);
    }
  }

  function gap(cell: Cell): number {
    for (const watched of cell.watched) if (watched.sleeping()) return SLEEPING_GAP_MS;
    return BUSY_GAP_MS;
  }

  function togetherOf(cell: Cell): Together[] {
    const all: Together[] = [];
    for (const { together } of cell.watched) if (together !== undefined) all.push(together);
    return all;
  }

  /** Reads a cell, and with it the changed ones that it belongs together with; once those have come back that are under way. */
  function enqueue(cell: Cell): void {
    const all = togetherOf(cell);
    if (all.some(({ reading }) => reading > 0)) {
      for (const { due } of all) due.add(cell);
      return;
    }
    take(cell);
  }

  function take(cell: Cell): void {
    clearTimeout(cell.timer);
    cell.timer = undefined;
    cell.state = 'queued';
    for (const { due } of togetherOf(cell)) due.delete(cell);
    queue.push(cell);
    // All that one piece of the stream tells goes out as one batch.
    if (queue.length === 1) queueMicrotask(flush);
  }

  function flush(): void {
    // Only now: what changed in the same step may have been told behind what is queued.
    for (const cell of [...queue])
      for (const { due } of togetherOf(cell)) for (const other of [...due]) if (other.state === 'idle') take(other);
    const batch = new Map(queue.map((cell) => [cell.part.id, cell]));
    queue = [];
    if (closing.signal.aborted) return;
    for (const cell of batch.values()) {
      cell.state = 'reading';
      cell.readingWith = togetherOf(cell);
      for (const together of cell.readingWith) together.reading++;
    }
    const told = new Set<WatchedPart>();
    let telling = false;
    let recovered = false;
    const tell = (): void => {
      telling = false;
      for (const watched of told) watched.heard();
      told.clear();
      if (recovered) for (const cell of cells.values()) if (isOutage(cell.result)) touch(cell);
      recovered = false;
    };
    void reader.read(
      [...batch.values()].map((cell) => cell.part),
      (part, result, session) => {
        const cell = batch.get(part.id);
        if (cell === undefined) return;
        recovered ||= isOutage(cell.result) && !isOutage(result);
        cell.state = 'idle';
        cell.readAt = performance.now();
        // A poll that finds nothing new leaves nothing new.
        if (!sameValue(cell.result, result)) cell.result = result;
        cell.session = session;
        if (session !== undefined) heardAt.set(session, cell.readAt);
        remember(part, result);
        for (const watched of cell.watched) told.add(watched);
        if (!telling) {
          telling = true;
          queueMicrotask(tell);
        }
        if (cell.dirty) {
          cell.dirty = false;
          // Once its watchers have heard, whose sleep decides how soon.
          queueMicrotask(() => {
            touch(cell);
          });
        }
        release(cell);
      },
      closing.signal,
    );
  }

  /** Those that waited for this one to come back are read now, with it if it has changed meanwhile. */
  function release(cell: Cell): void {
    for (const together of cell.readingWith) {
      together.reading--;
      if (together.reading > 0 || together.due.size === 0) continue;
      queueMicrotask(() => {
        for (const waiting of [...together.due]) if (waiting.state === 'idle' && waiting.timer === undefined) enqueue(waiting);
      });
    }
    cell.readingWith = [];
  }

  function isTracked({ session }: Cell): boolean {
    return session?.tracking === true && session.isOpen();
  }

  function period(cell: Cell): number {
    if (cell.result !== undefined && 'error' in cell.result) return FAILED_POLL_MS;
    const safety = cell.part.changesAreTold ? SAFETY_POLL_MS : GROUP_POLL_MS;
    if (isTracked(cell)) return safety;
    return gap(cell) === SLEEPING_GAP_MS ? UNTRACKED_POLL_MS : GROUP_POLL_MS;
  }

  /** Visits so many cells that a round takes as long as the shortest poll, and polls those whose time has come, a few at a time. */
  function tick(): void {
    const now = performance.now();
    let visits = Math.ceil((cells.size * TICK_MS) / UNTRACKED_POLL_MS);
    // Polls that only make sure are spread, also those of keys that came all at once, so that they never hold up a wake-up.
    let safety = Math.ceil((cells.size * TICK_MS) / SAFETY_POLL_MS) * 2;
    let groups = Math.ceil((cells.size * TICK_MS) / GROUP_POLL_MS) * 2;
    let untracked = (MOST_UNTRACKED_PER_S * TICK_MS) / 1_000;
    failedBudget = Math.min(MOST_FAILED_PER_S, failedBudget + (MOST_FAILED_PER_S * TICK_MS) / 1_000);
    while (visits-- > 0 && untracked > 0) {
      round ??= cells.values();
      const next = round.next();
      if (next.done === true) {
        round = undefined;
        return;
      }
      const cell = next.value;
      if (cell.state !== 'idle' || cell.timer !== undefined || now - cell.readAt < UNTRACKED_POLL_MS) continue;
      const due = period(cell);
      if (now - cell.readAt < due) continue;
      if (due === FAILED_POLL_MS) {
        if (failedBudget < 1) continue;
        failedBudget--;
      } else if (due === UNTRACKED_POLL_MS) untracked--;
      else if (due === SAFETY_POLL_MS ? safety-- <= 0 : groups-- <= 0) continue;
      enqueue(cell);
    }
  }

  return {
    add(watched) {
      const { part } = watched;
      let cell = cells.get(part.id);
      if (cell === undefined) {
        cell = {
          part,
          watched: new Set(),
          state: 'idle',
          dirty: false,
          readingWith: [],
          readAt: -Infinity,
          timer: undefined,
          result: undefined,
          session: undefined,
        };
        cells.set(part.id, cell);
        const same = byKey.get(part.key);
        if (same === undefined) byKey.set(part.key, [cell]);
        else same.push(cell);
        enqueue(cell);
      } else if (cell.result !== undefined)
        queueMicrotask(() => {
          watched.heard();
        });
      const own = cell;
      own.watched.add(watched);
      ticker ??= setInterval(tick, TICK_MS);
      return () => {
        own.watched.delete(watched);
        if (own.watched.size > 0) return;
        clearTimeout(own.timer);
        for (const { due } of watched.together === undefined ? [] : [watched.together]) due.delete(own);
        cells.delete(part.id);
        const others = byKey.get(part.key)?.filter((each) => each !== own) ?? [];
        if (others.length > 0) byKey.set(part.key, others);
        else byKey.delete(part.key);
        if (cells.size === 0) {
          clearInterval(ticker);
          ticker = undefined;
        }
      };
    },
    result: (partId) => cells.get(partId)?.result,
    stands(key) {
      const same = byKey.get(key);
      if (same === undefined) return false;
      const now = performance.now();
      for (const cell of same) {
        const { part, result, session, state, timer, dirty } = cell;
        if (state !== 'idle' || timer !== undefined || dirty || togetherOf(cell).some(({ due }) => due.has(cell))) return false;
        if (result === undefined || 'error' in result || !part.changesAreTold || session === undefined) return false;
        if (!isTracked(cell) || now - (heardAt.get(session) ?? -Infinity) > VOUCHED_MS) return false;
      }
      return true;
    },
    answered(session) {
      heardAt.set(session, performance.now());
    },
    invalidated(keys) {
      if (keys === null) for (const cell of cells.values()) touch(cell);
      else for (const key of keys) for (const cell of byKey.get(key) ?? []) touch(cell);
    },
    ended() {
      for (const cell of cells.values()) if (!isOutage(cell.result)) touch(cell);
    },
    followed(node) {
      const session = node.session();
      for (const cell of cells.values()) if (cell.session !== session) touch(cell);
    },
    reread(which) {
      for (const cell of cells.values()) if (which(cell.part.key)) touch(cell);
    },
    close() {
      closing.abort();
      clearInterval(ticker);
      for (const cell of cells.values()) clearTimeout(cell.timer);
      cells.clear();
      byKey.clear();
    },
  };
}

/** Whether it was not the key that could not be read, but its server. */
function isOutage(result: PartResult | undefined): boolean {
  return result !== undefined && 'error' in result && result.error instanceof BrokerError;
}
