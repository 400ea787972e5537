/**
 * What a reading of RabbitMQ queues means for a trigger: the five modes' formulas. Pure; what a formula needs and the reading lacks is
 * an error.
 */
import { QueueError } from '../../errors.ts';
import type { Decision } from '../contract.ts';
import type { InProgress } from '../inProgress.ts';
import type { Measures, MeasureName, Operation } from './question.ts';

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
  readonly inProgress: InProgress;
  /** A consumer reads one shard only, so there must be one for each shard with work. */
  readonly oneConsumerPerShard: boolean;
}

/**
 * One set of figures for several queues. A figure that one queue lacks is absent. `max` is taken of each figure by itself, and `avg`
 * keeps its fraction.
 */
export function combine(operation: Operation, queues: readonly Measures[]): Measures {
  const combined: Partial<Record<MeasureName, number>> = {};
  for (const name of Object.keys(queues[0] ?? {}) as MeasureName[]) {
    const figures = queues.flatMap((measures) => measures[name] ?? []);
    if (figures.length < queues.length) continue;
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
  const { mode, target, activation, inProgress } = policy;
  const { messages, ready, unacknowledged, mayBeBusy, consumers = 0 } = measures;
  switch (mode) {
    case 'QueueLength': {
      const { count, why } = counted();
      return busyIsActive(count, count > activation, [why, comparison(`${count}`, count)]);
    }
    case 'MessageRate': {
      const rate = need('publishRate');
      const { count, why } = counted();
      const over = rate > activation || count > activation;
      const which = `${over ? 'one of them is' : 'neither is'} above the activation value ${activation}`;
      return busyIsActive(rate, over, [`publish rate ${round(rate)}/s, ${why}`, which]);
    }
    case 'DeliverGetRate': {
      const rate = need('deliverRate');
      return busyIsActive(rate, rate > activation, [comparison(`deliver and get rate ${round(rate)}/s`, rate)]);
    }
    case 'PublishedToDeliveredRatio': {
      const published = need('publishRate');
      const delivered = divisor(need('deliverRate'));
      if (published > 0 && delivered === 0) return withoutRate(`${round(published)}/s published and nothing delivered`);
      const ratio = delivered === 0 ? 0 : published / delivered;
      const why = `${round(published)}/s published and ${round(delivered)}/s delivered: ratio ${round(ratio)}`;
      return busyIsActive(ratio, ratio > activation, [why, comparison('it', ratio)]);
    }
    case 'ExpectedQueueConsumptionTime': {
      const count = need(inProgress === 'count' ? 'messages' : 'ready');
      if (count === 0) return busyIsActive(0, false, ['the queue is empty: nothing to consume']);
      const published = need('publishRate');
      const delivered = divisor(need('deliverRate'));
      if (delivered === 0) return withoutRate(`${count} messages and nothing delivered`);
      const seconds = Math.max(0, (published - delivered) / delivered + count / delivered);
      const why = `${count} messages, ${round(published)}/s published, ${round(delivered)}/s delivered: ${round(seconds)} s`;
      return busyIsActive(seconds, seconds > activation, [why, comparison('it', seconds)]);
    }
  }

  function comparison(what: string, figure: number): string {
    return `${what} is ${figure > activation ? '' : 'not '}above the activation value ${activation}`;
  }

  /**
   * Work, and no rate to divide by: always active. Without consumers the value is 0, which leaves the count to the activation. With
   * consumers, which hold long jobs or hang, it is the target itself, at which the HPA (metric type Value) keeps the current replicas.
   */
  function withoutRate(why: string): Decision {
    const held = consumers > 0 || (unacknowledged ?? 0) > 0;
    const meaning = held ? 'consumers hold on: value = target, which keeps the replicas' : 'nobody consumes: value 0';
    return { value: held ? target : 0, active: true, because: [why, meaning] };
  }

  /** The messages that count. If only the ready ones are known they are a lower bound, which is enough to be active. */
  function counted(): { readonly count: number; readonly why: string } {
    if (inProgress !== 'count') {
      const count = need('ready');
      return { count, why: `${count} ready messages` };
    }
    if (messages === undefined && ready !== undefined && (mayBeBusy !== undefined || ready > activation)) {
      return { count: ready, why: `at least ${ready} messages: ${ready} ready, unacknowledged not known` };
    }
    const count = need('messages');
    const inParts = ready !== undefined && unacknowledged !== undefined;
    return { count, why: `${count} messages${inParts ? ` (${ready} ready, ${unacknowledged} unacknowledged)` : ''}` };
  }

  /** A worker that holds a message must not be scaled away. */
  function busyIsActive(value: number, over: boolean, because: readonly string[]): Decision {
    if (over || inProgress === 'ignore') return { value, active: over, because };
    if (mayBeBusy !== undefined) {
      const why = mayBeBusy > 0 ? `${mayBeBusy} consumers may hold messages` : 'no consumer is taken to hold a message';
      return { value, active: mayBeBusy > 0, because: [...because, why] };
    }
    const held = need('unacknowledged');
    const why = held > 0 ? `but consumers hold ${held} messages` : 'and no consumer holds a message';
    return { value, active: held > 0, because: [...because, why] };
  }

  function need(name: MeasureName): number {
    const figure = measures[name];
    if (figure !== undefined) return figure;
    const where = name.endsWith('Rate')
      ? 'the management API (rates_mode must not be none)'
      : 'the management API or the Prometheus plugin';
    throw new QueueError('FIELD_MISSING', `${subject}: the broker has not told ${name}; it comes from ${where}`);
  }
}

/** A rate to divide by: less than one message a week counts as none. */
function divisor(rate: number): number {
  return rate < 1e-6 ? 0 : rate;
}

function round(figure: number): number {
  return Math.round(figure * 1000) / 1000;
}
