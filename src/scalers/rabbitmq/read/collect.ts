/**
 * Asks the readers that fit a question about its queues, and gives what each said, unjudged. A reader that is slow, as the management
 * API is while one node of the cluster hangs, must never hold up what another one can tell.
 */
import { BrokerError, QueueError, toQueueScalerError, type QueueScalerError } from '../../../errors.ts';
import type { Declared } from '../amqp/channels.ts';
import { chooseReader, type BulkReader } from './readStrategy.ts';
import { isCounted, type ListKind } from '../management/queueListCache.ts';
import type { QueueStats } from '../management/queueStats.ts';
import type { QueueSets } from './queueSet.ts';
import type { RabbitQuestion } from '../question.ts';
import type { VhostSources } from './sources.ts';

/** Declares along with a list that is not live, up to so many queues a sweep: they cost less than a live list would. */
const DECLARE_ALONG = 200;

/** Where another reader can tell, a list is waited for so long, in ms; its answer then comes in time for a later question. */
const LIST_PATIENCE_MS = 1_000;
/** While no node hangs, a list may take twice as long as is likely: one of ten thousand queues takes more than a second at any time. */
const PATIENCE_FACTOR = 2;
const MAX_PATIENCE_MS = 5_000;
/** The same while an earlier answer is overdue. */
const OVERDUE_PATIENCE_MS = 100;
const LATE = Symbol('late');

/** What a list or a single GET said of a queue. */
export interface Listed {
  readonly row: QueueStats;
  readonly kind: ListKind;
  /** A second reader that says the same. */
  readonly agreed?: ListKind;
  readonly at: number;
}

/** What is known of one queue before it is judged. An error stands where an answer could not be had. */
export interface Observation {
  readonly queue: string;
  /** Undefined: not asked, or there is no management API. */
  readonly listed: Listed | QueueScalerError | undefined;
  /** Undefined: not asked, or there is no AMQP. */
  readonly live: Declared | QueueScalerError | undefined;
}

export interface Collector {
  /** What is said of each queue of the question; rejects where its queues cannot be found. */
  view(question: RabbitQuestion, wanted: number): Promise<readonly Observation[]>;
}

