/**
 * One queue's figures from what its readers said. What cannot be known is an error; no figure here is a default.
 */
import { QueueError, type QueueScalerError } from '../../../errors.ts';
import type { Measures, QueueReading } from '../../reading.ts';
import type { Declared } from '../amqp/channels.ts';
import { isCounted, type CountedStats, type ListKind } from '../management/queueListCache.ts';
import type { RabbitQuestion } from '../question.ts';
import { implausible } from '../management/queueStats.ts';
import type { VhostSources } from './sources.ts';
import { createStandIn } from './busyEstimate.ts';
import { figureOf, isListed, type Listed, type Observation } from './collect.ts';
import { SLOW_DECLARE_MS, type Kind } from './zero.ts';

/** A queue of a reading, with what its figures rest on. */
export interface QueueShare extends QueueReading {
  readonly at: number;
  readonly kinds: ReadonlySet<Kind>;
  readonly notes: readonly string[];
}

/** Judges views one by one; the function throws where a queue's figures cannot be known. */
export function createJudge(sources: VhostSources): (question: RabbitQuestion, view: Observation) => QueueShare {
  const { lists, zeros, rates } = sources;
  const standIn = createStandIn();

  /** One queue's figures from what was answered. Throws where they cannot be known. */
  function judge(question: RabbitQuestion, { queue, listed, live }: Observation): QueueShare {
    if (live instanceof Error && live.spec.radius === 'queue') throw live;
    const declared = live === undefined || live instanceof Error ? undefined : live;
    if (declared?.ready === 0 && declared.serviceMs >= SLOW_DECLARE_MS && lists.typeOf(queue) !== 'classic') {
      zeros.resetZero(queue);
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
    { row, kind, agreed, at }: Listed & { readonly row: CountedStats },
    declared: Declared | undefined,
  ): QueueShare {
    // After a split has healed the statistics count a stream on both sides of it, for ten seconds and without a tell.
    const alone = declared?.ready !== row.messages;
    if (row.type === 'stream' && zeros.recentNodeChange() && alone) {
      throw implausible(queue, `${row.messages} by the statistics alone, just after a node changed`);
    }
    // The only tell where both sides say the same of the queue's members.
    const parted = row.replicated && kind === 'statistics' && row.messages > 0 && alone ? sources.partitionedNodes() : [];
    if (parted.length > 0) {
      const sides = `both sides of a healed split until ${parted.join(', ')} is restarted`;
      throw implausible(queue, `${row.messages} by the statistics, which add up ${sides}`);
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

  return judge;
}

const LIST_NAMES: Readonly<Record<ListKind, string>> = {
  totals: 'totals list',
  prometheus: 'Prometheus plugin',
  statistics: 'management statistics',
};

function listedError(queue: string, listed: Observation['listed']): QueueScalerError | undefined {
  if (listed instanceof Error) return listed;
  return listed?.row.error ?? (listed === undefined ? undefined : incomplete(queue));
}

function incomplete(queue: string): QueueError {
  return new QueueError('FIELD_MISSING', `queue ${queue}: the broker does not tell its messages yet`);
}
