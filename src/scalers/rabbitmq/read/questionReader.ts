/**
 * Reads one question: collects what its readers say, reconciles it queue by queue, has zeros confirmed, and combines the figures. What
 * cannot be known for one of the queues is unknown for all.
 */
import { QueueError, toQueueScalerError, type QueueScalerError } from '../../../errors.ts';
import { unknown, type Reading } from '../../reading.ts';
import type { Declared } from '../amqp/declared.ts';
import { combine } from '../decision.ts';
import type { Measures, RabbitQuestion } from '../question.ts';
import { createCollector, type ReadContext } from './collect.ts';
import { countedBy, type Observation } from './observation.ts';
import { reconcile, type QueueShare } from './reconcile.ts';
import { calmWouldConfirm, confirmZero, type ReaderKind, type Verdict, type ZeroEvidence } from './zero.ts';

export interface QuestionReader {
  /** Never rejects. `wanted` is the number of queues asked for along with this question. */
  read(question: RabbitQuestion, wanted: number): Promise<Reading>;
  /** The queues to watch for work: the name itself, or those that were found last. */
  queuesOf(question: RabbitQuestion): Promise<readonly string[]>;
}

const MAX_NOTES = 10;

export function createQuestionReader(context: ReadContext): QuestionReader {
  const { readers, cluster, memory, sets } = context;
  const { collect, queuesOf } = createCollector(context);

  async function read(question: RabbitQuestion, wanted: number): Promise<Reading> {
    try {
      return await assemble(question, await collect(question, wanted));
    } catch (thrown) {
      const error = toQueueScalerError(thrown);
      return error.code === 'QUEUE_MISSING' && question.missingIsZero ? missingAsZero(question, error) : unknown(error);
    }
  }

  async function assemble(question: RabbitQuestion, observations: readonly Observation[]): Promise<Reading> {
    const shares: QueueShare[] = [];
    const failures: QueueScalerError[] = [];
    for (const observation of observations) {
      const { queue } = observation;
      const { result, changes } = reconcile(question, observation);
      memory.update(question.vhost, queue, changes);
      if (!(result instanceof Error)) shares.push(result);
      // A queue that is gone for certain is no part of a set any more.
      else if (result.code === 'QUEUE_MISSING' && mayBeMissing(question)) sets.gone(question, queue);
      else failures.push(result);
    }
    const [first] = failures;
    if (first !== undefined) throw ofSet(question, first, failures.length, observations.length);
    if (shares.length === 0) throw new QueueError('QUEUE_MISSING', `there are no ${question.subject}`);

    const notes = new Set(shares.flatMap((share) => share.notes));
    // A single queue's zero among others that have work changes little; a zero of all together scales to zero.
    if (shares.every(({ measures }) => countOf(question, measures) === 0)) {
      const seen = await withNodesSeen(question, shares);
      for (const note of confirmAll(question, seen)) notes.add(note);
    }
    return {
      known: true,
      at: Math.min(...shares.map(({ at }) => at)),
      reader: [...new Set(shares.map(({ reader }) => reader))].join('+'),
      measures: combineShares(question, shares),
      queues: shares.map(({ queue, reader, measures }) => ({ queue, reader, measures })),
      ...(notes.size > 0 ? { notes: [...notes].slice(0, MAX_NOTES) } : {}),
    };
  }

  /** The shares, with what the nodes are like since they were read, where that can confirm a zero which only time could confirm else. */
  async function withNodesSeen(question: RabbitQuestion, shares: readonly QueueShare[]): Promise<readonly QueueShare[]> {
    const { vhost } = question;
    const waits = shares.some(({ queue, evidence }) => {
      return calmWouldConfirm(evidence) && memory.get(vhost, queue).zeros?.[countedBy(question)]?.confirmed !== true;
    });
    if (!waits) return shares;
    const at = Math.max(...shares.map(({ evidence }) => evidence.at));
    await cluster.seeNodes(at);
    const { calm, recentNodeChange, nodesAskedAt } = cluster.state();
    const since = { calm: calm && nodesAskedAt >= at, recentNodeChange };
    return shares.map((share) => ({ ...share, evidence: { ...share.evidence, ...since } }));
  }

  /** Throws unless every queue's zero counts. */
  function confirmAll(question: RabbitQuestion, shares: readonly QueueShare[]): Set<string> {
    const notes = new Set<string>();
    const pending: string[] = [];
    for (const { queue, evidence } of shares) {
      const verdict = addZero(question, queue, evidence);
      if (verdict.confirmed) notes.add(verdict.note);
      else pending.push(`queue ${queue}: ${verdict.why}`);
    }
    if (pending.length === 0) return notes;
    const more = pending.length > 3 ? `; and ${pending.length - 3} more` : '';
    throw new QueueError('ZERO_UNCONFIRMED', pending.slice(0, 3).join('; ') + more);
  }

  function addZero(question: RabbitQuestion, queue: string, evidence: ZeroEvidence): Verdict {
    const { vhost, confirmZeroMs } = question;
    const { zeros, workAt = -Infinity } = memory.get(vhost, queue);
    if (workAt > evidence.at) return { confirmed: false, why: 'messages were noticed in it since it was asked' };
    const counted = countedBy(question);
    const { verdict, streak } = confirmZero(zeros?.[counted], evidence, confirmZeroMs);
    memory.update(vhost, queue, { zeros: { ...zeros, [counted]: streak } });
    return verdict;
  }

  function missingAsZero(question: RabbitQuestion, error: QueueScalerError): Reading {
    const { selection, subject, needs } = question;
    const at = performance.now();
    const reader: ReaderKind = readers.declare === undefined ? 'totals' : 'declare';
    const { recentNodeChange } = cluster.state();
    const unseen = { type: undefined, available: 1, unheld: false, calm: false };
    const evidence = { kinds: new Set([reader]), ...unseen, recentNodeChange, askedAt: at, at };
    const verdict = addZero(question, selection.kind === 'queue' ? selection.name : subject, evidence);
    if (!verdict.confirmed) return unknown(new QueueError('ZERO_UNCONFIRMED', `${error.message}; ${verdict.why}`));
    const nothing = { ready: 0, unacknowledged: 0, messages: 0, consumers: 0 };
    const measures = needs === 'rates' ? { ...nothing, publishRate: 0, deliverRate: 0, acknowledgeRate: 0 } : nothing;
    const notes = [`${error.message}, which counts as empty (onMissingQueue: zero)`];
    return { known: true, at, reader, measures, queues: [], notes };
  }

  return { read, queuesOf };
}

