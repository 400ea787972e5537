/**
 * Shares one broker client among all who ask, and answers them at once: what is asked for is kept up to date by rounds, each of which
 * reads all questions of the broker that are due. It must never turn an unknown into a number.
 *
 * Over 300 lines because what is known of a question, when it is read, and who waits for it is one state.
 */
import { setImmediate as immediate } from 'node:timers/promises';
import { untilAborted } from '../abort.ts';
import { BrokerError, ProcessError, toQueueScalerError, type QueueScalerError } from '../errors.ts';
import type { BrokerEvents, BrokerIdentity } from './brokerEvents.ts';
import { someSleep, type BrokerClient, type Question, type Watcher } from './contract.ts';
import { MOST_ROUNDS, noteAsk, ROUND_MS, roundsApart, type Asks } from './freshness.ts';
import { sharingWith, unknown, type Known, type Reading, type Unknown } from './reading.ts';

/** A question that nobody has asked for so long is not kept up to date any more; if it is asked again, its answer is waited for. */
const KEEP_MS = 120_000;
/** New questions that arrive within this time of the first go out as one sweep. */
const BATCH_WINDOW_MS = 20;
/** A question that the broker has not answered for so long counts as failed. */
const OVERDUE_MS = 1_900;
/** Who asks for what others wait for already waits no longer than until so long after the first of them. */
const SHARED_WAIT_MS = 200;
/** No sweep lasts longer; what it has not answered by then is unknown. */
const BATCH_DEADLINE_MS = 10_000;
/** Of many questions so many are looked at before calls get their turn again. */
const LOOKED_AT_ONCE = 500;
/** A question that nobody has asked for so long is forgotten. */
const FORGET_MS = 600_000;

export interface ReadingCache {
  readonly broker: BrokerIdentity;
  /**
   * What is known of the question, at once: its latest reading, or the last known one in its place while that is allowed. Undefined
   * where nobody has asked for it lately. From then on it is kept up to date.
   */
  latest(question: Question): Reading | undefined;
  /** The same; where there is nothing, the first answer. Never rejects: trouble, and the signal's abort, are unknown readings. */
  read(question: Question, signal: AbortSignal): Promise<Reading>;
  /** Reports every reading of the question until the returned function is called. */
  watch(question: Question, watcher: Watcher): () => void;
  /** Time since the last question, in ms; 0 while anything is watched or under way. */
  idleMs(): number;
  /** Forgets questions that are no longer asked. */
  prune(): void;
  close(): Promise<void>;
}

interface Entry {
  readonly question: Question;
  readonly asks: Asks;
  latest: Reading | undefined;
  lastKnown: Known | undefined;
  /** When the last known reading was known to hold, in ms of `performance.now()`: when it came, or until when a watch vouched for it. */
  heldAt: number;
  /** When a watch last told of it. */
  heardAt: number;
  /** The last known reading with what has failed since, made once for each failure. */
  standIn: Known | undefined;
  pending: Pending | undefined;
  readonly watchers: Set<Watcher>;
  unwatch: (() => void) | undefined;
}

/** A question that the broker has yet to answer. */
interface Pending {
  readonly since: number;
  readonly ended: Promise<void>;
  readonly resolve: () => void;
  /** That this takes too long, made once. */
  overdue: Unknown | undefined;
}

