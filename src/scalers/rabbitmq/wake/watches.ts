/**
 * Keeps watched questions' readings coming: declares look at the queues for work and for its end, and all are read now and then in
 * full.
 */
import type { QueueScalerError } from '../../../errors.ts';
import type { Reading } from '../../reading.ts';
import type { Watcher } from '../../contract.ts';
import type { Declared } from '../amqp/declared.ts';
import type { RabbitQuestion } from '../question.ts';
import { SLOW_DECLARE_MS } from '../read/reconcile.ts';
import { createDeclareRotation } from './rotation.ts';

/** Full readings while workers run, in ms. */
const AWAKE_MS = 5_000;
/** Full readings while declares watch for work: they only find new queues of a pattern, and troubles. */
const ASLEEP_MS = 15_000;
/**
 * Where there is no AMQP nothing else watches for work and its end. A few are then read as often as makes each list a new one; the more
 * there are, the more seldom, down to the latter.
 */
const BY_HTTP = { leastMs: 600, eachMs: 25, asleepMs: 1_000 };
/** After an unknown reading, or one that may be older than a lull, in ms: the figures of a list may be so much older than its answer. */
const UNSURE_MS = 1_000;
/** Work that a sleeping question is not active for is told of again after this time at the earliest. */
const SAME_WORK_MS = 100;
const TICK_MS = 100;

export interface Watches {
  add(question: RabbitQuestion, watcher: Watcher): () => void;
  close(): void;
}

export interface WatchParts {
  readonly read: (question: RabbitQuestion) => Promise<Reading>;
  readonly queuesOf: (question: RabbitQuestion) => Promise<readonly string[]>;
  readonly wakeReading: (question: RabbitQuestion, live: ReadonlyMap<string, Declared>, queues: number) => Reading;
  readonly declare: ((vhost: string, queue: string) => Promise<Declared | QueueScalerError>) | undefined;
  /** No node has come or gone lately, after which lists show queues empty for seconds that are not. */
  readonly calm: () => boolean;
}

/** A time in which the queues were seen without messages and consumers, or a zero was read that does not count yet. */
interface Lull {
  readonly since: number;
  /** Work that comes after it has come afresh, whatever was reported last. */
  certain: boolean;
  /** A reading from after its begin says that messages are held, by somebody who is no consumer. */
  held: boolean;
}

interface Watch {
  readonly question: RabbitQuestion;
  readonly watcher: Watcher;
  dueAt: number;
  reading: boolean;
  /** The last reading was unknown. */
  unsure: boolean;
  /** Ends the declares for each queue. */
  readonly queues: Map<string, () => void>;
  /** Queues that were seen with work since the watch fell asleep. */
  readonly work: Map<string, Declared>;
  /** Queues in which the latest declare found neither a message nor who might hold one. */
  readonly deserted: Set<string>;
  lull: Lull | undefined;
}

