/**
 * What a broker said about one trigger's queues at one time; it must never hold a figure that nobody read.
 */
import type { QueueScalerError } from '../errors.ts';

/** Figures a reading can hold. Counts are whole messages, rates are messages a second. An absent figure is unknown, not zero. */
export type MeasureName =
  | 'ready' // waiting for a consumer
  | 'unacknowledged' // held by a consumer
  | 'messages' // ready + unacknowledged
  | 'consumers'
  | 'mayBeBusy' // consumers that may hold messages, where nobody tells how many they hold
  | 'publishRate'
  | 'deliverRate'
  | 'acknowledgeRate'
  | 'length' // members of a Redis list, set, sorted set, hash or stream
  | 'processing' // held by a worker of a reliable queue
  | 'pending' // delivered to a stream's group, not acknowledged
  | 'lag' // not yet delivered to a stream's group
  | 'shardsWithWork';

export type Measures = Readonly<Partial<Record<MeasureName, number>>>;

/** One queue's part in a reading. */
export interface QueueReading {
  readonly queue: string;
  /** The reader that answered for this queue. */
  readonly reader: string;
  readonly measures: Measures;
}

export interface Known {
  readonly known: true;
  /** When the broker answered, in ms of `performance.now()`. */
  readonly at: number;
  /** The reader, or readers joined by `+`, behind the figures. */
  readonly reader: string;
  /** The figures of all queues together. */
  readonly measures: Measures;
  readonly queues: readonly QueueReading[];
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
export type Reading = Known | Unknown;

export function unknown(error: QueueScalerError): Unknown {
  return { known: false, at: performance.now(), error };
}