function createPending(): Pending {
  let resolve = (): void => undefined;
  const ended = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { since: performance.now(), ended, resolve, overdue: undefined };
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
  let rounds = 0;
  let roundTimer: NodeJS.Timeout | undefined;
  let usedAt = performance.now();
  const closing = new AbortController();

  function entryOf(question: Question): Entry {
    let entry = entries.get(question.key);
    if (entry === undefined) {
      entry = {
        question,
        asks: { at: -Infinity, intervalMs: 0 },
        latest: undefined,
        lastKnown: undefined,
        heldAt: -Infinity,
        heardAt: -Infinity,
        standIn: undefined,
        pending: undefined,
        watchers: new Set(),
        unwatch: undefined,
      };
      entries.set(question.key, entry);
    }
    return entry;
  }

  function isKept({ asks }: Entry, now: number): boolean {
    return now - asks.at < KEEP_MS;
  }

  /** Asks all questions that are due as one, since one answer of the broker may tell of many. */
  async function startRound(): Promise<void> {
    rounds++;
    const due: Entry[] = [];
    let kept = 0;
    let looked = 0;
    for (const entry of entries.values()) {
      if (++looked % LOOKED_AT_ONCE === 0) await immediate();
      const now = performance.now();
      if (!isKept(entry, now)) continue;
      kept++;
      if (isDue(entry, now)) due.push(entry);
    }
    if (closing.signal.aborted) return;
    for (const entry of due) if (entry.pending === undefined) enter(entry);
    if (batch.length > 0) void readBatch();
    if (kept > 0) return;
    clearInterval(roundTimer);
    roundTimer = undefined;
  }

  function isDue(entry: Entry, now: number): boolean {
    const { latest } = entry;
    // Trouble may pass at any time, but a failure that is an answer lasts as long as a number.
    if (latest === undefined || (!latest.known && latest.error.spec.allowStale)) return true;
    const apart = paceOf(entry, now);
    if (rounds % apart !== 0 || now - latest.at <= (apart * ROUND_MS) / 4) return false;
    if (!stands(entry)) return true;
    entry.heldAt = now;
    return false;
  }

  function paceOf(entry: Entry, now: number): number {
    // Of what begins while it sleeps the watch tells at once.
    return someSleep(entry.watchers) ? MOST_ROUNDS : roundsApart(entry.asks, now);
  }

  function enter(entry: Entry): Pending {
    entry.pending = createPending();
    batch.push(entry);
    return entry.pending;
  }

  function answered(key: string, reading: Reading, askedAt: number): void {
    const entry = entries.get(key);
    if (entry === undefined) return;
    const { pending } = entry;
    const wasKnown = entry.latest?.known === true;
    entry.pending = undefined;
    // What a watch has told meanwhile is newer, whenever this answer came.
    if (entry.latest === undefined || entry.heardAt < askedAt) record(entry, reading);
    pending?.resolve();
    // A connection that was lost is opened again by the next question, which need not wait for a round.
    if (wasKnown && !reading.known && reading.error.spec.retry === 'endpoint' && !closing.signal.aborted) ask(entry);
  }

  function record(entry: Entry, told: Reading, afresh = false): void {
    const reading = sharingWith(entry.lastKnown, told);
    // Answers may overtake each other; an older one must not undo a newer.
    if (entry.latest === undefined || reading.at >= entry.latest.at) {
      entry.latest = reading;
      entry.standIn = undefined;
      if (reading.known) {
        entry.lastKnown = reading;
        entry.heldAt = reading.at;
      }
    }
    events.reading({ broker, key: entry.question.key, reading });
    if (entry.watchers.size === 0) return;
    const now = performance.now();
    for (const watcher of [...entry.watchers]) watcher.report(served(entry, now) ?? reading, afresh);
  }

  /** The latest reading, or what stands in its place: nobody is told a number longer than the broker's silence allows. */
  function served(entry: Entry, now: number): Reading | undefined {
    const { latest, pending } = entry;
    if (latest === undefined) return undefined;
    if (!latest.known) return standIn(entry, latest.error, now) ?? latest;
    if (pending === undefined || now - Math.max(pending.since, latest.at) <= OVERDUE_MS) return latest;
    pending.overdue ??= unknown(unanswered(entry, now - pending.since));
    return standIn(entry, pending.overdue.error, now) ?? pending.overdue;
  }

  /** The last known reading, marked with what has failed since, while it is young and the failure is not itself an answer. */
  function standIn(entry: Entry, since: QueueScalerError, now: number): Known | undefined {
    const { lastKnown, heldAt, question } = entry;
    if (lastKnown === undefined || !since.spec.allowStale || now - heldAt >= question.staleAfterMs) return undefined;
    if (entry.standIn?.since !== since) entry.standIn = { ...lastKnown, since };
    return entry.standIn;
  }

  function unanswered({ question: { subject } }: Entry, ms: number): BrokerError {
    return new BrokerError('BROKER_TIMEOUT', `${broker.label} has not answered for ${subject} within ${Math.round(ms)} ms`);
  }

  /** Whether the broker, which is watched, would have told of a change since its latest reading. */
  function stands({ latest, question, watchers }: Entry): boolean {
    return latest?.known === true && watchers.size > 0 && client?.isCurrent?.(question) === true;
  }

  function ask(entry: Entry): Pending {
    if (entry.pending !== undefined) return entry.pending;
    batchTimer ??= setTimeout(() => void readBatch(), BATCH_WINDOW_MS);
    return enter(entry);
  }

  function latestOf(entry: Entry, now: number): Reading | undefined {
    if (!isKept(entry, now) && entry.watchers.size === 0) entry.latest = undefined;
    usedAt = now;
    noteAsk(entry.asks, now);
    roundTimer ??= setInterval(() => void startRound(), ROUND_MS);
    return served(entry, now);
  }

  function reportNow(entry: Entry, watcher: Watcher): void {
    const { latest } = entry;
    if (latest === undefined || (performance.now() - latest.at > ROUND_MS && !stands(entry))) {
      ask(entry);
      return;
    }
    queueMicrotask(() => {
      const reading = served(entry, performance.now());
      if (reading !== undefined && entry.watchers.has(watcher)) watcher.report(reading);
    });
  }

  async function readBatch(): Promise<void> {
    clearTimeout(batchTimer);
    batchTimer = undefined;
    const asked = batch;
    batch = [];
    if (asked.length === 0) return;
    const startedAt = performance.now();
    const waiting = new Set(asked.map(({ question }) => question.key));
    let known = 0;
    batchesUnderWay++;
    const deadline = AbortSignal.timeout(BATCH_DEADLINE_MS);
    const signal = AbortSignal.any([deadline, closing.signal]);
    const settleRest = (error: QueueScalerError): void => {
      for (const key of waiting) answered(key, unknown(error), startedAt);
      waiting.clear();
    };
    try {
      signal.throwIfAborted();
      client ??= open();
      const swept = client.readBatch(
        asked.map(({ question }) => question),
        (key, reading) => {
          if (waiting.delete(key) && reading.known) known++;
          answered(key, reading, startedAt);
        },
        signal,
      );
      await untilAborted(swept, signal);
      if (waiting.size > 0) settleRest(new BrokerError('BROKER_REPLY_INVALID', `${broker.label} left the question unanswered`));
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
      events.batchRead({ broker, asked: asked.length, known, ms: performance.now() - startedAt });
    }
  }

  return {
    broker,

    latest: (question) => latestOf(entryOf(question), performance.now()),

    async read(question, signal) {
      if (closing.signal.aborted) return unknown(new ProcessError('SHUTTING_DOWN', 'the scaler is closing its connections'));
      const now = performance.now();
      const entry = entryOf(question);
      const latest = latestOf(entry, now);
      if (latest !== undefined) return latest;
      const shared = entry.pending !== undefined;
      const { since, ended } = ask(entry);
      try {
        const patience = shared ? AbortSignal.timeout(Math.max(0, Math.ceil(since + SHARED_WAIT_MS - now))) : undefined;
        await untilAborted(ended, patience === undefined ? signal : AbortSignal.any([patience, signal]));
      } catch {
        const error = unanswered(entry, performance.now() - since);
        return standIn(entry, error, performance.now()) ?? unknown(error);
      }
      return served(entry, performance.now()) ?? unknown(new ProcessError('INTERNAL', 'a question ended without an answer'));
    },

    watch(question, watcher) {
      const entry = entryOf(question);
      entry.watchers.add(watcher);
      if (!closing.signal.aborted) {
        client ??= open();
        // Who joins others must not wait for the next change to hear how things stand.
        if (entry.unwatch !== undefined) reportNow(entry, watcher);
        entry.unwatch ??= client.watch(question, {
          sleeping: () => someSleep(entry.watchers),
          isReadAnyway: () => isKept(entry, performance.now()),
          report: (reading, afresh) => {
            entry.heardAt = performance.now();
            record(entry, reading, afresh);
            entry.pending?.resolve();
          },
        });
      }
      return () => {
        if (!entry.watchers.delete(watcher) || entry.watchers.size > 0) return;
        entry.unwatch?.();
        entry.unwatch = undefined;
        usedAt = performance.now();
      };
    },

    idleMs() {
      const busy = batchesUnderWay > 0 || batch.length > 0 || [...entries.values()].some((entry) => entry.watchers.size > 0);
      return busy ? 0 : performance.now() - usedAt;
    },

    prune() {
      const now = performance.now();
      for (const [key, { watchers, pending, asks, latest }] of entries) {
        const usedAt = Math.max(asks.at, latest?.at ?? now);
        if (watchers.size === 0 && pending === undefined && now - usedAt > FORGET_MS) entries.delete(key);
      }
    },

    async close() {
      clearInterval(roundTimer);
      clearTimeout(batchTimer);
      closing.abort();
      void readBatch();
      for (const entry of entries.values()) entry.unwatch?.();
      await client?.close();
    },
  };
}
