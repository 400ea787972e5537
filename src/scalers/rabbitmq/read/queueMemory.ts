/**
 * What is remembered about queues between readings: one record a queue, in a map that forgets.
 */

/** What a question counts: messages that wait, or those that consumers hold as well. */
export type Counted = 'ready' | 'messages';

/** Zeros of one figure of a queue in a row. Times in ms of `performance.now()`. */
export interface ZeroStreak {
  readonly since: number;
  readonly lastAt: number;
  readonly samples: number;
  /** By more than the time that it has lasted. */
  readonly confirmed: boolean;
}

/** A queue's message counters at one time. */
export interface CounterSample {
  readonly at: number;
  readonly published: number;
  readonly delivered: number;
  readonly acknowledged: number;
}

/** The samples that rates over one window are taken from. */
export interface RateTrack {
  readonly windowMs: number;
  readonly samples: readonly CounterSample[];
  /** Implausible samples in a row. */
  readonly outliers: number;
  /** The counters restarted, so the broker's own rates are in doubt as well. */
  readonly restarted: boolean;
  /** Since when the queue has had no counters for a reason other than its having counted nothing, in ms of `performance.now()`. */
  readonly missingSince?: number | undefined;
}

export interface QueueRecord {
  /** `classic`, `quorum`, `stream` or another, as last reported. */
  readonly type?: string | undefined;
  readonly zeros?: Readonly<Partial<Record<Counted, ZeroStreak | undefined>>> | undefined;
  /** When messages were last seen waiting, or when the queue was first seen. */
  readonly workAt?: number;
  /** One for each window asked for. */
  readonly rates?: readonly RateTrack[];
}

export interface QueueMemory {
  get(vhost: string, queue: string): QueueRecord;
  /** Replaces the fields that are given. */
  update(vhost: string, queue: string, changes: QueueRecord): void;
}

/** A queue that is read less often than this may count as busy again, for lack of a memory of its last message. */
const QUEUE_IDLE_MS = 3_600_000;
const EMPTY: QueueRecord = {};

export function createQueueMemory(): QueueMemory {
  const records = createForgettingMap<QueueRecord>(QUEUE_IDLE_MS);
  const keyOf = (vhost: string, queue: string): string => `${vhost}\0${queue}`;
  return {
    get: (vhost, queue) => records.get(keyOf(vhost, queue)) ?? EMPTY,
    update(vhost, queue, changes) {
      const key = keyOf(vhost, queue);
      const record = records.get(key) ?? EMPTY;
      const names = Object.keys(changes) as (keyof QueueRecord)[];
      if (names.some((name) => changes[name] !== record[name])) records.set(key, { ...record, ...changes });
    },
  };
}

export interface ForgettingMap<V> {
  /** The value, which counts as used by this. */
  get(key: string): V | undefined;
  set(key: string, value: V): void;
}

/** A crowd is forgotten sooner, but not before a streak of zeros would have lapsed anyway. */
const CROWD = 10_000;
const CROWD_IDLE_MS = 150_000;
/** Twice as many entries are kept at most. */
const MAX_GENERATION = 100_000;

/**
 * A map of two generations: what is used moves to the young one; now and then the old one is dropped and the young one becomes the
 * old. While the map is used, an entry that is not goes after `idleMs` to twice that.
 */
export function createForgettingMap<V>(idleMs: number): ForgettingMap<V> {
  let young = new Map<string, V>();
  let old = new Map<string, V>();
  let bornAt = performance.now();

  function forget(): void {
    const ageMs = performance.now() - bornAt;
    const crowded = young.size + old.size > CROWD && ageMs > CROWD_IDLE_MS;
    if (ageMs <= idleMs && !crowded && young.size < MAX_GENERATION) return;
    old = young;
    young = new Map();
    bornAt += ageMs;
  }

  return {
    get(key) {
      forget();
      const value = young.get(key) ?? old.get(key);
      if (value !== undefined) young.set(key, value);
      return value;
    },
    set(key, value) {
      forget();
      young.set(key, value);
    },
  };
}
