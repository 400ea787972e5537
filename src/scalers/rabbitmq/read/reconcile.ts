/**
 * What the observation of a queue means: its figures, or why they cannot be known, and what to remember. No figure here is a default.
 * Pure.
 */
import { QueueError, type QueueScalerError } from '../../../errors.ts';
import type { QueueReading } from '../../reading.ts';
import type { Declared } from '../amqp/declared.ts';
import { STATISTICS_OFF, whyNoCounters } from '../management/clusterState.ts';
import { implausible, isCounted, type CountedStats, type ListKind } from '../management/queueStats.ts';
import type { Measures, RabbitQuestion } from '../question.ts';
import { figureOf, isListed, type Listed, type Observation } from './observation.ts';
import type { QueueRecord } from './queueMemory.ts';
import { newTrack, observeRates } from './rates.ts';
import type { ReaderKind, ZeroEvidence } from './zero.ts';

/** One queue's share of a reading, with what its figures rest on. */
export interface QueueShare extends QueueReading<Measures> {
  readonly at: number;
  /** For the case that the figures are zero. */
  readonly evidence: ZeroEvidence;
  readonly notes: readonly string[];
}

export interface Reconciled {
  readonly result: QueueShare | QueueScalerError;
  /** Fields of the queue's record that are to be replaced. */
  readonly changes: QueueRecord;
}

/** A passive declare that took longer was ended by the broker's own limit of 250 ms, and says 0 without having asked the leader. */
const SLOW_DECLARE_MS = 200;
const NO_TRAFFIC = { published: 0, delivered: 0, acknowledged: 0 };
const LIST_NAMES: Readonly<Record<ListKind, string>> = {
  totals: 'totals list',
  prometheus: 'Prometheus plugin',
  statistics: 'management statistics',
};

export function reconcile(question: RabbitQuestion, observation: Observation): Reconciled {
  const { queue, live, listed, type, memory, cluster } = observation;
  const changes: QueueRecord = type === undefined ? {} : { type };
  const told = isListed(listed) && isCounted(listed.stats);
  // A list tells of a queue that is exclusive to another connection, too.
  const locked = live instanceof Error && live.code === 'QUEUE_LOCKED';
  if (live instanceof Error && live.spec.radius === 'queue' && !(locked && told)) return { result: live, changes };
  const declared = live instanceof Error ? undefined : live;
  if (declared?.ready === 0 && declared.serviceMs >= SLOW_DECLARE_MS && type !== 'classic') {
    const after = `0 after ${Math.round(declared.serviceMs)} ms, as when its leader does not answer the broker`;
    const result = new QueueError('ZERO_UNCONFIRMED', `queue ${queue}: ${after}`);
    return { result, changes: { ...changes, zero: undefined } };
  }
  if (isListed(listed)) {
    // The list may be from before AMQP broke, and must not be alone in saying that there is nothing.
    if (live instanceof Error && !locked && figureOf(question, listed.stats) === 0) return { result: live, changes };
    const { stats } = listed;
    if (isCounted(stats)) return withList(question, observation, { ...listed, stats }, declared, changes);
  }
  const listError = errorOfList(observation);
  if (declared === undefined) {
    return { result: listError ?? (live instanceof Error ? live : incomplete(observation)), changes };
  }

  const { ready, consumers, at } = declared;
  // A queue never seen before may have had messages just now.
  const workAt = ready > 0 ? at : (memory.workAt ?? at);
  const withWork = { ...changes, workAt };
  const share = { queue, reader: 'passive declare', at, evidence: evidenceOf(observation, ['declare']), notes: [] };
  if (cluster.managementAbsent) {
    const notes = ['no management API: consumers stand in for what they hold'];
    return { result: { ...share, measures: busyEstimate(declared, workAt, question.busyForMs), notes }, changes: withWork };
  }
  if (question.needs === 'rates') return { result: listError ?? incomplete(observation), changes: withWork };
  // Nobody holds messages of a stream, so that its length is all there is. A list that only lacks it does not doubt it.
  if (type === 'stream' && (ready > 0 || (isListed(listed) && listed.stats.error === undefined))) {
    return { result: { ...share, measures: { ready, unacknowledged: 0, messages: ready } }, changes: withWork };
  }
  if (question.needs === 'ready' || ready > 0) return { result: { ...share, measures: { ready, consumers } }, changes: withWork };
  return { result: listError ?? incomplete(observation), changes: withWork };
}

