/**
 * Keeps watched questions' readings coming: sleeping ones through the waker, all of them now and then in full.
 */
import type { QueueScalerError } from '../../../errors.ts';
import type { Reading } from '../../reading.ts';
import type { Watcher } from '../../contract.ts';
import type { Declared } from '../amqp/declared.ts';
import type { RabbitQuestion } from '../question.ts';
import { createWaker } from './rotation.ts';

/** Full readings while workers run, in ms. */
const AWAKE_MS = 5_000;
/** Full readings while declares watch for work: they only find new queues of a pattern, and troubles. */
const ASLEEP_MS = 15_000;
/** Full readings while nothing else watches for work, because there is no AMQP. */
const ASLEEP_BY_HTTP_MS = 1_000;
/** After an unknown reading, in ms. */
const UNKNOWN_MS = 1_000;
const TICK_MS = 250;

export interface Watches {
  add(question: RabbitQuestion, watcher: Watcher): () => void;
  close(): void;
}

export interface WatchParts {
  readonly read: (question: RabbitQuestion) => Promise<Reading>;
  readonly queuesOf: (question: RabbitQuestion) => Promise<readonly string[]>;
  readonly wakeReading: (question: RabbitQuestion, live: ReadonlyMap<string, Declared>, queues: number) => Reading;
  readonly declare: ((vhost: string, queue: string) => Promise<Declared | QueueScalerError>) | undefined;
}

interface Watch {
  readonly question: RabbitQuestion;
  readonly watcher: Watcher;
  dueAt: number;
  reading: boolean;
  /** Ends the declares for each sleeping queue. */
  readonly sleeping: Map<string, () => void>;
  /** Queues that were seen with work since the watch fell asleep. */
  readonly work: Map<string, Declared>;
}

export function createWatches({ read, queuesOf, wakeReading, declare }: WatchParts): Watches {
  const watches = new Set<Watch>();
  const waker = declare === undefined ? undefined : createWaker(declare);
  let timer: NodeJS.Timeout | undefined;

  function tick(): void {
    const now = performance.now();
    for (const watch of watches) if (watch.dueAt <= now && !watch.reading) void readInFull(watch);
  }

  async function readInFull(watch: Watch): Promise<void> {
    watch.reading = true;
    const reading = await read(watch.question);
    watch.reading = false;
    if (!watches.has(watch)) return;
    tell(watch, reading);
    watch.dueAt = performance.now() + pauseAfter(watch, reading);
    await followQueues(watch);
  }

  function pauseAfter(watch: Watch, reading: Reading): number {
    if (!reading.known) return UNKNOWN_MS;
    if (!watch.watcher.sleeping()) return AWAKE_MS;
    return declare === undefined ? ASLEEP_BY_HTTP_MS : ASLEEP_MS;
  }

  function tell(watch: Watch, reading: Reading): void {
    watch.watcher.report(reading);
    if (!watch.watcher.sleeping()) wakeUp(watch);
  }

  function wakeUp(watch: Watch): void {
    for (const stop of watch.sleeping.values()) stop();
    watch.sleeping.clear();
    watch.work.clear();
  }

  /** Has the waker look at the question's queues, if it sleeps. */
  async function followQueues(watch: Watch): Promise<void> {
    if (waker === undefined || !watches.has(watch) || !watch.watcher.sleeping()) return;
    let queues: readonly string[];
    try {
      queues = await queuesOf(watch.question);
    } catch {
      // The full reading has met the same trouble and told of it.
      return;
    }
    if (!watches.has(watch) || !watch.watcher.sleeping()) return;
    const wanted = new Set(queues);
    for (const [queue, stop] of watch.sleeping) {
      if (wanted.has(queue)) continue;
      stop();
      watch.sleeping.delete(queue);
    }
    for (const queue of wanted) {
      if (watch.sleeping.has(queue)) continue;
      const sleeper = {
        budget: watch.question.wakeBudget,
        onWork: (declared: Declared) => {
          noticed(watch, queue, declared);
        },
      };
      watch.sleeping.set(queue, waker.add(watch.question.vhost, queue, sleeper));
    }
  }

  function noticed(watch: Watch, queue: string, declared: Declared): void {
    if (!watches.has(watch) || watch.work.get(queue)?.ready === declared.ready) return;
    watch.work.set(queue, declared);
    tell(watch, wakeReading(watch.question, watch.work, watch.sleeping.size));
    // What follows tells the rest: what consumers hold, and rates.
    watch.dueAt = 0;
  }

  return {
    add(question, watcher) {
      const watch: Watch = { question, watcher, dueAt: 0, reading: false, sleeping: new Map(), work: new Map() };
      watches.add(watch);
      timer ??= setInterval(tick, TICK_MS);
      void readInFull(watch);
      if (question.selection.kind === 'queue') void followQueues(watch);
      return () => {
        watches.delete(watch);
        wakeUp(watch);
        if (watches.size > 0) return;
        clearInterval(timer);
        timer = undefined;
      };
    },
    close() {
      clearInterval(timer);
      watches.clear();
      waker?.close();
    },
  };
}
