/**
 * What a RabbitMQ trigger asks its broker, and what it is answered. Two triggers that ask the same have the same question.
 */
import { fingerprint } from '../../auth/secret.ts';
import type { Question } from '../contract.ts';

export const OPERATIONS = ['sum', 'avg', 'max'] as const;
export type Operation = (typeof OPERATIONS)[number];

export type Selection =
  | { readonly kind: 'queue'; readonly name: string }
  | { readonly kind: 'pattern'; readonly pattern: string }
  | { readonly kind: 'shards'; readonly exchange: string };

export interface RabbitQuestion extends Question {
  readonly vhost: string;
  readonly selection: Selection;
  readonly operation: Operation;
  /** `ready`: only messages that wait. `messages`: those that a consumer holds as well. `rates`: all that and rates. */
  readonly needs: 'ready' | 'messages' | 'rates';
  readonly missingIsZero: boolean;
  readonly confirmZeroMs: number;
  readonly rateWindowMs: number;
  readonly busyForMs: number;
  readonly wakeBudget: number;
}

/** The figures that a reading can hold. */
export type MeasureName =
  | 'ready' // waiting for a consumer
  | 'unacknowledged' // held by a consumer
  | 'messages' // ready + unacknowledged
  | 'consumers'
  | 'mayBeBusy' // consumers that may hold messages, where nobody says how many they hold
  | 'publishRate'
  | 'deliverRate'
  | 'acknowledgeRate'
  | 'shardsWithWork';

export type Measures = Readonly<Partial<Record<MeasureName, number>>>;

export function createQuestion(parts: Omit<RabbitQuestion, 'key' | 'subject'>): RabbitQuestion {
  const { selection } = parts;
  const name =
    selection.kind === 'queue' ? selection.name : selection.kind === 'pattern' ? selection.pattern : selection.exchange;
  const what = { queue: 'queue', pattern: 'queues matching', shards: 'shards of exchange' }[selection.kind];
  return { ...parts, key: fingerprint(parts), subject: `${what} ${name} in vhost ${parts.vhost}` };
}
