/**
 * Shares one broker client among all who ask: coalesces questions, keeps the latest readings, and lets the last
 * known one stand in for a bounded time. It must never turn an unknown into a number.
 */
import { untilAborted } from '../abort.ts';
import { BrokerError, ProcessError, toQueueScalerError, type QueueScalerError } from '../errors.ts';
import type { BrokerEvents, BrokerIdentity } from './brokerEvents.ts';
import { sharingWith, unknown, type Known, type Reading } from './reading.ts';
import type { BrokerClient, Question, Watcher } from './contract.ts';

/** A reading this young answers again: KEDA asks for metric and activity one after the other, and retries failures at once. */
export const FRESH_MS = 1_000;
/** Questions that arrive within this time of the first go out as one sweep. */
const BATCH_WINDOW_MS = 20;
/** No sweep lasts longer; what it has not answered by then is unknown. */
const BATCH_DEADLINE_MS = 10_000;
/** A question that nobody has asked for so long is forgotten. */
const FORGET_MS = 600_000;

export interface ReadingCache {
  readonly broker: BrokerIdentity;
  /** Never rejects: trouble, and the signal's abort, are unknown readings. */
  read(question: Question, signal: AbortSignal): Promise<Reading>;
  /** Reports every reading of the question until the returned function is called. */
  watch(question: Question, watcher: Watcher): () => void;
  /** Whether the question's latest reading is this one and the broker, which is watched, would have told of a change since. */
  isCurrent(question: Question, reading: Reading): boolean;
  /** Time since the last question, in ms; 0 while anything is watched or under way. */
  idleMs(): number;
  /** Forgets questions that are no longer asked. */
  prune(): void;
  close(): Promise<void>;
}

interface Entry {
  question: Question;
  askedAt: number;
  latest: Reading | undefined;
  lastKnown: Known | undefined;
  /** Resolves when the question under way is answered. */
  pending: Pending | undefined;
  readonly watchers: Set<Watcher>;
  unwatch: (() => void) | undefined;
}

interface Pending {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
}

