/**
 * Keeps the readings of watched keys fresh with as few reads as possible: the server announces which keys have changed, a slow poll
 * covers what it does not announce, and a faster one what it does not track. No change is lost: a key that changes while it is
 * being read is read again.
 *
 * Over 300 lines because when a key is read, with which others, and whether its result is current, is one state.
 */
import { BrokerError } from '../../../errors.ts';
import { sameValue, type KeyRead, type KeyReadResult } from '../read/keyRead.ts';
import type { Reader } from '../read/reader.ts';
import type { Session } from '../wire/session.ts';

/** A sleeping key is read at once when it changes, but not more often than this: consumers may wait on it and take each message at once. */
const SLEEPING_GAP_MS = 10;
/** How long after its last reading a key with work is read again; the server announces nothing about it in between. */
const BUSY_GAP_MS = 250;
/** How often each key is read although the server announces changes: it announces no `SWAPDB`. */
export const SAFETY_POLL_MS = 20_000;
/** The same for a sleeping group of a stream, whose position the server does not announce. */
const GROUP_POLL_MS = 5_000;
/** The same for a key with work where the server does not announce its end: work that follows would be no news before that is seen. */
const BUSY_POLL_MS = 500;
/** For this long after its last reply a tracking server is trusted to have announced every change. */
const VOUCHED_MS = 2_000;
/** How often a sleeping key is read where the server does not track it. */
const UNTRACKED_POLL_MS = 200;
/** How often a key is tried that could not be read. */
const FAILED_POLL_MS = 1_000;
const TICK_MS = 50;
/**
 * Most keys polled a second, whatever their number: sleeping ones that the server does not track, those with work of whose end it
 * does not tell, and those whose last read failed. Once one of the last can be read again, all others are read at once.
 */
const MOST_UNTRACKED_PER_S = 5_000;
const MOST_BUSY_PER_S = 1_000;
const MOST_FAILED_PER_S = 100;

export interface KeyWatcher {
  readonly read: KeyRead;
  /** Keys that share this are read at one moment when several of them have changed. */
  readonly group: AtomicGroup | undefined;
  /** Whether the next message for this key must be noticed soonest. */
  sleeping(): boolean;
  /** Called after every read, also when nothing has changed. */
  resultArrived(): void;
}

export interface KeyWatch {
  add(watcher: KeyWatcher): () => void;
  result(readId: string): KeyReadResult | undefined;
  /** Whether the last reading of this key still holds: its server replied just now, and would have announced a change before. */
  isCurrent(key: string): boolean;
  /** A session has replied to somebody: changes before that reply were announced before it. */
  answered(session: Session): void;
  /** Keys that a node says have changed; null: any may have. */
  invalidated(keys: readonly string[] | null): void;
  /** A session has ended: what it read is no longer tracked. */
  ended(): void;
  /** The session tracks what is read from now on. */
  followed(session: Session): void;
  /** Reads again the keys for which the predicate holds. */
  reread(which: (key: string) => boolean): void;
  close(): void;
}

/** Keys between which messages move in one step. */
export interface AtomicGroup {
  /** Keys that have changed and are to be read. */
  readonly due: Set<WatchedKey>;
  /** How many of its keys are being read. */
  reading: number;
}

interface WatchedKey {
  readonly read: KeyRead;
  readonly watchers: Set<KeyWatcher>;
  state: 'idle' | 'queued' | 'reading';
  /** Changed while being read. */
  dirty: boolean;
  /** The groups that it is being read for. */
  readingWith: readonly AtomicGroup[];
  readAt: number;
  timer: NodeJS.Timeout | undefined;
  result: KeyReadResult | undefined;
  session: Session | undefined;
}

