/**
 * What a RabbitMQ trigger asks its broker. Two triggers that ask the same have the same question, whatever they make of it.
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

export function createQuestion(parts: Omit<RabbitQuestion, 'key' | 'subject'>): RabbitQuestion {
  const { selection } = parts;
  const name =
    selection.kind === 'queue' ? selection.name : selection.kind === 'pattern' ? selection.pattern : selection.exchange;
  const what = { queue: 'queue', pattern: 'queues matching', shards: 'shards of exchange' }[selection.kind];
  return { ...parts, key: fingerprint(parts), subject: `${what} ${name} in vhost ${parts.vhost}` };
}
