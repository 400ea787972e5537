/**
 * What a broker said about one trigger's queues at one time.
 */
import type { QueueScalerError } from '../errors.ts';

/**
 * The figures of a reading, by names that its broker's scalers choose. Counts are whole messages, rates are messages a second. An
 * absent figure is unknown, not zero.
 */
export type Measures = Readonly<Record<string, number | undefined>>;

/** One queue's part in a reading. */
export interface QueueReading<M extends Measures = Measures> {
  readonly queue: string;
  /** The reader that answered for this queue. */
  readonly reader: string;
  readonly measures: M;
}

export interface Known<M extends Measures = Measures> {
  readonly known: true;
  /** When the broker answered, in ms of `performance.now()`. */
  readonly at: number;
  /** The reader, or readers joined by `+`, behind the figures. */
  readonly reader: string;
  /** The figures of all queues together. */
  readonly measures: M;
  readonly queues: readonly QueueReading<M>[];
  /** What has failed since: set while the last known reading stands in for one that could not be had. */
  readonly since?: QueueScalerError;
  /** Remarks for a person who asks why, such as how a zero was confirmed. */
  readonly notes?: readonly string[];
}

export interface Unknown {
  readonly known: false;
  /** When that was established, in ms of `performance.now()`. */
  readonly at: number;
  readonly error: QueueScalerError;
}

/** There is no third state. */
export type Reading<M extends Measures = Measures> = Known<M> | Unknown;

export function unknown(error: QueueScalerError): Unknown {
  return { known: false, at: performance.now(), error };
}

export function sameMeasures(left: Measures, right: Measures): boolean {
  if (left === right) return true;
  const names = Object.keys(left);
  return names.length === Object.keys(right).length && names.every((name) => left[name] === right[name]);
}

/**
 * The reading, with the former one's own objects for what both say alike. Most readings only say that nothing has changed: what they
 * bring is then as short-lived as they are, instead of filling V8's old space with what they replace.
 */
export function sharingWith(former: Known | undefined, reading: Reading): Reading {
  if (former === undefined || !reading.known) return reading;
  const { measures, queues } = former;
  const sameQueues =
    queues.length === reading.queues.length &&
    queues.every((queue, index) => {
      const other = reading.queues[index];
      return other?.queue === queue.queue && other.reader === queue.reader && sameMeasures(queue.measures, other.measures);
    });
  return {
    ...reading,
    measures: sameMeasures(measures, reading.measures) ? measures : reading.measures,
    queues: sameQueues ? queues : reading.queues,
  };
}
