/**
 * Asks the readers that fit a question about its queues, and returns what each answered, with the state of the cluster and what is
 * remembered of each queue, as plain facts. A slow reader, as the management API is while one node of the cluster hangs, does not hold
 * up what another one can report.
 */
import { BrokerError, toQueueScalerError, type QueueScalerError } from '../../../errors.ts';
import type { Declared } from '../amqp/declared.ts';
import type { Cluster, ClusterState } from '../management/clusterState.ts';
import type { QueueListCache } from '../management/queueListCache.ts';
import {
  isCounted,
  isListed,
  type BulkReader,
  type ListAnswer,
  type Listed,
  type ListKind,
  type QueueList,
  type QueueStats,
} from '../management/queueStats.ts';
import { createTurns } from '../../turns.ts';
import type { RabbitQuestion } from '../question.ts';
import { countedBy, figureOf, isLocked, type Answers, type Observation } from './observation.ts';
import { createPatience, LATE } from './patience.ts';
import type { QueueMemory } from './queueMemory.ts';
import type { QueueSets } from './queueSet.ts';
import { chooseReader } from './readStrategy.ts';
import { createSecondOpinion } from './secondOpinion.ts';
import { currentStreak } from './zero.ts';

/** Up to this many queues are declared beside a list that is not live: that costs less than a live list would. */
const DECLARE_ALONG = 200;
/** Likely time for each queue of a list, in ms: measured on RabbitMQ 3.10 with 5000 that slept. */
const LISTED_QUEUE_MS = 0.1;
const isFound = (listed: Listed | undefined | typeof LATE): listed is Listed => typeof listed === 'object';

/** The readers of one vhost's queues. */
export interface VhostReaders {
  /** Always resolves. Undefined where the broker is reached by HTTP alone. */
  readonly declare: ((queue: string) => Promise<Declared | QueueScalerError>) | undefined;
  readonly lists: QueueListCache;
  /** The Prometheus plugin of every node can be asked. */
  prometheusAvailable(): boolean;
  /** One queue's statistics, with the time of the answer; undefined if the broker knows none of that name. */
  single(queue: string): Promise<(QueueStats & { readonly at: number }) | undefined>;
}

/** What the reading of a broker's questions rests on. */
export interface ReadContext {
  readonly readers: VhostReaders;
  readonly cluster: Cluster;
  readonly memory: QueueMemory;
  readonly sets: QueueSets;
}

export interface Collector {
  /** One observation for each queue of the question; rejects if its queues cannot be found. `wanted`: see {@link chooseReader}. */
  readonly collect: (question: RabbitQuestion, wanted: number) => Promise<readonly Observation[]>;
  /** The names of the question's queues; rejects if they cannot be found. */
  readonly queuesOf: (question: RabbitQuestion) => Promise<readonly string[]>;
}

/** One list answers many questions at once; each takes some 50 µs from there to its reading. */
const ANSWERED_PER_TURN = 50;

