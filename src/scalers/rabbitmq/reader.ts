/**
 * Reads one question: finds its queues, asks the reader that fits, has zeros confirmed, and puts the figures together. What
 * cannot be known for one of the queues is unknown for all; no figure here is a default.
 *
 * Long because the views, the judging and the confirming of one reading are one train of thought.
 */
import { QueueError, toQueueScalerError, type QueueScalerError } from '../../errors.ts';
import { unknown, type Measures, type QueueReading, type Reading } from '../reading.ts';
import type { Declared } from './amqp/connection.ts';
import { chooseReader, type BulkReader } from './choice.ts';
import { combine } from './decision.ts';
import { isCounted, type CountedRow, type ListKind } from './lists.ts';
import type { Row } from './management.ts';
import { createMembers, type Members } from './members.ts';
import type { RabbitQuestion } from './question.ts';
import { createStandIn } from './standIn.ts';
import type { VhostSources } from './sources.ts';
import { SLOW_DECLARE_MS, type Kind } from './zero.ts';

/** Declares along with a list that is not live, up to so many queues a sweep: they cost less than a live list would. */
const DECLARE_ALONG = 200;

/** What a list or a single GET said of a queue. */
interface Listed {
  readonly row: Row;
  readonly kind: ListKind;
  /** A second reader that says the same. */
  readonly agreed?: ListKind;
  readonly at: number;
}

/** What is known of one queue before it is judged. An error stands where an answer could not be had. */
interface View {
  readonly queue: string;
  /** Undefined: not asked, or there is no management API. */
  readonly listed: Listed | QueueScalerError | undefined;
  /** Undefined: not asked, or there is no AMQP. */
  readonly live: Declared | QueueScalerError | undefined;
}

interface Part extends QueueReading {
  readonly at: number;
  readonly kinds: ReadonlySet<Kind>;
  readonly notes: readonly string[];
}

export interface QuestionReader {
  /** Never rejects. `wanted` is the number of queues asked for along with this question. */
  read(question: RabbitQuestion, wanted: number): Promise<Reading>;
  /** The queues to watch for work: the name itself, or those that were found last. */
  queuesOf(question: RabbitQuestion): Promise<readonly string[]>;
  /** Only that messages wait, from live answers: a lower bound. */
  wakeReading(question: RabbitQuestion, live: ReadonlyMap<string, Declared>, queues: number): Reading;
}