/** Only that messages wait, from live answers for some of so many queues: a lower bound. */
export function wakeReading(question: RabbitQuestion, live: ReadonlyMap<string, Declared>, queues: number): Reading {
  const reader = 'passive declare';
  const seen = [...live].map(([queue, { ready }]) => ({ queue, reader, measures: { ready } }));
  // The others have at least none, which is all that a lower bound says.
  const others = Array.from({ length: Math.max(0, queues - seen.length) }, () => ({ measures: { ready: 0 } }));
  const at = Math.max(...[...live.values()].map((declared) => declared.at));
  const measures = combineShares(question, [...seen, ...others]);
  return { known: true, at, reader, measures, queues: seen, notes: ['work was noticed; the full figures follow'] };
}

function combineShares(question: RabbitQuestion, shares: readonly { readonly measures: Measures }[]): Measures {
  const all = shares.map(({ measures }) => measures);
  const combined = combine(question.operation, all);
  if (question.selection.kind !== 'shards') return combined;
  return { ...combined, shardsWithWork: all.filter(({ messages, ready }) => (messages ?? ready ?? 0) > 0).length };
}

/** The figure whose zero means no work; consumers that stand in for held messages count as work. */
function countOf(question: RabbitQuestion, { ready, messages, mayBeBusy = 0 }: Measures): number {
  return question.needs === 'ready' ? (ready ?? NaN) : (messages ?? (ready ?? NaN) + mayBeBusy);
}

function ofSet(question: RabbitQuestion, first: QueueScalerError, failed: number, all: number): QueueScalerError {
  if (question.selection.kind === 'queue' || first.spec.radius !== 'queue') return first;
  const code = first.code === 'QUEUE_MISSING' ? first.code : 'QUEUE_DOWN';
  return new QueueError(code, `${question.subject}: ${failed} of ${all} cannot be read: ${first.message}`, { cause: first });
}

/** Whether the others are told without a queue that does not exist: of a set that was found, always. */
function mayBeMissing({ selection, missingIsZero }: RabbitQuestion): boolean {
  return selection.kind === 'names' ? missingIsZero : selection.kind !== 'queue';
}