export function createCollector({ readers, cluster, memory, sets }: ReadContext): Collector {
  const turn = createTurns(ANSWERED_PER_TURN);
  const { declare, lists } = readers;
  const unlessLate = createPatience(() => {
    const { clusterStable, allReport, queues = 0 } = cluster.state();
    return clusterStable && allReport ? (lists.tookMs ?? queues * LISTED_QUEUE_MS) : 0;
  });
  const secondOpinion = createSecondOpinion({ listedBy, beside });

  async function collect(question: RabbitQuestion, wanted: number): Promise<readonly Observation[]> {
    const askedAt = performance.now();
    const names = namesOf(question);
    const answers =
      names === undefined
        ? await askSet(question, askedAt)
        : await Promise.all(names.map((name) => askOne(question, name, wanted - 1 + names.length, askedAt)));
    // Nothing is awaited from here on, so that the state and the records are those of the answers.
    const at = performance.now();
    const state = cluster.state();
    return answers.map((answer) => {
      const record = memory.get(question.vhost, answer.queue);
      const type = (isListed(answer.listed) ? answer.listed.stats.type : undefined) ?? lists.typeOf(answer.queue) ?? record.type;
      const available = kindsFor(type, answer, state);
      return { ...answer, askedAt, at, type, available, memory: record, cluster: state };
    });
  }

  /** How many kinds of reader can report the messages of such a queue. */
  function kindsFor(type: string | undefined, { live }: Answers, { managementAbsent, statisticsOff }: ClusterState): number {
    const can = [
      declare !== undefined && !isLocked(live),
      !managementAbsent && type !== 'stream',
      !managementAbsent && !statisticsOff,
      !managementAbsent && readers.prometheusAvailable(),
    ];
    return can.filter(Boolean).length;
  }

  async function askOne(question: RabbitQuestion, queue: string, wanted: number, askedAt: number): Promise<Answers> {
    if (declare === undefined) {
      return { queue, listed: await list(question, queue, wanted), live: undefined };
    }
    if (question.needs === 'ready') {
      const live = await declare(queue);
      const settled =
        live instanceof Error
          ? live.spec.radius === 'queue' && !isLocked(live)
          : live.ready > 0 || isKnownZero(question, queue, askedAt);
      return agreed(question, { queue, live, listed: settled ? undefined : await inTime(queue, list(question, queue, wanted)) });
    }
    const listed = await inTime(queue, list(question, queue, wanted));
    const live = wantsLive(question, queue, listed, wanted, askedAt) ? await declare(queue) : undefined;
    return agreed(question, { queue, listed, live });
  }

  /** Where only the connection that owns the queue may declare it, another list must agree on a zero instead. */
  async function agreed(question: RabbitQuestion, answers: Answers): Promise<Answers> {
    return isLocked(answers.live) ? { ...answers, listed: await secondOpinion(question, answers.listed, true) } : answers;
  }

  async function askSet(question: RabbitQuestion, askedAt: number): Promise<readonly Answers[]> {
    const { kind, at, found } = await find(question);
    const answers = await Promise.all(
      [...found].map(async ([queue, stats]): Promise<Answers> => {
        const first = stats === undefined ? 'not listed any more' : { stats, kind, at };
        return { queue, listed: await secondOpinion(question, first, declare === undefined), live: undefined };
      }),
    );
    if (declare === undefined) return answers;
    // With work found, the list's figures will do; without, each queue is asked itself.
    const idle = answers.every(({ listed }) => isListed(listed) && figureOf(question, listed.stats) === 0);
    const few = idle || answers.length <= DECLARE_ALONG;
    return Promise.all(
      answers.map(async (each) => {
        const { queue, listed } = each;
        const asks = few
          ? wantsLive(question, queue, listed, answers.length, askedAt)
          : !isListed(listed) || !isCounted(listed.stats);
        return asks ? agreed(question, { ...each, live: await declare(queue) }) : each;
      }),
    );
  }

  /** The set's queues in a list; undefined for one that was listed lately and is not now. */
  async function find(question: RabbitQuestion): Promise<QueueList & { readonly found: ReturnType<QueueSets['find']> }> {
    const reader = await readerFor(question, undefined);
    if (reader === undefined) {
      const message = `${question.subject} are listed by the management API, which cannot be reached`;
      throw cluster.state().absence ?? new BrokerError('BROKER_UNREACHABLE', message);
    }
    const all = await lists.get(reader === 'single' ? 'totals' : reader);
    return { ...all, found: sets.find(question, all, cluster.state()) };
  }

  /** The reader for that number of queues, or for a pattern; undefined where there is no management API. */
  async function readerFor({ needs }: RabbitQuestion, wanted: number | undefined): Promise<BulkReader | undefined> {
    await cluster.refresh();
    const { managementAbsent, queues = wanted ?? 0, statisticsOff, ratesOff } = cluster.state();
    const rates = needs === 'rates';
    if (managementAbsent) return undefined;
    return chooseReader({
      wanted,
      listed: lists.size ?? queues,
      rates,
      prometheus: readers.prometheusAvailable(),
      statistics: !statisticsOff && !(rates && ratesOff),
    });
  }

  function beside(kind: ListKind): readonly BulkReader[] {
    const { statisticsOff } = cluster.state();
    return [
      ...(kind === 'totals' ? [] : (['totals'] as const)),
      ...(kind === 'statistics' || statisticsOff ? [] : (['single'] as const)),
      ...(kind === 'prometheus' || !readers.prometheusAvailable() ? [] : (['prometheus'] as const)),
    ];
  }

  async function inTime(queue: string, listing: Promise<ListAnswer>): Promise<ListAnswer> {
    const listed = await unlessLate(listing);
    return listed === LATE ? noList(queue) : listed;
  }

  function isZeroConfirmed(question: RabbitQuestion, queue: string, askedAt: number): boolean {
    const { zeros } = memory.get(question.vhost, queue);
    return currentStreak(zeros?.[countedBy(question)], askedAt)?.confirmed === true;
  }

  function isKnownZero(question: RabbitQuestion, queue: string, askedAt: number): boolean {
    const type = lists.typeOf(queue) ?? memory.get(question.vhost, queue).type;
    return type === 'classic' && isZeroConfirmed(question, queue, askedAt);
  }

  function wantsLive(question: RabbitQuestion, queue: string, listed: ListAnswer, wanted: number, askedAt: number): boolean {
    if (!isListed(listed) || !isCounted(listed.stats)) return true;
    const isLive = listed.kind === 'totals' && listed.stats.type === 'classic';
    if (figureOf(question, listed.stats) > 0) return !isLive && wanted <= DECLARE_ALONG;
    return !isLive || !isZeroConfirmed(question, queue, askedAt);
  }

  /** The queue as the reader that fits lists it; undefined where there is no management API. */
  async function list(question: RabbitQuestion, queue: string, wanted: number): Promise<ListAnswer> {
    const reader = await readerFor(question, wanted);
    if (reader === undefined) return undefined;
    try {
      const first = await listedInTime(reader, queue);
      const standIn = standInFor(reader, first === LATE);
      if (first === LATE && standIn === undefined) return noList(queue);
      // What one list lacks another answer may have: a new queue has no line of metrics yet.
      const listed = isFound(first) ? first : standIn && (await listedBy(standIn, queue));
      if (listed === undefined) return 'not listed';
      // Only by its type can a zero be believed at once, and metrics lack it.
      if (listed.kind === 'prometheus' && listed.stats.messages === 0) await lists.learnType(queue);
      return await secondOpinion(question, listed, declare === undefined);
    } catch (thrown) {
      return cluster.state().managementAbsent ? undefined : toQueueScalerError(thrown);
    }
  }

  /** Who is asked for a queue that a reader lacks, or where it is late. Metrics may show a queue that is gone. */
  function standInFor(reader: BulkReader, late: boolean): BulkReader | undefined {
    if (!cluster.state().statisticsOff) return reader === 'single' ? undefined : 'single';
    if (reader !== 'totals') return 'totals';
    return late && readers.prometheusAvailable() ? 'prometheus' : undefined;
  }

  /** By HTTP alone, a list that another queue holds up must not hold up what the API can report of this one. */
  async function listedInTime(reader: BulkReader, queue: string): Promise<Listed | undefined | typeof LATE> {
    if (declare !== undefined || reader === 'single') return listedBy(reader, queue);
    try {
      // Metrics fall back on the totals list by themselves.
      return await (reader === 'prometheus' ? listedBy(reader, queue) : unlessLate(listedBy(reader, queue)));
    } catch (thrown) {
      if (toQueueScalerError(thrown).code === 'BROKER_TIMEOUT') return LATE;
      throw thrown;
    }
  }

  async function listedBy(reader: BulkReader, queue: string): Promise<Listed | undefined> {
    if (reader === 'single') {
      const stats = await readers.single(queue);
      return stats === undefined ? undefined : { stats, kind: 'statistics', at: stats.at };
    }
    const askedAt = performance.now();
    let all = await lists.get(reader);
    // A list from before the question may be older than the queue.
    if (!all.queues.has(queue) && all.at < askedAt) all = await lists.get(reader, askedAt);
    await turn();
    const stats = all.queues.get(queue);
    return stats === undefined ? undefined : { stats, kind: all.kind, at: all.at };
  }

  return {
    collect,
    queuesOf: async (question) => namesOf(question) ?? [...(await find(question)).found.keys()],
  };
}

/** The queues, where the question names them itself. */
function namesOf({ selection }: RabbitQuestion): readonly string[] | undefined {
  return selection.kind === 'queue' ? [selection.name] : selection.kind === 'names' ? selection.names : undefined;
}

function noList(queue: string): BrokerError {
  return new BrokerError('BROKER_TIMEOUT', `queue ${queue}: the management API has not answered in time`);
}