export function createCollector(sources: VhostSources, members: QueueSets): Collector {
  const { declare, lists, zeros } = sources;
  /** Answers that have been waited for in vain and may still come. */
  let overdue = 0;

  async function viewOne(question: RabbitQuestion, queue: string, wanted: number): Promise<Observation> {
    if (question.needs === 'ready' && declare !== undefined) {
      const live = await declare(queue);
      const settled = live instanceof Error ? live.spec.radius === 'queue' : live.ready > 0 || isKnownZero(queue);
      return { queue, live, listed: settled ? undefined : await inTime(queue, listOne(question, queue, wanted)) };
    }
    if (declare !== undefined) {
      const listed = await inTime(queue, listOne(question, queue, wanted));
      return { queue, listed, live: wantsLive(question, queue, listed, wanted) ? await declare(queue) : undefined };
    }
    return { queue, listed: await secondOpinion(queue, await listOne(question, queue, wanted)), live: undefined };
  }

  async function inTime(queue: string, listing: Promise<Observation['listed']>): Promise<Observation['listed']> {
    const listed = await unlessLate(listing);
    return listed === LATE
      ? new BrokerError('BROKER_TIMEOUT', `queue ${queue}: the management API has not answered in time`)
      : listed;
  }

  async function unlessLate<T>(answer: Promise<T>): Promise<T | typeof LATE> {
    let timer: NodeJS.Timeout | undefined;
    const startedAt = performance.now();
    const late = new Promise<typeof LATE>((resolve) => {
      // How long an answer may take becomes known only while the first is waited for.
      const look = (): void => {
        const leftMs = startedAt + patienceMs() - performance.now();
        if (leftMs > 0) {
          timer = setTimeout(look, leftMs);
          return;
        }
        overdue++;
        const settled = (): void => {
          overdue--;
        };
        answer.then(settled, settled);
        resolve(LATE);
      };
      timer = setTimeout(look, Math.min(LIST_PATIENCE_MS, patienceMs()));
    });
    try {
      return await Promise.race([answer, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  function patienceMs(): number {
    if (overdue > 0) return OVERDUE_PATIENCE_MS;
    return Math.max(LIST_PATIENCE_MS, Math.min(MAX_PATIENCE_MS, PATIENCE_FACTOR * sources.expectedListMs()));
  }

  function isKnownZero(queue: string): boolean {
    return zeros.isConfirmed(queue) && lists.typeOf(queue) === 'classic';
  }

  function wantsLive(question: RabbitQuestion, queue: string, listed: Observation['listed'], wanted: number): boolean {
    if (listed === undefined || listed instanceof Error || !isCounted(listed.row)) return true;
    const isLive = listed.kind === 'totals' && listed.row.type === 'classic';
    if (figureOf(question, listed.row) > 0) return !isLive && wanted <= DECLARE_ALONG;
    return !isLive || !zeros.isConfirmed(queue);
  }

  /** By HTTP alone, another list has its say on a zero that is not live, and where the totals list lacks the queue. */
  async function secondOpinion(queue: string, listed: Observation['listed']): Promise<Observation['listed']> {
    if (!isListed(listed)) return listed;
    if (listed.kind === 'statistics') {
      if (listed.row.messages !== 0) return listed;
      // Its row is kept, as only statistics have the rates.
      return (await listedBy('totals', queue))?.row.messages === 0 ? { ...listed, agreed: 'totals' } : listed;
    }
    if (listed.kind === 'prometheus') {
      if (listed.row.messages !== 0) return listed;
      const totals = await listedBy('totals', queue);
      if (totals === undefined || !isCounted(totals.row)) return listed;
      return totals.row.messages === 0 ? { ...totals, agreed: 'prometheus' } : totals;
    }
    if (listed.row.type === 'classic' || (isCounted(listed.row) && listed.row.messages > 0)) return listed;
    const row = await sources.queue(queue);
    if (row === undefined) return listed;
    if (isCounted(row) && isCounted(listed.row) && row.messages === 0) return { ...listed, agreed: 'statistics' };
    return { row, kind: 'statistics', at: row.at };
  }

  /** The queue's row from the reader that fits; undefined where there is no management API. */
  async function listOne(question: RabbitQuestion, queue: string, wanted: number): Promise<Observation['listed']> {
    const { queues, prometheus } = await sources.prepare();
    if (sources.managementIsAbsent()) return undefined;
    const reader = chooseReader({
      wanted,
      listed: lists.size ?? queues ?? wanted,
      byPattern: false,
      rates: question.needs === 'rates',
      prometheus,
    });
    try {
      const listed = await listedInTime(reader, queue);
      if (listed === LATE) return (await listedBy('single', queue)) ?? notListed(queue);
      // Only by its type can a zero be believed at once, and metrics do not tell it.
      if (listed?.kind === 'prometheus' && listed.row.messages === 0) await lists.learnType(queue);
      // What one list lacks another answer may have: streams have no totals, and a new queue no line of metrics yet.
      if (reader === 'single' || (listed !== undefined && (listed.row.error !== undefined || isCounted(listed.row)))) {
        return listed ?? notListed(queue);
      }
      return (await listedBy('single', queue)) ?? notListed(queue);
    } catch (thrown) {
      return sources.managementIsAbsent() ? undefined : toQueueScalerError(thrown);
    }
  }

  /** By HTTP alone, a list that another queue holds up must not hold up what the API can tell of this one. */
  async function listedInTime(reader: BulkReader, queue: string): Promise<Listed | undefined | typeof LATE> {
    if (declare !== undefined || reader === 'single') return listedBy(reader, queue);
    try {
      // Metrics have the totals list to stand in for them.
      return await (reader === 'prometheus' ? listedBy(reader, queue) : unlessLate(listedBy(reader, queue)));
    } catch (thrown) {
      if (toQueueScalerError(thrown).code === 'BROKER_TIMEOUT') return LATE;
      throw thrown;
    }
  }

  async function listedBy(reader: BulkReader, queue: string): Promise<Listed | undefined> {
    if (reader === 'single') {
      const row = await sources.queue(queue);
      return row === undefined ? undefined : { row, kind: 'statistics', at: row.at };
    }
    const askedAt = performance.now();
    let list = await lists.get(reader);
    // A list from before the question may be older than the queue.
    if (!list.queues.has(queue) && list.at < askedAt) list = await lists.get(reader, askedAt);
    const row = list.queues.get(queue);
    return row === undefined ? undefined : { row, kind: list.kind, at: list.at };
  }

  function notListed(queue: string): QueueScalerError {
    return sources.clusterStable()
      ? new QueueError('QUEUE_MISSING', `queue ${queue} does not exist`)
      : new QueueError('QUEUE_DOWN', `queue ${queue} is not listed, and a node is down or has just changed`);
  }

  async function viewMany(question: RabbitQuestion): Promise<readonly Observation[]> {
    const { kind, found } = await members.find(question);
    const views: Observation[] = [...found].map(([queue, row]) => ({
      queue,
      listed: row === undefined ? unlisted(queue) : { row: row.row, kind, at: row.at },
      live: undefined,
    }));
    if (declare === undefined) {
      return Promise.all(views.map(async (view) => ({ ...view, listed: await secondOpinion(view.queue, view.listed) })));
    }
    // With work found, the list's figures will do; without, each queue is asked itself.
    const idle = views.every(({ listed }) => isListed(listed) && figureOf(question, listed.row) === 0);
    const limit = idle ? Infinity : DECLARE_ALONG;
    return Promise.all(
      views.map(async (view) =>
        wantsLive(question, view.queue, view.listed, idle ? 0 : views.length) &&
        (idle || views.length <= limit || !isListed(view.listed))
          ? { ...view, live: await declare(view.queue) }
          : view,
      ),
    );
  }

  return {
    view: async (question, wanted) =>
      question.selection.kind === 'queue' ? [await viewOne(question, question.selection.name, wanted)] : viewMany(question),
  };
}

export function isListed(listed: Observation['listed']): listed is Listed {
  return listed !== undefined && !(listed instanceof Error);
}

function unlisted(queue: string): QueueError {
  return new QueueError('QUEUE_DOWN', `queue ${queue} was listed and is not now`);
}

export function figureOf(question: RabbitQuestion, row: QueueStats): number {
  return (question.needs === 'ready' ? row.ready : row.messages) ?? NaN;
}