function createPending(): Pending {
  let resolve = (): void => undefined;
  const promise = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

export function createReadingCache(
  broker: BrokerIdentity,
  open: () => BrokerClient<Question>,
  events: BrokerEvents,
): ReadingCache {
  const entries = new Map<string, Entry>();
  let client: BrokerClient<Question> | undefined;
  let batch: Entry[] = [];
  let batchTimer: NodeJS.Timeout | undefined;
  let batchesUnderWay = 0;
  let usedAt = performance.now();
  const closing = new AbortController();

  function entryOf(question: Question): Entry {
    let entry = entries.get(question.key);
    if (entry === undefined) {
      entry = {
        question,
        askedAt: 0,
        latest: undefined,
        lastKnown: undefined,
        pending: undefined,
        watchers: new Set(),
        unwatch: undefined,
      };
      entries.set(question.key, entry);
    }
    entry.askedAt = usedAt = performance.now();
    return entry;
  }

  function record(key: string, told: Reading, afresh = false): void {
    const entry = entries.get(key);
    if (entry === undefined) return;
    const reading = sharingWith(entry.lastKnown, told);
    // Answers may overtake each other; an older one must not undo a newer.
    if (entry.latest === undefined || reading.at >= entry.latest.at) {
      entry.latest = reading;
      if (reading.known) entry.lastKnown = reading;
    }
    entry.pending?.resolve();
    entry.pending = undefined;
    events.reading({ broker, key, reading });
    for (const watcher of [...entry.watchers]) watcher.report(served(entry) ?? reading, afresh);
  }

  /** The latest reading, or the last known one in its place while that is allowed. */
  function served(entry: Entry): Reading | undefined {
    const { latest } = entry;
    return latest === undefined || latest.known ? latest : (staleFallback(entry, latest.error) ?? latest);
  }

  /** The last known reading, marked with what has failed since, while it is young and the failure is not itself an answer. */
  function staleFallback({ lastKnown, question }: Entry, since: QueueScalerError): Known | undefined {
    if (lastKnown === undefined || !since.spec.allowStale) return undefined;
    return performance.now() - lastKnown.at < question.staleAfterMs ? { ...lastKnown, since } : undefined;
  }

  function stands({ latest, question, watchers }: Entry): boolean {
    return latest?.known === true && watchers.size > 0 && client?.isCurrent?.(question) === true;
  }

  function reportNow(entry: Entry, watcher: Watcher): void {
    if (!isFresh(entry) && !stands(entry)) {
      void ask(entry);
      return;
    }
    queueMicrotask(() => {
      const reading = served(entry);
      if (reading !== undefined && entry.watchers.has(watcher)) watcher.report(reading);
    });
  }

  function ask(entry: Entry): Promise<void> {
    if (entry.pending === undefined) {
      entry.pending = createPending();
      batch.push(entry);
      batchTimer ??= setTimeout(() => void readBatch(), BATCH_WINDOW_MS);
    }
    return entry.pending.promise;
  }

  async function readBatch(): Promise<void> {
    batchTimer = undefined;
    const asked = new Map(batch.map((entry) => [entry.question.key, entry]));
    batch = [];
    if (asked.size === 0) return;
    const startedAt = performance.now();
    const waiting = new Set(asked.keys());
    let known = 0;
    batchesUnderWay++;
    const deadline = AbortSignal.timeout(BATCH_DEADLINE_MS);
    const signal = AbortSignal.any([deadline, closing.signal]);
    const settleRest = (error: QueueScalerError): void => {
      for (const key of waiting) record(key, unknown(error));
      waiting.clear();
    };
    try {
      signal.throwIfAborted();
      client ??= open();
      const swept = client.readBatch(
        [...asked.values()].map((entry) => entry.question),
        (key, reading) => {
          if (waiting.delete(key) && reading.known) known++;
          record(key, reading);
        },
        signal,
      );
      await untilAborted(swept, signal);
      settleRest(new BrokerError('BROKER_REPLY_INVALID', `${broker.label} left the question unanswered`));
    } catch (thrown) {
      settleRest(
        closing.signal.aborted
          ? new ProcessError('SHUTTING_DOWN', 'the scaler is closing its connections')
          : deadline.aborted
            ? new BrokerError('BROKER_TIMEOUT', `${broker.label} did not answer within ${BATCH_DEADLINE_MS} ms`, {
                cause: thrown,
              })
            : toQueueScalerError(thrown),
      );
    } finally {
      batchesUnderWay--;
      usedAt = performance.now();
      events.batchRead({ broker, asked: asked.size, known, ms: usedAt - startedAt });
    }
  }

  return {
    broker,

    async read(question, signal) {
      if (closing.signal.aborted) return unknown(new ProcessError('SHUTTING_DOWN', 'the scaler is closing its connections'));
      const entry = entryOf(question);
      if (entry.latest !== undefined && (isFresh(entry) || stands(entry))) return served(entry) ?? entry.latest;
      const startedAt = performance.now();
      try {
        await untilAborted(ask(entry), signal);
      } catch {
        const error = new BrokerError(
          'BROKER_TIMEOUT',
          `${broker.label} has not answered for ${question.subject} within ${Math.round(performance.now() - startedAt)} ms`,
        );
        return staleFallback(entry, error) ?? unknown(error);
      }
      return served(entry) ?? unknown(new ProcessError('INTERNAL', 'a question ended without an answer'));
    },

    watch(question, watcher) {
      const entry = entryOf(question);
      entry.watchers.add(watcher);
      if (!closing.signal.aborted) {
        client ??= open();
        // Who joins others must not wait for the next change to hear how things stand.
        if (entry.unwatch !== undefined) reportNow(entry, watcher);
        entry.unwatch ??= client.watch(question, {
          sleeping: () => someSleeps(entry),
          report: (reading, afresh) => {
            record(question.key, reading, afresh);
          },
        });
      }
      return () => {
        if (!entry.watchers.delete(watcher) || entry.watchers.size > 0) return;
        entry.unwatch?.();
        entry.unwatch = undefined;
        entry.askedAt = usedAt = performance.now();
      };
    },

    isCurrent(question, reading) {
      const entry = entries.get(question.key);
      return entry?.latest === reading && stands(entry);
    },

    idleMs() {
      const busy = batchesUnderWay > 0 || batch.length > 0 || [...entries.values()].some((entry) => entry.watchers.size > 0);
      return busy ? 0 : performance.now() - usedAt;
    },

    prune() {
      const now = performance.now();
      for (const [key, entry] of entries) {
        if (entry.watchers.size === 0 && entry.pending === undefined && now - entry.askedAt > FORGET_MS) entries.delete(key);
      }
    },

    async close() {
      clearTimeout(batchTimer);
      closing.abort();
      void readBatch();
      for (const entry of entries.values()) entry.unwatch?.();
      await client?.close();
    },
  };
}

function isFresh({ latest }: Entry): boolean {
  return latest !== undefined && performance.now() - latest.at <= FRESH_MS;
}

function someSleeps({ watchers }: Entry): boolean {
  for (const watcher of watchers) if (watcher.sleeping()) return true;
  return false;
}
