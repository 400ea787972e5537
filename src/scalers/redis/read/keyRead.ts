/**
 * A single reading of one key, which questions are made of: as steps of commands to send, each followed by a result or the next step.
 */
import type { LRUCache } from 'lru-cache';
import { QueueError, type QueueScalerError } from '../../../errors.ts';
import { sameMeasures } from '../../reading.ts';
import type { Measures } from '../question.ts';
import { replyError, replyInvalid } from '../wire/failures.ts';
import type { GroupRecord } from './streamFacts.ts';
import { ErrorReply, type Command, type Reply } from '../wire/reply.ts';

/** One thing to read of one key. Reads with the same id are the same, and are shared. */
export interface KeyRead {
  readonly id: string;
  readonly key: string;
  /** Whether the server announces all that changes the figures; it announces no reads and acknowledgements of a group. */
  readonly changesAreTracked: boolean;
  readonly first: (memory: ReadMemory) => Step;
}

export interface KeyValue {
  readonly reader: string;
  readonly measures: Measures;
  /** Whether the key was seen to exist; an empty list doesn't. */
  readonly exists: boolean;
}

export type KeyReadResult = { readonly value: KeyValue } | { readonly error: QueueScalerError };

export function sameValue(left: KeyReadResult | undefined, right: KeyReadResult): boolean {
  if (left === undefined || 'error' in left || 'error' in right) return false;
  const [before, now] = [left.value, right.value];
  return before.reader === now.reader && before.exists === now.exists && sameMeasures(before.measures, now.measures);
}

/** Commands to one server, and what to make of their replies: a result, or the next step. */
export interface Step {
  readonly commands: readonly Command[];
  then(replies: readonly Reply[], where: string): Step | KeyReadResult;
}

/** Remembers the types of keys that are no lists, which are then not asked for each time. */
export type TypeMemory = Pick<LRUCache<string, string>, 'get' | 'set'>;

/** Remembers what was established of streams' groups, by the id of the read. */
export type GroupMemory = Pick<LRUCache<string, GroupRecord>, 'get' | 'set'>;

/** What reads learn for later ones. */
export interface ReadMemory {
  readonly types: TypeMemory;
  readonly groups: GroupMemory;
}

/** The count that a reply stands for, or why it is none. */
export function countOf(reply: Reply, where: string, subject: string): number | QueueScalerError {
  if (reply instanceof ErrorReply) return replyError(reply, where, subject);
  if (typeof reply !== 'number') return replyInvalid(reply, where, subject);
  if (Number.isSafeInteger(reply) && reply >= 0) return reply;
  return new QueueError('VALUE_IMPLAUSIBLE', `${where} answers ${reply} for ${subject}`);
}
