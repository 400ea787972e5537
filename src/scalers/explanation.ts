/**
 * What is known of a trigger at one time, for a person who asks why; plain data for the page and the command line, without metadata,
 * as that may be secret.
 */
import { toQueueScalerError, type QueueScalerError } from '../errors.ts';
import type { Measures } from './reading.ts';
import type { Decision, MetricSpec } from './contract.ts';
import type { Sample } from './trigger.ts';

/** At most so many queues are listed one by one. */
const MAX_QUEUES = 100;

export interface Trouble {
  readonly code: string;
  readonly message: string;
  readonly remedy: string;
}

export interface Explanation {
  readonly metric: MetricSpec;
  /** Absent while the state is unknown. */
  readonly reading?: {
    readonly value: number;
    readonly active: boolean;
    /** The steps from the figures to value and activity. */
    readonly because: readonly string[];
    readonly reader: string;
    /** Time since the broker answered, in ms. */
    readonly ageMs: number;
    readonly measures: Measures;
    readonly queues: readonly { readonly queue: string; readonly reader: string; readonly measures: Measures }[];
    /** All queues, also those that are not listed. */
    readonly queueCount: number;
    readonly notes: readonly string[];
  };
  /** Why the state is unknown, or what has failed since the reading. */
  readonly trouble?: Trouble;
}

export function explainSample(metric: MetricSpec, { reading, decision }: Sample, now = performance.now()): Explanation {
  const { queues, measures, reader, at, notes = [], since } = reading;
  const { value, active, because } = decision;
  return {
    metric,
    reading: {
      value,
      active,
      because,
      reader,
      ageMs: Math.max(0, now - at),
      measures,
      queues: queues.slice(0, MAX_QUEUES),
      queueCount: queues.length,
      notes,
    },
    ...(since === undefined ? {} : { trouble: troubleOf(since) }),
  };
}

/** Of what is computed here and now, without a broker. */
export function explainComputed(metric: MetricSpec, reader: string, decision: Decision): Explanation {
  const nothing = { ageMs: 0, measures: {}, queues: [], queueCount: 1, notes: [] };
  return { metric, reading: { ...decision, reader, ...nothing } };
}

export function explainError(metric: MetricSpec, thrown: unknown): Explanation {
  return { metric, trouble: troubleOf(toQueueScalerError(thrown)) };
}

export function troubleOf({ code, message, spec: row }: QueueScalerError): Trouble {
  return { code, message, remedy: row.remedy };
}
