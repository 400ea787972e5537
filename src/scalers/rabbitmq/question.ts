/**
 * What a RabbitMQ trigger asks its broker, and what it is answered. Two triggers that ask the same have the same question.
 */
import { fingerprint } from '../../auth/secret.ts';
import type { Question } from '../contract.ts';

export const OPERATIONS = ['sum', 'avg', 'max'] as const;
export type Operation = (typeof OPERATIONS)[number];

export type Selection =
  | { readonly kind: 'queue'; readonly name: string }
  | { readonly kind: 'names'; readonly names: readonly string[] }
  | { readonly kind: 'pattern'; readonly pattern: string; readonly exclude?: string | undefined }
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
  return { ...parts, key: fingerprint(parts), subject: `${nameOf(parts.selection)} in vhost ${parts.vhost}` };
}

function nameOf(selection: Selection): string {
  switch (selection.kind) {
    case 'queue':
      return `queue ${selection.name}`;
    case 'names':
      return `queues ${selection.names.join(', ')}`;
    case 'pattern':
      return `queues matching ${selection.pattern}${selection.exclude === undefined ? '' : ` but not ${selection.exclude}`}`;
    case 'shards':
      return `shards of exchange ${selection.exchange}`;
  }
}