export function createQuestionReader(sources: VhostSources): QuestionReader {
  const { declare, lists, zeros, rates } = sources;
  const members: Members = createMembers(sources);
  const standIn = createStandIn();

  async function read(question: RabbitQuestion, wanted: number): Promise<Reading> {
    try {
      const views =
        question.selection.kind === 'queue'
          ? [await viewOne(question, question.selection.name, wanted)]
          : await viewMany(question);
      return assemble(question, views);
    } catch (thrown) {
      const error = toQueueScalerError(thrown);
      if (error.code === 'QUEUE_MISSING' && question.missingIsZero) return missingAsZero(question, error);
      if (question.selection.kind === 'queue' && error.code !== 'ZERO_UNCONFIRMED') zeros.broken(question.selection.name);
      return unknown(error);
    }
  }

  async function viewOne(question: RabbitQuestion, queue: string, wanted: number): Promise<View> {
    if (question.needs === 'ready' && declare !== undefined) {
      const live = await declare(queue);
      const settled = live instanceof Error ? live.row.radius === 'queue' : live.ready > 0 || isKnownZero(queue);
      return { queue, live, listed: settled ? undefined : await listOne(question, queue, wanted) };
    }
    const listed = await listOne(question, queue, wanted);
    if (isListed(listed) && listed.kind === 'prometheus' && listed.row.messages === 0) await lists.learnType(queue);
    if (declare !== undefined) {
      return { queue, listed, live: wantsLive(question, queue, listed, wanted) ? await declare(queue) : undefined };
    }
    return { queue, listed: await secondOpinion(queue, listed), live: undefined };
  }

  function isKnownZero(queue: string): boolean {
    return zeros.isConfirmed(queue) && lists.typeOf(queue) === 'classic';
  }

  function wantsLive(question: RabbitQuestion, queue: string, listed: View['listed'], wanted: number): boolean {
    if (listed === undefined || listed instanceof Error || !isCounted(listed.row)) return true;
    const isLive = listed.kind === 'totals' && listed.row.type === 'classic';
    if (figureOf(question, listed.row) > 0) return !isLive && wanted <= DECLARE_ALONG;
    return !isLive || !zeros.isConfirmed(queue);
  }

  /** By HTTP alone, another list has its say on a zero that is not live, and where the totals list lacks the queue. */
  async function secondOpinion(queue: string, listed: View['listed']): Promise<View['listed']> {
    if (!isListed(listed) || listed.kind === 'statistics') return listed;
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
  async function listOne(question: RabbitQuestion, queue: string, wanted: number): Promise<View['listed']> {
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
      const listed = await listedBy(reader, queue);
      // What one list lacks another answer may have: streams have no totals, and a new queue no line of metrics yet.
      if (reader === 'single' || (listed !== undefined && (listed.row.error !== undefined || isCounted(listed.row)))) {
        return listed ?? notListed(queue);
      }
      return (await listedBy('single', queue)) ?? notListed(queue);
    } catch (thrown) {
      return sources.managementIsAbsent() ? undefined : toQueueScalerError(thrown);
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
    if (!list.rows.has(queue) && list.at < askedAt) list = await lists.get(reader, askedAt);
    const row = list.rows.get(queue);
    return row === undefined ? undefined : { row, kind: list.kind, at: list.at };
  }

  function notListed(queue: string): QueueScalerError {
    return sources.isCalm()
      ? new QueueError('QUEUE_MISSING', `queue ${queue} does not exist`)
      : new QueueError('QUEUE_DOWN', `queue ${queue} is not listed, and a node is down or has just changed`);
  }

  async function viewMany(question: RabbitQuestion): Promise<readonly View[]> {
    const { kind, found } = await members.find(question);
    const views: View[] = [...found].map(([queue, row]) => ({
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

  function assemble(question: RabbitQuestion, views: readonly View[]): Reading {
    const parts: Part[] = [];
    const failures: QueueScalerError[] = [];
    for (const view of views) {
      try {
        parts.push(judge(question, view));
      } catch (thrown) {
        const error = toQueueScalerError(thrown);
        // A queue that is gone for certain is no part of a set any more.
        if (question.selection.kind !== 'queue' && error.code === 'QUEUE_MISSING') members.gone(question, view.queue);
        else failures.push(error);
      }
    }
    const [first] = failures;
    if (first !== undefined) throw ofSet(question, first, failures.length, views.length);
    if (parts.length === 0) throw new QueueError('QUEUE_MISSING', `there are no ${question.subject}`);
    return together(question, parts);
  }

  function together(question: RabbitQuestion, parts: readonly Part[]): Reading {
    const combined = combine(
      question.operation,
      parts.map(({ measures }) => measures),
    );
    const shardsWithWork = parts.filter(({ measures }) => (measures.messages ?? measures.ready ?? 0) > 0).length;
    const measures: Measures = question.selection.kind === 'shards' ? { ...combined, shardsWithWork } : combined;
    const notes = new Set(parts.flatMap((part) => part.notes));
    // A single queue's zero among others that have work changes little; a zero of all together scales to zero.
    if (parts.every((part) => countOf(question, part.measures) === 0))
      for (const note of confirm(question, parts)) notes.add(note);
    else for (const part of parts) if (countOf(question, part.measures) > 0) zeros.broken(part.queue);
    return {
      known: true,
      at: Math.min(...parts.map(({ at }) => at)),
      reader: [...new Set(parts.map(({ reader }) => reader))].join('+'),
      measures,
      queues: parts.map(({ queue, reader, measures: own }) => ({ queue, reader, measures: own })),
      ...(notes.size > 0 ? { notes: [...notes].slice(0, 10) } : {}),
    };
  }

  /** Throws unless every queue's zero counts. */
  function confirm(question: RabbitQuestion, parts: readonly Part[]): Set<string> {
    const notes = new Set<string>();
    const doubts: string[] = [];
    const available = (declare === undefined ? 0 : 1) + (sources.managementIsAbsent() ? 0 : declare === undefined ? 2 : 1);
    for (const { queue, kinds } of parts) {
      const verdict = zeros.zero(queue, { kinds, type: lists.typeOf(queue), available }, question.confirmZeroMs);
      if (verdict.confirmed) notes.add(verdict.note);
      else doubts.push(`queue ${queue}: ${verdict.why}`);
    }
    if (doubts.length === 0) return notes;
    const more = doubts.length > 3 ? `; and ${doubts.length - 3} more` : '';
    throw new QueueError('ZERO_UNCONFIRMED', doubts.slice(0, 3).join('; ') + more);
  }

  /** One queue's figures from what was answered. Throws where they cannot be known. */
  function judge(question: RabbitQuestion, { queue, listed, live }: View): Part {
    if (live instanceof Error && live.row.radius === 'queue') throw live;
    const declared = live === undefined || live instanceof Error ? undefined : live;
    if (declared?.ready === 0 && declared.serviceMs >= SLOW_DECLARE_MS && lists.typeOf(queue) !== 'classic') {
      zeros.broken(queue);
      const ms = Math.round(declared.serviceMs);
      throw new QueueError('ZERO_UNCONFIRMED', `queue ${queue}: 0 after ${ms} ms, as when its leader does not answer the broker`);
    }
    // The list may be from before AMQP broke, and must not be alone in saying that there is nothing.
    if (live instanceof Error && isListed(listed) && figureOf(question, listed.row) === 0) throw live;
    if (isListed(listed) && isCounted(listed.row)) return fromBoth(question, queue, { ...listed, row: listed.row }, declared);
    if (declared === undefined) throw listedError(queue, listed) ?? (live instanceof Error ? live : incomplete(queue));
    standIn.seen(queue, declared);
    const { ready, consumers, at } = declared;
    const base = { queue, reader: 'passive declare', at, kinds: new Set<Kind>(['declare']), notes: [] };
    if (sources.managementIsAbsent()) {
      const measures = standIn.measures(queue, declared, question.busyForMs);
      return { ...base, measures, notes: ['no management API: consumers stand in for what they hold'] };
    }
    if (question.needs === 'ready' || ready > 0) return { ...base, measures: { ready, consumers } };
    throw listedError(queue, listed) ?? incomplete(queue);
  }

  function fromBoth(
    question: RabbitQuestion,
    queue: string,
    { row, kind, agreed, at }: Listed & { readonly row: CountedRow },
    declared: Declared | undefined,
  ): Part {
    // After a split has healed the statistics count a stream on both sides of it, for ten seconds and without a tell.
    if (row.type === 'stream' && zeros.eventful() && declared?.ready !== row.messages) {
      throw new QueueError(
        'VALUE_IMPLAUSIBLE',
        `queue ${queue}: ${row.messages} by the statistics alone, just after a node changed`,
      );
    }
    const kinds = new Set<Kind>(agreed === undefined ? [kind] : [kind, agreed]);
    const consumers = declared === undefined || row.type === 'stream' ? row.consumers : declared.consumers;
    if (declared !== undefined) kinds.add('declare');
    const measures: Measures = {
      // The list is one picture, so its figures fit each other; the declare, being younger, can only add to it.
      ready: declared === undefined ? row.ready : Math.max(row.ready, declared.ready),
      unacknowledged: row.unacknowledged,
      messages: Math.max(row.messages, declared?.ready ?? 0),
      ...(consumers === undefined ? {} : { consumers }),
    };
    const reader = [LIST_NAMES[kind], ...(declared === undefined ? [] : ['passive declare'])].join('+');
    const part = { queue, reader, at: Math.max(at, declared?.at ?? 0), kinds };
    if (question.needs !== 'rates') return { ...part, measures, notes: [] };
    const counters = row.counters ?? sources.noCounters();
    if (counters === undefined) throw new QueueError('FIELD_MISSING', `queue ${queue}: the broker has counted nothing yet`);
    const { published, delivered, acknowledged, source } = rates.observe(queue, counters, at, question.rateWindowMs);
    return {
      ...part,
      measures: { ...measures, publishRate: published, deliverRate: delivered, acknowledgeRate: acknowledged },
      notes: [`rates from ${source}`],
    };
  }

  function missingAsZero(question: RabbitQuestion, error: QueueScalerError): Reading {
    const queue = question.selection.kind === 'queue' ? question.selection.name : question.subject;
    const kinds = new Set<Kind>(declare === undefined ? ['totals'] : ['declare']);
    const verdict = zeros.zero(queue, { kinds, type: undefined, available: 1 }, question.confirmZeroMs);
    if (!verdict.confirmed) return unknown(new QueueError('ZERO_UNCONFIRMED', `${error.message}; ${verdict.why}`));
    const nothing = { ready: 0, unacknowledged: 0, messages: 0, consumers: 0 };
    const measures = question.needs === 'rates' ? { ...nothing, publishRate: 0, deliverRate: 0, acknowledgeRate: 0 } : nothing;
    const notes = [`${error.message}, which counts as empty (onMissingQueue: zero)`];
    return { known: true, at: performance.now(), reader: [...kinds].join('+'), measures, queues: [], notes };
  }

  return {
    read,
    queuesOf: async (question) =>
      question.selection.kind === 'queue' ? [question.selection.name] : [...(await members.find(question)).found.keys()],
    wakeReading(question, live, queues) {
      const parts = [...live].map(([queue, { ready }]) => ({ queue, reader: 'passive declare', measures: { ready } }));
      // The others have at least none, which is all that a lower bound says.
      const others = Array.from({ length: Math.max(0, queues - parts.length) }, () => ({ ready: 0 }));
      const ready = combine(question.operation, [...parts.map(({ measures }) => measures), ...others]);
      const shardsWithWork = parts.filter(({ measures }) => measures.ready > 0).length;
      return {
        known: true,
        at: Math.max(...[...live.values()].map(({ at }) => at)),
        reader: 'passive declare',
        measures: question.selection.kind === 'shards' ? { ...ready, shardsWithWork } : ready,
        queues: parts,
        notes: ['work was noticed; the full figures follow'],
      };
    },
  };
}

const LIST_NAMES: Readonly<Record<ListKind, string>> = {
  totals: 'totals list',
  prometheus: 'Prometheus plugin',
  statistics: 'management statistics',
};

function isListed(listed: View['listed']): listed is Listed {
  return listed !== undefined && !(listed instanceof Error);
}

function listedError(queue: string, listed: View['listed']): QueueScalerError | undefined {
  if (listed instanceof Error) return listed;
  return listed?.row.error ?? (listed === undefined ? undefined : incomplete(queue));
}

function unlisted(queue: string): QueueError {
  return new QueueError('QUEUE_DOWN', `queue ${queue} was listed and is not now`);
}

function incomplete(queue: string): QueueError {
  return new QueueError('FIELD_MISSING', `queue ${queue}: the broker does not tell its messages yet`);
}

function figureOf(question: RabbitQuestion, row: Row): number {
  return (question.needs === 'ready' ? row.ready : row.messages) ?? NaN;
}

/** The figure whose zero means no work; a stand-in for held messages counts as work. */
function countOf(question: RabbitQuestion, { ready, messages, mayBeBusy = 0 }: Measures): number {
  return question.needs === 'ready' ? (ready ?? NaN) : (messages ?? (ready ?? NaN) + mayBeBusy);
}

function ofSet(question: RabbitQuestion, first: QueueScalerError, failed: number, all: number): QueueScalerError {
  if (question.selection.kind === 'queue' || first.row.radius !== 'queue') return first;
  return new QueueError('QUEUE_DOWN', `${question.subject}: ${failed} of ${all} cannot be read: ${first.message}`, {
    cause: first,
  });
}
