/**
 * What the observation of a queue means: its figures, or why they cannot be known, and what to remember. No figure here is a default.
 * Pure.
 */
import { QueueError, type QueueScalerError } from '../../../errors.ts';
import type { QueueReading } from '../../reading.ts';
import type { Declared } from '../amqp/declared.ts';
import { STATISTICS_OFF, whyNoCounters } from '../management/clusterState.ts';
import {
  implausible,
  isCounted,
  isListed,
  type Counters,
  type CountedStats,
  type Listed,
  type ListKind,
} from '../management/queueStats.ts';
import type { Measures, RabbitQuestion } from '../question.ts';
import { figureOf, isLocked, type Observation } from './observation.ts';
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
export const SLOW_DECLARE_MS = 200;
const DOUBTS: ReadonlySet<string> = new Set(['QUEUE_DOWN', 'VALUE_IMPLAUSIBLE', 'ZERO_UNCONFIRMED']);
const LIST_NAMES: Readonly<Record<ListKind, string>> = {
  totals: 'totals list',
  prometheus: 'Prometheus plugin',
  statistics: 'management statistics',
};

export function reconcile(question: RabbitQuestion, observation: Observation): Reconciled {
  const { queue, live, listed, type, memory, cluster } = observation;
  const changes: QueueRecord = type === undefined ? {} : { type };
  const listTells = isListed(listed) && isCounted(listed.stats);
  // A list tells of a queue that is exclusive to another connection, too.
  const locked = isLocked(live);
  if (live instanceof Error && live.spec.radius === 'queue' && !(locked && listTells)) return inDoubt(live, changes);
  const declared = live instanceof Error ? undefined : live;
  if (declared?.ready === 0 && declared.serviceMs >= SLOW_DECLARE_MS && type !== 'classic') {
    const after = `0 after ${Math.round(declared.serviceMs)} ms, as when its leader does not answer the broker`;
    return inDoubt(new QueueError('ZERO_UNCONFIRMED', `queue ${queue}: ${after}`), changes);
  }
  if (isListed(listed)) {
    // The list may be from before AMQP broke, and must not be alone in saying that there is nothing.
    if (live instanceof Error && !locked && figureOf(question, listed.stats) === 0) return inDoubt(live, changes);
    const { stats } = listed;
    if (isCounted(stats)) return withList(question, observation, { ...listed, stats }, declared, changes);
  }
  const listError = errorOfList(observation);
  if (declared === undefined) {
    return inDoubt(listError ?? (live instanceof Error ? live : incomplete(observation)), changes);
  }

  const { ready, consumers, at } = declared;
  // A queue never seen before may have had messages just now.
  const workAt = ready > 0 ? at : (memory.workAt ?? at);
  const withWork = { ...changes, workAt };
  const kinds = ['declare'] as const;
  const told = (measures: Measures, notes: readonly string[]): Reconciled => {
    const share = { queue, reader: 'passive declare', at, evidence: evidenceOf(question, observation, kinds, measures) };
    return { result: { ...share, measures, notes }, changes: { ...withWork, ...endedZeros(memory, measures) } };
  };
  if (cluster.managementAbsent) {
    if (question.needs === 'rates' && cluster.absence !== undefined) return { result: cluster.absence, changes: withWork };
    const why =
      cluster.absence?.code === 'BROKER_FORBIDDEN' ? `no management API (${cluster.absence.message})` : 'no management API';
    const notes = [`${why}: consumers stand in for what they hold`];
    return told(busyEstimate(declared, workAt, question.busyForMs), notes);
  }
  if (question.needs === 'rates') return inDoubt(listError ?? incomplete(observation), withWork);
  // A stream keeps its messages, whoever reads them, and does not tell its consumers to a declare. A list that only lacks its length
  // does not doubt it.
  if (type === 'stream' && (ready > 0 || (isListed(listed) && listed.stats.error === undefined))) {
    return told({ ready, unacknowledged: 0, messages: ready }, []);
  }
  if (question.needs === 'ready' || ready > 0) return told({ ready, consumers }, []);
  return inDoubt(listError ?? incomplete(observation), withWork);
}

function withList(
  question: RabbitQuestion,
  observation: Observation,
  listed: Listed & { readonly stats: CountedStats },
  declared: Declared | undefined,
  changes: QueueRecord,
): Reconciled {
  const { queue, memory } = observation;
  const { stats, kind, agreed, at } = listed;
  const ruledOut = whyRuledOut(observation, listed, declared);
  if (ruledOut !== undefined) return inDoubt(implausible(queue, ruledOut), changes);
  const isStream = observation.type === 'stream';
  const kinds = [kind, agreed, declared && ('declare' as const)].filter((each) => each !== undefined);
  const consumers = declared === undefined || isStream ? stats.consumers : declared.consumers;
  const measures: Measures = {
    ...countsOf(stats, declared, isStream),
    ...(consumers === undefined ? {} : { consumers }),
  };
  const reader = declared === undefined ? LIST_NAMES[kind] : `${LIST_NAMES[kind]}+passive declare`;
  const evidence = evidenceOf(question, observation, kinds, measures);
  const share = { queue, reader, at: Math.max(at, declared?.at ?? 0), evidence };
  const counted = { ...changes, ...endedZeros(memory, measures) };
  const { delayed = 0 } = stats;
  const notes = delayed > 0 ? [`queue ${queue}: ${delayed} delayed, which do not count before they are due`] : [];
  if (question.needs !== 'rates') return { result: { ...share, measures, notes }, changes: counted };

  const { rateWindowMs } = question;
  const { rates: tracks = [] } = memory;
  const before = tracks.find(({ windowMs }) => windowMs === rateWindowMs) ?? newTrack(rateWindowMs);
  const { track, rates } = observeRates(queue, before, trafficOf(observation, stats), at);
  const withTrack = { ...counted, rates: [...tracks.filter((each) => each !== before), track] };
  if (rates instanceof Error) return { result: rates, changes: withTrack };
  const { published, delivered, acknowledged, source } = rates;
  const withRates = { ...measures, publishRate: published, deliverRate: delivered, acknowledgeRate: acknowledged };
  return { result: { ...share, measures: withRates, notes: [...notes, `rates from ${source}`] }, changes: withTrack };
}