/** `remember` gets every result. */
export function createKeyWatch(reader: Reader, remember: (read: KeyRead, result: KeyReadResult) => void): KeyWatch {
  const watchedKeys = new Map<string, WatchedKey>();
  const byKey = new Map<string, WatchedKey[]>();
  const closing = new AbortController();
  let queue: WatchedKey[] = [];
  let ticker: NodeJS.Timeout | undefined;
  /** The keys in the order in which the poll visits them; renewed after each round. */
  let round: Iterator<WatchedKey> | undefined;
  let failedBudget = 0;
  /** When each session last replied, in ms of `performance.now()`. */
  const repliedAt = new WeakMap<Session, number>();

  function touch(watched: WatchedKey): void {
    if (watched.state === 'reading') watched.dirty = true;
    if (watched.state !== 'idle' || watched.timer !== undefined) return;
    const wait = watched.readAt + gap(watched) - performance.now();
    if (wait <= 0) enqueue(watched);
    else {
      watched.timer = setTimeout(() => {
        watched.timer = undefined;
        if (watched.state === 'idle') enqueue(watched);
      }, wait);
      for (const { due } of groupsOf(watched)) due.add(watched);
    }
  }

  function gap(watched: WatchedKey): number {
    for (const watcher of watched.watchers) if (watcher.sleeping()) return SLEEPING_GAP_MS;
    return BUSY_GAP_MS;
  }

  function groupsOf(watched: WatchedKey): AtomicGroup[] {
    const all: AtomicGroup[] = [];
    for (const { group } of watched.watchers) if (group !== undefined) all.push(group);
    return all;
  }

  /** Reads a key and the changed ones of its groups together, once the reads of these groups that are under way have come back. */
  function enqueue(watched: WatchedKey): void {
    const all = groupsOf(watched);
    if (all.some(({ reading }) => reading > 0)) {
      for (const { due } of all) due.add(watched);
      return;
    }
    take(watched);
  }

  function take(watched: WatchedKey): void {
    clearTimeout(watched.timer);
    watched.timer = undefined;
    watched.state = 'queued';
    for (const { due } of groupsOf(watched)) due.delete(watched);
    queue.push(watched);
    // Changes that arrive in one chunk are read in one batch.
    if (queue.length === 1) queueMicrotask(flush);
  }

  function flush(): void {
    // Only now: keys that changed in the same step may have been announced after those that are queued.
    for (const watched of [...queue])
      for (const { due } of groupsOf(watched)) for (const other of [...due]) if (other.state === 'idle') take(other);
    const batch = new Map(queue.map((watched) => [watched.read.id, watched]));
    queue = [];
    if (closing.signal.aborted) return;
    for (const watched of batch.values()) {
      watched.state = 'reading';
      watched.readingWith = groupsOf(watched);
      for (const group of watched.readingWith) group.reading++;
    }
    const arrived = new Set<KeyWatcher>();
    let scheduled = false;
    let recovered = false;
    const notify = (): void => {
      scheduled = false;
      for (const watcher of arrived) watcher.resultArrived();
      arrived.clear();
      if (recovered) for (const watched of watchedKeys.values()) if (isOutage(watched.result)) touch(watched);
      recovered = false;
    };
    void reader(
      [...batch.values()].map((watched) => watched.read),
      (read, result, session) => {
        const watched = batch.get(read.id);
        if (watched === undefined) return;
        recovered ||= isOutage(watched.result) && !isOutage(result);
        watched.state = 'idle';
        watched.readAt = performance.now();
        // Keeps the older object: thousands of equal results would only make garbage.
        if (!sameValue(watched.result, result)) watched.result = result;
        watched.session = session;
        if (session !== undefined) repliedAt.set(session, watched.readAt);
        remember(read, result);
        for (const watcher of watched.watchers) arrived.add(watcher);
        if (!scheduled) {
          scheduled = true;
          queueMicrotask(notify);
        }
        if (watched.dirty) {
          watched.dirty = false;
          // After its watchers were called: whether they sleep decides how soon.
          queueMicrotask(() => {
            touch(watched);
          });
        }
        release(watched);
      },
      closing.signal,
    );
  }

  /** Reads those that waited for this one to come back, with it if it has changed meanwhile. */
  function release(watched: WatchedKey): void {
    for (const group of watched.readingWith) {
      group.reading--;
      if (group.reading > 0 || group.due.size === 0) continue;
      queueMicrotask(() => {
        for (const waiting of [...group.due]) if (waiting.state === 'idle' && waiting.timer === undefined) enqueue(waiting);
      });
    }
    watched.readingWith = [];
  }

  function isTracked({ session }: WatchedKey): boolean {
    return session?.tracking === true && session.isOpen();
  }

  function period(watched: WatchedKey): number {
    if (watched.result !== undefined && 'error' in watched.result) return FAILED_POLL_MS;
    const tracked = isTracked(watched);
    if (tracked && watched.read.changesAreTracked) return SAFETY_POLL_MS;
    if (gap(watched) === BUSY_GAP_MS) return BUSY_POLL_MS;
    return tracked ? GROUP_POLL_MS : UNTRACKED_POLL_MS;
  }

  /** Visits as many keys as make a round last as long as the shortest poll, and polls those that are due, a few at a time. */
  function tick(): void {
    const now = performance.now();
    let visits = Math.ceil((watchedKeys.size * TICK_MS) / UNTRACKED_POLL_MS);
    // Safety polls are spread, also those of keys that were added all at once, so that they never hold up a wake-up.
    let safety = Math.ceil((watchedKeys.size * TICK_MS) / SAFETY_POLL_MS) * 2;
    let groups = Math.ceil((watchedKeys.size * TICK_MS) / GROUP_POLL_MS) * 2;
    let untracked = (MOST_UNTRACKED_PER_S * TICK_MS) / 1_000;
    let busy = (MOST_BUSY_PER_S * TICK_MS) / 1_000;
    failedBudget = Math.min(MOST_FAILED_PER_S, failedBudget + (MOST_FAILED_PER_S * TICK_MS) / 1_000);
    while (visits-- > 0 && untracked > 0) {
      round ??= watchedKeys.values();
      const next = round.next();
      if (next.done === true) {
        round = undefined;
        return;
      }
      const watched = next.value;
      if (watched.state !== 'idle' || watched.timer !== undefined || now - watched.readAt < UNTRACKED_POLL_MS) continue;
      const due = period(watched);
      if (now - watched.readAt < due) continue;
      if (due === FAILED_POLL_MS) {
        if (failedBudget < 1) continue;
        failedBudget--;
      } else if (due === UNTRACKED_POLL_MS) untracked--;
      else if ((due === SAFETY_POLL_MS ? safety-- : due === BUSY_POLL_MS ? busy-- : groups--) <= 0) continue;
      enqueue(watched);
    }
  }

  return {
    add(watcher) {
      const { read } = watcher;
      let watched = watchedKeys.get(read.id);
      if (watched === undefined) {
        watched = {
          read,
          watchers: new Set(),
          state: 'idle',
          dirty: false,
          readingWith: [],
          readAt: -Infinity,
          timer: undefined,
          result: undefined,
          session: undefined,
        };
        watchedKeys.set(read.id, watched);
        const same = byKey.get(read.key);
        if (same === undefined) byKey.set(read.key, [watched]);
        else same.push(watched);
        enqueue(watched);
      } else if (watched.result !== undefined)
        queueMicrotask(() => {
          watcher.resultArrived();
        });
      const own = watched;
      own.watchers.add(watcher);
      ticker ??= setInterval(tick, TICK_MS);
      return () => {
        own.watchers.delete(watcher);
        if (own.watchers.size > 0) return;
        clearTimeout(own.timer);
        watcher.group?.due.delete(own);
        watchedKeys.delete(read.id);
        const others = byKey.get(read.key)?.filter((each) => each !== own) ?? [];
        if (others.length > 0) byKey.set(read.key, others);
        else byKey.delete(read.key);
        if (watchedKeys.size === 0) {
          clearInterval(ticker);
          ticker = undefined;
        }
      };
    },
    result: (readId) => watchedKeys.get(readId)?.result,
    isCurrent(key) {
      const same = byKey.get(key);
      if (same === undefined) return false;
      const now = performance.now();
      for (const watched of same) {
        const { read, result, session, state, timer, dirty } = watched;
        if (state !== 'idle' || timer !== undefined || dirty || groupsOf(watched).some(({ due }) => due.has(watched)))
          return false;
        if (result === undefined || 'error' in result || !read.changesAreTracked || session === undefined) return false;
        if (!isTracked(watched) || now - (repliedAt.get(session) ?? -Infinity) > VOUCHED_MS) return false;
      }
      return true;
    },
    answered(session) {
      repliedAt.set(session, performance.now());
    },
    invalidated(keys) {
      if (keys === null) for (const watched of watchedKeys.values()) touch(watched);
      else for (const key of keys) for (const watched of byKey.get(key) ?? []) touch(watched);
    },
    ended() {
      for (const watched of watchedKeys.values()) if (!isOutage(watched.result)) touch(watched);
    },
    followed(session) {
      for (const watched of watchedKeys.values()) if (watched.session !== session) touch(watched);
    },
    reread(which) {
      for (const watched of watchedKeys.values()) if (which(watched.read.key)) touch(watched);
    },
    close() {
      closing.abort();
      clearInterval(ticker);
      for (const watched of watchedKeys.values()) clearTimeout(watched.timer);
      watchedKeys.clear();
      byKey.clear();
    },
  };
}

/** Whether it was not the key that could not be read, but its server. */
function isOutage(result: KeyReadResult | undefined): boolean {
  return result !== undefined && 'error' in result && result.error instanceof BrokerError;
}