function withList(
  question: RabbitQuestion,
  observation: Observation,
  { stats, kind, agreed, at }: Listed & { readonly stats: CountedStats },
  declared: Declared | undefined,
  changes: QueueRecord,
): Reconciled {
  const { queue, memory, cluster } = observation;
  const alone = declared?.ready !== stats.messages;
  // After a split has healed the statistics count a stream on both sides of it, for ten seconds and without any sign of it.
  if (stats.type === 'stream' && cluster.recentNodeChange && alone) {
    return { result: implausible(queue, `${stats.messages} by the statistics alone, just after a node changed`), changes };
  }
  // The only sign of it where both sides report the same members of the queue.
  if (stats.replicated && kind === 'statistics' && stats.messages > 0 && alone && cluster.partitionedNodes.length > 0) {
    const sides = `both sides of a healed split until ${cluster.partitionedNodes.join(', ')} is restarted`;
    return { result: implausible(queue, `${stats.messages} by the statistics, which add up ${sides}`), changes };
  }
  const kinds = [kind, agreed, declared && ('declare' as const)].filter((each) => each !== undefined);
  const consumers = declared === undefined || stats.type === 'stream' ? stats.consumers : declared.consumers;
  const measures: Measures = {
    // The list's figures fit each other, being of one moment; the declare is younger and can only add to them.
    ready: Math.max(stats.ready, declared?.ready ?? 0),
    unacknowledged: stats.unacknowledged,
    messages: Math.max(stats.messages, declared?.ready ?? 0),
    ...(consumers === undefined ? {} : { consumers }),
  };
  const reader = declared === undefined ? LIST_NAMES[kind] : `${LIST_NAMES[kind]}+passive declare`;
  const share = { queue, reader, at: Math.max(at, declared?.at ?? 0), evidence: evidenceOf(observation, kinds) };
  const { delayed = 0 } = stats;
  const notes = delayed > 0 ? [`queue ${queue}: ${delayed} delayed, which do not count before they are due`] : [];
  if (question.needs !== 'rates') return { result: { ...share, measures, notes }, changes };

  // A queue without counters has counted nothing, if the broker counts at all.
  const counters =
    stats.counters ?? (cluster.countsMessages && !cluster.recentNodeChange ? { ...NO_TRAFFIC, rates: NO_TRAFFIC } : undefined);
  if (counters === undefined) {
    return { result: new QueueError('FIELD_MISSING', `queue ${queue}: ${whyNoCounters(cluster)}`), changes };
  }
  const { rateWindowMs } = question;
  const { rates: tracks = [] } = memory;
  const before = tracks.find(({ windowMs }) => windowMs === rateWindowMs) ?? newTrack(rateWindowMs);
  const { track, rates } = observeRates(queue, before, counters, at);
  const withTrack = { ...changes, rates: [...tracks.filter((each) => each !== before), track] };
  if (rates instanceof Error) return { result: rates, changes: withTrack };
  const { published, delivered, acknowledged, source } = rates;
  const withRates = { ...measures, publishRate: published, deliverRate: delivered, acknowledgeRate: acknowledged };
  return { result: { ...share, measures: withRates, notes: [...notes, `rates from ${source}`] }, changes: withTrack };
}

/**
 * AMQP alone does not report how many messages consumers hold. A queue with consumers then counts as busy until a bounded time after
 * messages last waited in it; for ever would keep idle workers alive, and not at all would kill busy ones.
 */
function busyEstimate({ ready, consumers, at }: Declared, workAt: number, busyForMs: number): Measures {
  // Nobody is there to hold a message.
  if (consumers === 0) return { ready, unacknowledged: 0, messages: ready, consumers };
  return { ready, consumers, mayBeBusy: at - workAt < busyForMs ? consumers : 0 };
}

function evidenceOf({ type, available, cluster, askedAt, at }: Observation, kinds: readonly ReaderKind[]): ZeroEvidence {
  return { kinds: new Set(kinds), type, available, recentNodeChange: cluster.recentNodeChange, askedAt, at };
}

function errorOfList(observation: Observation): QueueScalerError | undefined {
  const { queue, listed, cluster } = observation;
  if (listed === undefined || listed instanceof Error) return listed;
  if (listed === 'not listed any more') return new QueueError('QUEUE_DOWN', `queue ${queue} was listed and is not now`);
  if (listed !== 'not listed') return listed.stats.error ?? incomplete(observation);
  return cluster.clusterStable
    ? new QueueError('QUEUE_MISSING', `queue ${queue} does not exist`)
    : new QueueError('QUEUE_DOWN', `queue ${queue} is not listed, and a node is down or has just changed`);
}

function incomplete({ queue, type, cluster }: Observation): QueueError {
  if (type !== 'stream' || !cluster.statisticsOff) {
    return new QueueError('FIELD_MISSING', `queue ${queue}: the broker does not tell its messages yet`);
  }
  const instead = 'an amqp host or the Prometheus plugin tells it as well';
  return new QueueError('FIELD_MISSING', `queue ${queue}: a stream’s length needs statistics; ${STATISTICS_OFF}; ${instead}`);
}
