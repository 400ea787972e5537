/**
 * What a Redis trigger asks, and the figures that the answer can hold.
 */
import type { Question } from '../contract.ts';
import type { NamePattern } from './names.ts';

interface RedisTriggerQuestion extends Question {
  /** Remarks on the trigger, for a person. */
  readonly notes: readonly string[];
}

/** The lengths of lists, sets, sorted sets or hashes. */
export interface KeysQuestion extends RedisTriggerQuestion {
  readonly kind: 'keys';
  readonly names: readonly NamePattern[];
  /** Where the workers keep what they are working on. */
  readonly processing: readonly NamePattern[];
  readonly operation: 'sum' | 'max';
  /** Whether it is an error that none of the names has ever been seen to exist. */
  readonly requireMatch: boolean;
}

export type StreamMode = 'length' | 'pending' | 'lag';

export interface StreamQuestion extends RedisTriggerQuestion {
  readonly kind: 'stream';
  readonly stream: string;
  readonly group: string | undefined;
  readonly mode: StreamMode;
  readonly requireMatch: boolean;
}

export type RedisQuestion = KeysQuestion | StreamQuestion;

type MeasureName =
  | 'length' // members of a list, set, sorted set, hash or stream
  | 'processing' // held by a worker of a reliable queue
  | 'pending' // delivered to a stream's group, not acknowledged
  | 'lag'; // not yet delivered to a stream's group

export type Measures = Readonly<Partial<Record<MeasureName, number>>>;
