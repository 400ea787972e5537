/**
 * What a Redis trigger asks, and the single readings ("parts") that make up the answer. Triggers that ask for the same key share its part.
 */
import { fingerprint } from '../../auth/secret.ts';
import type { Question } from '../contract.ts';
import type { NamePattern } from './names.ts';

export type Operation = 'sum' | 'max';

/** The lengths of lists, sets, sorted sets or hashes. */
export interface KeysQuestion extends Question {
  readonly kind: 'keys';
  readonly names: readonly NamePattern[];
  /** Where the workers keep what they are working on. */
  readonly processing: readonly NamePattern[];
  readonly operation: Operation;
  /** Whether it is an error that none of the names has ever been seen to exist. */
  readonly requireMatch: boolean;
}

export type StreamMode = 'length' | 'pending' | 'lag';

export interface StreamQuestion extends Question {
  readonly kind: 'stream';
  readonly stream: string;
  readonly group: string | undefined;
  readonly mode: StreamMode;
  readonly requireMatch: boolean;
}

export type RedisQuestion = KeysQuestion | StreamQuestion;

export function keysQuestion(
  fields: Pick<KeysQuestion, 'names' | 'processing' | 'operation' | 'requireMatch' | 'staleAfterMs'>,
): KeysQuestion {
  const { names, processing, operation, requireMatch, staleAfterMs } = fields;
  // Field by field: of objects that are spread and added to, V8 gives each a layout of its own, as large as the object.
  return {
    kind: 'keys',
    key: fingerprint('keys', fields),
    subject: names.map(({ text }) => text).join(','),
    names,
    processing,
    operation,
    requireMatch,
    staleAfterMs,
  };
}

export function streamQuestion(
  fields: Pick<StreamQuestion, 'stream' | 'group' | 'mode' | 'requireMatch' | 'staleAfterMs'>,
): StreamQuestion {
  const { stream, group, mode, requireMatch, staleAfterMs } = fields;
  return {
    kind: 'stream',
    key: fingerprint('stream', fields),
    subject: group === undefined ? stream : `${stream} (group ${group})`,
    stream,
    group,
    mode,
    requireMatch,
    staleAfterMs,
  };
}
