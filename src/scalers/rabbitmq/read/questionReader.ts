/**
 * Reads one question: has its queues asked and judged, has zeros confirmed, and puts the figures together. What cannot be known for
 * one of the queues is unknown for all.
 */
import { QueueError, toQueueScalerError, type QueueScalerError } from '../../../errors.ts';
import { unknown, type Measures, type Reading } from '../../reading.ts';
import type { Declared } from '../amqp/channels.ts';
import { combine } from '../decision.ts';
import { createJudge, type QueueShare } from './reconcile.ts';
import { createQueueSets, type QueueSets } from './queueSet.ts';
import type { RabbitQuestion } from '../question.ts';
import type { VhostSources } from './sources.ts';
import { createCollector, type Observation } from './collect.ts';
import type { Kind } from './zero.ts';

export interface QuestionReader {
  /** Never rejects. `wanted` is the number of queues asked for along with this question. */
  read(question: RabbitQuestion, wanted: number): Promise<Reading>;
  /** The queues to watch for work: the name itself, or those that were found last. */
  queuesOf(question: RabbitQuestion): Promise<readonly string[]>;
  /** Only that messages wait, from live answers: a lower bound. */
  wakeReading(question: RabbitQuestion, live: ReadonlyMap<string, Declared>, queues: number): Reading;
}

export function createQuestionReader(sources: VhostSources): QuestionReader {
  const { declare, lists, zeros } = sources;
  const members: QueueSets = createQueueSets(sources);
  const viewer = createCollector(sources, members);
  const judge = createJudge(sources);

  async function read(question: RabbitQuestion, wanted: number): Promise<Reading> {
    try {
      return assemble(question, await viewer.view(question, wanted));
    } catch (thrown) {
      const error = toQueueScalerError(thrown);
      if (error.code === 'QUEUE_MISSING' && question.missingIsZero) return missingAsZero(question, error);
      if (question.selection.kind === 'queue' && error.code !== 'ZERO_UNCONFIRMED') zeros.resetZero(question.selection.name);
      return unknown(error);
    }
  }

  function assemble(question: RabbitQuestion, views: readonly Observation[]): Reading {
    const parts: QueueShare[] = [];
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

  function together(question: RabbitQuestion, parts: readonly QueueShare[]): Reading {
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
    else for (const part of parts) if (countOf(question, part.measures) > 0) zeros.resetZero(part.queue);
    return {
      known: true,
      at: Math.min(...parts.map(({ at }) => at)),
      reader: [...new Set(parts.map(({ reader }) => reader))].join('+'),
      measures,
      queues: parts.map(({ queue, reader, measures: own }) => ({ queue, reader, measures: own })),
      ...(notes.size > 0 ? { notes: [...notes].slice(0, 10) } : {}),
    };
  }

  /** How many kinds of reader could tell the messages of a queue of this type. */
  function availableFor(type: string | undefined): number {
    if (sources.managementIsAbsent()) return 1;
    // By HTTP alone there are two, but the totals list leaves streams out.
    return declare === undefined && type === 'stream' ? 1 : 2;
  }

  /** Throws unless every queue's zero counts. */
  function confirm(question: RabbitQuestion, parts: readonly QueueShare[]): Set<string> {
    const notes = new Set<string>();
    const doubts: string[] = [];
    for (const { queue, kinds } of parts) {
      const type = lists.typeOf(queue);
      const verdict = zeros.zero(queue, { kinds, type, available: availableFor(type) }, question.confirmZeroMs);
      if (verdict.confirmed) notes.add(verdict.note);
      else doubts.push(`queue ${queue}: ${verdict.why}`);
    }
    if (doubts.length === 0) return notes;
    const more = doubts.length > 3 ? `; and ${doubts.length - 3} more` : '';
    throw new QueueError('ZERO_UNCONFIRMED', doubts.slice(0, 3).join('; ') + more);
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

/** The figure whose zero means no work; a stand-in for held messages counts as work. */
function countOf(question: RabbitQuestion, { ready, messages, mayBeBusy = 0 }: Measures): number {
  return question.needs === 'ready' ? (ready ?? NaN) : (messages ?? (ready ?? NaN) + mayBeBusy);
}

function ofSet(question: RabbitQuestion, first: QueueScalerError, failed: number, all: number): QueueScalerError {
  if (question.selection.kind === 'queue' || first.spec.radius !== 'queue') return first;
  return new QueueError('QUEUE_DOWN', `${question.subject}: ${failed} of ${all} cannot be read: ${first.message}`, {
    cause: first,
  });
}
