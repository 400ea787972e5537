/**
 * What a reading of RabbitMQ queues means for a trigger: the five modes' formulas. Pure; what a formula needs and the reading lacks is
 * an error.
 */
import { QueueError } from '../../errors.ts';
import type { Measures, MeasureName } from './measures.ts';
import type { Decision } from '../contract.ts';
import type { Operation } from './question.ts';

export const MODES = [
  'QueueLength',
  'MessageRate',
  'DeliverGetRate',
  'PublishedToDeliveredRatio',
  'ExpectedQueueConsumptionTime',
] as const;
export type Mode = (typeof MODES)[number];

export interface Policy {
  readonly mode: Mode;
  readonly target: number;
  readonly activation: number;
  readonly excludeUnacknowledged: boolean;
  /** A consumer reads one shard only, so there must be one for each shard with work. */
  readonly oneConsumerPerShard: boolean;
}

const COMBINED: readonly MeasureName[] = [
  'ready',
  'unacknowledged',
  'messages',
  'consumers',
  'mayBeBusy',
  'publishRate',
  'deliverRate',
  'acknowledgeRate',
];

/**
 * One set of figures for several queues. A figure that one queue lacks is absent. `max` is taken of each figure by itself, and `avg`
 * keeps its fraction.
 */
export function combine(operation: Operation, queues: readonly Measures[]): Measures {
  const combined: Partial<Record<MeasureName, number>> = {};
  for (const name of COMBINED) {
    const figures = queues.flatMap((measures) => measures[name] ?? []);
    if (figures.length < queues.length || figures.length === 0) continue;
    const sum = figures.reduce((total, figure) => total + figure, 0);
    combined[name] = operation === 'sum' ? sum : operation === 'avg' ? sum / figures.length : Math.max(...figures);
  }
  return combined;
}

/** Throws a {@link QueueError} if the reading lacks what the formula needs. */
export function decide(policy: Policy, measures: Measures, subject: string): Decision {
  const { value, active, because } = evaluateMode(policy, measures, subject);
  const shards = measures.shardsWithWork;
  if (!policy.oneConsumerPerShard || shards === undefined || value >= shards * policy.target) return { value, active, because };
  return {
    value: shards * policy.target,
    active,
    because: [...because, `${shards} shards have work and a consumer reads one shard: value = ${shards} × target`],
  };
}

function evaluateMode(policy: Policy, measures: Measures, subject: string): Decision {
  const { mode, activation, excludeUnacknowledged } = policy;
  const countName = excludeUnacknowledged ? 'ready' : 'messages';
  switch (mode) {
    case 'QueueLength': {
      const count = countOf(policy, measures, subject);
      const over = count.figure > activation;
      return activity(policy, measures, subject, count.figure, over, [
        count.why,
        `${count.figure} is ${over ? '' : 'not '}above the activation value ${activation}`,
      ]);
    }
    case 'MessageRate': {
      const rate = need(measures, 'publishRate', subject);
      const count = countOf(policy, measures, subject);
      const over = rate > activation || count.figure > activation;
      return activity(policy, measures, subject, rate, over, [
        `publish rate ${round(rate)}/s, ${count.why}`,
        `${over ? 'one of them is' : 'neither is'} above the activation value ${activation}`,
      ]);
    }
    case 'DeliverGetRate': {
      const rate = need(measures, 'deliverRate', subject);
      const over = rate > activation;
      return activity(policy, measures, subject, rate, over, [
        `deliver and get rate ${round(rate)}/s is ${over ? '' : 'not '}above the activation value ${activation}`,
      ]);
    }
    case 'PublishedToDeliveredRatio': {
      const published = need(measures, 'publishRate', subject);
      const delivered = divisor(need(measures, 'deliverRate', subject));
      if (published > 0 && delivered === 0) {
        return withoutRate(policy, measures, `${round(published)}/s published and nothing delivered`);
      }
      const ratio = delivered === 0 ? 0 : published / delivered;
      const over = ratio > activation;
      return activity(policy, measures, subject, ratio, over, [
        `${round(published)}/s published and ${round(delivered)}/s delivered: ratio ${round(ratio)}`,
        `it is ${over ? '' : 'not '}above the activation value ${activation}`,
      ]);
    }
    case 'ExpectedQueueConsumptionTime': {
      const count = need(measures, countName, subject);
      if (count === 0) return activity(policy, measures, subject, 0, false, ['the queue is empty: nothing to consume']);
      const published = need(measures, 'publishRate', subject);
      const delivered = divisor(need(measures, 'deliverRate', subject));
      if (delivered === 0) return withoutRate(policy, measures, `${count} messages and nothing delivered`);
      const seconds = Math.max(0, (published - delivered) / delivered + count / delivered);
      const over = seconds > activation;
      return activity(policy, measures, subject, seconds, over, [
        `${count} messages, ${round(published)}/s published, ${round(delivered)}/s delivered: ${round(seconds)} s`,
        `it is ${over ? '' : 'not '}above the activation value ${activation}`,
      ]);
    }
  }
}