/** An error that speaks against the queue's zero, whoever asks for it; others only say that one reader does not tell of it. */
function inDoubt(error: QueueScalerError, changes: QueueRecord): Reconciled {
  return { result: error, changes: DOUBTS.has(error.code) ? { ...changes, zeros: undefined } : changes };
}

/** Why the list's figures are not believed beside what the declare says, if they are not. */
function whyRuledOut(
  { type, cluster }: Observation,
  { stats, kind, agreed }: Listed & { readonly stats: CountedStats },
  declared: Declared | undefined,
): string | undefined {
  const alone = declared?.ready !== stats.messages && agreed === undefined;
  const { recentNodeChange, rejoinedNodes } = cluster;
  if (!alone) return undefined;
  if (type === 'stream' && recentNodeChange)
    return `${stats.messages} by the ${LIST_NAMES[kind]} alone, just after a node changed`;
  if (kind !== 'statistics' || !stats.replicated || stats.messages === 0 || rejoinedNodes.length === 0) return undefined;
  // That is told instead.
  if (type === 'stream' && declared !== undefined && declared.ready > 0) return undefined;
  const sides = `both sides of a healed split until ${rejoinedNodes.join(', ')} is restarted, or for some minutes`;
  return `${stats.messages} by the statistics, which may add up ${sides}`;
}

function countsOf(stats: CountedStats, declared: Declared | undefined, isStream: boolean): Measures {
  const { ready, unacknowledged, messages } = stats;
  if (declared === undefined) return { ready, unacknowledged, messages };
  // Both are some seconds old; but statistics may add up the two sides of a split, and metrics those of a former leader.
  if (isStream && declared.ready > 0) return { ready: declared.ready, unacknowledged, messages: declared.ready + unacknowledged };
  // The list's figures fit each other, being of one moment; the declare is younger and can only add to them.
  return { ready: Math.max(ready, declared.ready), unacknowledged, messages: Math.max(messages, declared.ready) };
}

/** The queue's counters; `none` where it has counted nothing yet, and an error where they are missing for another reason. */
function trafficOf({ queue, cluster }: Observation, { counters }: CountedStats): Counters | 'none' | QueueError {
  const { countsMessages, clusterStable, allReport, rejoinedNodes } = cluster;
  if (rejoinedNodes.length > 0) {
    // Each node counts what passes through it: what one that hung has counted is missing, and then comes back all at once.
    const why = `what ${rejoinedNodes.join(', ')} counted before it hung may come back all at once`;
    return new QueueError('FIELD_MISSING', `queue ${queue}: no rates are known, as ${why}`);
  }
  if (counters !== undefined) return counters;
  if (countsMessages && clusterStable && allReport) return 'none';
  const why = whyNoCounters(cluster) ?? 'its counters are missing, or nothing was counted yet';
  return new QueueError('FIELD_MISSING', `queue ${queue}: ${why}`);
}

/** The streaks of zeros that such figures leave. */
function endedZeros({ zeros }: QueueRecord, { ready = 0, messages = 0, mayBeBusy = 0 }: Measures): QueueRecord {
  if (zeros === undefined) return {};
  if (ready > 0) return { zeros: undefined };
  return messages + mayBeBusy > 0 && zeros.messages !== undefined ? { zeros: { ...zeros, messages: undefined } } : {};
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

function evidenceOf(
  { needs }: RabbitQuestion,
  { type, available, cluster, askedAt, at }: Observation,
  kinds: readonly ReaderKind[],
  { consumers }: Measures,
): ZeroEvidence {
  const { recentNodeChange, calm, nodesAskedAt } = cluster;
  const unheld = needs === 'ready' || consumers === 0;
  return { kinds: new Set(kinds), type, available, recentNodeChange, unheld, calm: calm && nodesAskedAt >= at, askedAt, at };
}

function errorOfList(observation: Observation): QueueScalerError | undefined {
  const { queue, listed, live, cluster } = observation;
  if (listed === undefined || listed instanceof Error) return listed;
  if (listed === 'not listed any more') return new QueueError('QUEUE_DOWN', `queue ${queue} was listed and is not now`);
  if (listed !== 'not listed') return listed.stats.error ?? incomplete(observation);
  // Just after its start RabbitMQ 4.3 answers an empty list for a second.
  if (live !== undefined && !(live instanceof Error))
    return new QueueError('QUEUE_DOWN', `queue ${queue} answers, but is not listed`);
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
