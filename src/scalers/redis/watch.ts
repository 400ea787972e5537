/**
 * Keeps the readings of watched keys fresh with as few readings as possible: the server tells which keys have changed, a slow poll
 * covers what it does not tell, and a faster one what it does not track. A change must never be lost: a key that changes while it
 * is being read is read again.
 */
import type { Part, PartResult } from './parts.ts';
import type { Reader } from './reader.ts';
import type { RedisNode } from './node.ts';
import type { Session } from './wire/session.ts';

/** A sleeping key is read at once when it changes, but not more often than this: consumers may wait on it and take each message at once. */
const SLEEPING_GAP_MS = 10;
/** A key with work is read again so long after its last reading; until then the server keeps silent about it. */
const BUSY_GAP_MS = 250;
/** How often each key is read where the server tells of changes: it tells nothing of groups' acknowledgements, nor of SWAPDB. */
export const SAFETY_POLL_MS = 5_000;
/** How often a sleeping key is read where the server does not track. */
export const UNTRACKED_POLL_MS = 200;
/** How often a key is tried that could not be read. */
const FAILED_POLL_MS = 1_000;
const TICK_MS = 50;

export interface WatchedPart {
  readonly part: Part;
  /** Whether the next message for this key must be noticed soonest. */
  sleeping(): boolean;
  /** Told every result. */
  heard(): void;
}

export interface PartWatch {
  add(watched: WatchedPart): () => void;
  result(partId: string): PartResult | undefined;
  /** Whether the server would tell of a change of every one of these. */
  tracked(partIds: readonly string[]): boolean;
  /** What a node tells. */
  invalidated(keys: readonly string[] | null): void;
  rereadAll(node?: RedisNode): void;
  /** Reads the keys again that the predicate names. */
  reread(which: (key: string) => boolean): void;
  size(): number;
  close(): void;
}

interface Cell {
  readonly part: Part;
  readonly watched: Set<WatchedPart>;
  state: 'idle' | 'queued' | 'reading';
  /** Changed while being read. */
  dirty: boolean;
  readAt: number;
  timer: NodeJS.Timeout | undefined;
  result: PartResult | undefined;
  session: Session | undefined;
}

export function createPartWatch(reader: Reader, flushed: () => void): PartWatch {
  const cells = new Map<string, Cell>();
  const byKey = new Map<string, Set<Cell>>();
  const closing = new AbortController();
  let queue: Cell[] = [];
  let ticker: NodeJS.Timeout | undefined;
  /** The cells in the order in which the poll visits them; made anew when it is through. */
  let round: Iterator<Cell> | undefined;

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
    }
  }

  function gap(cell: Cell): number {
    for (const watched of cell.watched) if (watched.sleeping()) return SLEEPING_GAP_MS;
    return BUSY_GAP_MS;
  }

  function enqueue(cell: Cell): void {
    clearTimeout(cell.timer);
    cell.timer = undefined;
    cell.state = 'queued';
    queue.push(cell);
    // All that one piece of the stream tells goes out as one batch.
    if (queue.length === 1) queueMicrotask(flush);
  }

  function flush(): void {
    const batch = new Map(queue.map((cell) => [cell.part.id, cell]));
    queue = [];
    if (closing.signal.aborted) return;
    for (const cell of batch.values()) cell.state = 'reading';
    const told = new Set<WatchedPart>();
    let telling = false;
    const tell = (): void => {
      telling = false;
      for (const watched of told) watched.heard();
      told.clear();
      flushed();
    };
    void reader.read(
      [...batch.values()].map((cell) => cell.part),
      (part, result, session) => {
        const cell = batch.get(part.id);
        if (cell === undefined) return;
        cell.state = 'idle';
        cell.readAt = performance.now();
        cell.result = result;
        cell.session = session;
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
      },
      closing.signal,
    );
  }

  function isTracked({ session }: Cell): boolean {
    return session?.tracking === true && session.isOpen();
  }

  function period(cell: Cell): number {
    if (cell.result !== undefined && 'error' in cell.result) return FAILED_POLL_MS;
    if (isTracked(cell)) return SAFETY_POLL_MS;
    return gap(cell) === SLEEPING_GAP_MS ? UNTRACKED_POLL_MS : SAFETY_POLL_MS;
  }

  /** Visits so many cells that a round takes as long as the shortest poll, and polls those whose time has come, a few at a time. */
  function tick(): void {
    const now = performance.now();
    let visits = Math.ceil((cells.size * TICK_MS) / UNTRACKED_POLL_MS);
    let safety = Math.ceil((cells.size * TICK_MS) / SAFETY_POLL_MS) * 2;
    while (visits-- > 0) {
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
      // Polls that only make sure are spread, so that they never hold up a wake-up.
      if (due === SAFETY_POLL_MS && safety-- <= 0) continue;
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
          readAt: -Infinity,
          timer: undefined,
          result: undefined,
          session: undefined,
        };
        cells.set(part.id, cell);
        const same = byKey.get(part.key);
        if (same === undefined) byKey.set(part.key, new Set([cell]));
        else same.add(cell);
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
        cells.delete(part.id);
        const same = byKey.get(part.key);
        same?.delete(own);
        if (same?.size === 0) byKey.delete(part.key);
        if (cells.size === 0) {
          clearInterval(ticker);
          ticker = undefined;
        }
      };
    },
    result: (partId) => cells.get(partId)?.result,
    tracked: (partIds) =>
      partIds.every((partId) => {
        const cell = cells.get(partId);
        return cell !== undefined && isTracked(cell);
      }),
    invalidated(keys) {
      if (keys === null) for (const cell of cells.values()) touch(cell);
      else for (const key of keys) for (const cell of byKey.get(key) ?? []) touch(cell);
    },
    rereadAll(node) {
      const session = node?.session();
      for (const cell of cells.values()) if (session === undefined || cell.session !== session) touch(cell);
    },
    reread(which) {
      for (const cell of cells.values()) if (which(cell.part.key)) touch(cell);
    },
    size: () => cells.size,
    close() {
      closing.abort();
      clearInterval(ticker);
      for (const cell of cells.values()) clearTimeout(cell.timer);
      cells.clear();
      byKey.clear();
    },
  };
}