export function createWatches({ read, queuesOf, wakeReading, declare, calm }: WatchParts): Watches {
  const watches = new Set<Watch>();
  const rotation = declare === undefined ? undefined : createDeclareRotation(declare);
  let timer: NodeJS.Timeout | undefined;

  function tick(): void {
    const now = performance.now();
    for (const watch of watches) {
      if (watch.dueAt > now || watch.reading) continue;
      if (isRoutine(watch) && watch.watcher.isReadAnyway?.() === true) {
        watch.dueAt = now + AWAKE_MS;
        void followQueues(watch);
      } else void readInFull(watch);
    }
  }

  async function readInFull(watch: Watch): Promise<void> {
    watch.reading = true;
    watch.dueAt = Infinity;
    const reading = await read(watch.question);
    watch.reading = false;
    if (!watches.has(watch)) return;
    tell(watch, reading, declare === undefined);
    if (reading.known && watch.lull !== undefined && reading.at > watch.lull.since + UNSURE_MS) watch.lull.held = true;
    if (!reading.known && reading.error.code === 'ZERO_UNCONFIRMED') lull(watch, calm());
    watch.unsure = !reading.known;
    const pauseMs = pauseAfter(watch, reading);
    // At the same times for all, so that one list serves them; sooner if work or its end was seen meanwhile.
    watch.dueAt = Math.min(watch.dueAt, Math.ceil(performance.now() / pauseMs) * pauseMs);
    await followQueues(watch);
  }

  /** Whether nothing has come up since the last reading, and declares would show it. */
  function isRoutine(watch: Watch): boolean {
    return declare !== undefined && watch.dueAt > 0 && watch.lull === undefined && !watch.unsure;
  }

  function pauseAfter(watch: Watch, reading: Reading): number {
    if (!reading.known) return UNSURE_MS;
    const sleeping = isSleeping(watch);
    if (declare === undefined) {
      const sharedMs = Math.max(BY_HTTP.leastMs, watches.size * BY_HTTP.eachMs);
      return Math.min(sharedMs, sleeping ? BY_HTTP.asleepMs : AWAKE_MS);
    }
    if (!sleeping) return AWAKE_MS;
    return watch.watcher.sleeping() ? ASLEEP_MS : UNSURE_MS;
  }

  function isSleeping({ watcher, lull }: Watch): boolean {
    return watcher.sleeping() || lull?.held === false;
  }

  /** `newest`: the figures are no older than what declares have shown. */
  function tell(watch: Watch, reading: Reading, newest: boolean): void {
    const { watcher, lull } = watch;
    const ended = lull !== undefined && newest && reading.known && (reading.measures['ready'] ?? 0) > 0;
    watcher.report(reading, ended && lull.certain);
    if (ended || watcher.sleeping()) watch.lull = undefined;
    if (!watcher.sleeping()) watch.work.clear();
  }

  function lull(watch: Watch, certain: boolean): void {
    if (watch.lull?.certain === true || watch.watcher.sleeping()) return;
    // What follows tells whether anybody holds messages.
    if (watch.lull === undefined) watch.dueAt = 0;
    watch.lull ??= { since: performance.now(), certain, held: false };
    watch.lull.certain = certain;
  }

  /** Has declares look at the question's queues. */
  async function followQueues(watch: Watch): Promise<void> {
    if (rotation === undefined || !watches.has(watch)) return;
    let queues: readonly string[];
    try {
      queues = await queuesOf(watch.question);
    } catch {
      // The full reading has met the same trouble and told of it.
      return;
    }
    if (!watches.has(watch)) return;
    const wanted = new Set(queues);
    for (const [queue, stop] of watch.queues) {
      if (wanted.has(queue)) continue;
      stop();
      watch.queues.delete(queue);
      watch.work.delete(queue);
      watch.deserted.delete(queue);
    }
    for (const queue of wanted) {
      if (watch.queues.has(queue)) continue;
      const onDeclared = (declared: Declared): void => {
        seen(watch, queue, declared);
      };
      const { vhost, wakeBudget: budget } = watch.question;
      watch.queues.set(queue, rotation.add(vhost, queue, { budget, sleeping: () => isSleeping(watch), onDeclared }));
    }
  }

  function seen(watch: Watch, queue: string, declared: Declared): void {
    const { question, queues, work, deserted } = watch;
    const { ready, consumers, serviceMs, at } = declared;
    if (ready === 0) {
      work.delete(queue);
      const mayBeBusy = consumers > 0 && question.needs !== 'ready';
      if (mayBeBusy || serviceMs >= SLOW_DECLARE_MS) {
        deserted.delete(queue);
        watch.lull = undefined;
      } else if (deserted.add(queue).size === queues.size) {
        // Where a leader was lost this is false for less than half a second, and costs one `true` too many.
        lull(watch, true);
      }
      return;
    }
    deserted.delete(queue);
    if (!isSleeping(watch) && watch.lull === undefined) return;
    const before = work.get(queue);
    if (before?.ready === ready && at - before.at < SAME_WORK_MS) return;
    work.set(queue, declared);
    tell(watch, wakeReading(question, work, queues.size), true);
    // What follows tells the rest: what consumers hold, and rates.
    if (before?.ready !== ready) watch.dueAt = 0;
  }

  return {
    add(question, watcher) {
      const watch: Watch = {
        question,
        watcher,
        dueAt: 0,
        reading: false,
        unsure: true,
        queues: new Map(),
        work: new Map(),
        deserted: new Set(),
        lull: undefined,
      };
      watches.add(watch);
      timer ??= setInterval(tick, TICK_MS);
      void readInFull(watch);
      if (question.selection.kind === 'queue') void followQueues(watch);
      return () => {
        watches.delete(watch);
        for (const stop of watch.queues.values()) stop();
        if (watches.size > 0) return;
        clearInterval(timer);
        timer = undefined;
      };
    },
    close() {
      clearInterval(timer);
      watches.clear();
      rotation?.close();
    },
  };
}