/**
 * Work, and no rate to divide by: always active. Without consumers the value is 0, which leaves the count to the activation. With
 * consumers, which hold long jobs or hang, it is the target itself, at which the HPA (metric type Value) keeps the current replicas.
 */
function withoutRate({ target }: Policy, measures: Measures, why: string): Decision {
  const consumers = measures.consumers ?? 0;
  const held = consumers > 0 || (measures.unacknowledged ?? 0) > 0;
  const meaning = held ? 'consumers hold on: value = target, which keeps the replicas' : 'nobody consumes: value 0';
  return { value: held ? target : 0, active: true, because: [why, meaning] };
}

/** The messages that count. If only the ready ones are known they are a lower bound, which is enough to be active. */
function countOf(policy: Policy, measures: Measures, subject: string): { readonly figure: number; readonly why: string } {
  const { messages, ready, unacknowledged, mayBeBusy } = measures;
  if (policy.excludeUnacknowledged) {
    const figure = need(measures, 'ready', subject);
    return { figure, why: `${figure} ready messages` };
  }
  if (messages !== undefined) {
    const parts =
      ready === undefined || unacknowledged === undefined ? '' : ` (${ready} ready, ${unacknowledged} unacknowledged)`;
    return { figure: messages, why: `${messages} messages${parts}` };
  }
  if (ready !== undefined && (mayBeBusy !== undefined || ready > policy.activation)) {
    return { figure: ready, why: `at least ${ready} messages: ${ready} ready, unacknowledged not known` };
  }
  return { figure: need(measures, 'messages', subject), why: '' };
}

/** Busy is active: a worker that holds a message must not be scaled away. */
function activity(
  policy: Policy,
  measures: Measures,
  subject: string,
  value: number,
  over: boolean,
  because: readonly string[],
): Decision {
  if (over || policy.excludeUnacknowledged) return { value, active: over, because };
  const { mayBeBusy } = measures;
  if (mayBeBusy !== undefined) {
    const why = mayBeBusy > 0 ? `${mayBeBusy} consumers may hold messages` : 'no consumer is taken to hold a message';
    return { value, active: mayBeBusy > 0, because: [...because, why] };
  }
  const held = need(measures, 'unacknowledged', subject);
  const why = held > 0 ? `but consumers hold ${held} messages` : 'and no consumer holds a message';
  return { value, active: held > 0, because: [...because, why] };
}

function need(measures: Measures, name: MeasureName, subject: string): number {
  const figure = measures[name];
  if (figure !== undefined) return figure;
  const where = name.endsWith('Rate')
    ? 'the management API (rates_mode must not be none)'
    : 'the management API or the Prometheus plugin';
  throw new QueueError('FIELD_MISSING', `${subject}: the broker has not told ${name}; it comes from ${where}`);
}

/** A rate to divide by: less than one message a week counts as none. */
function divisor(rate: number): number {
  return rate < 1e-6 ? 0 : rate;
}

function round(figure: number): number {
  return Math.round(figure * 1000) / 1000;
}
