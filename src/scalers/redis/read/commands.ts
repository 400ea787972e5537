/**
 * The single readings that questions are made of, as steps: the commands to send, and what their replies mean or which step comes
 * next. Only commands that read; an absent key counts as empty, and whatever is not understood is an error.
 */
import { BrokerError, QueueError, type QueueScalerError } from '../../../errors.ts';
import { sameMeasures } from '../../reading.ts';
import type { Measures } from '../measures.ts';
import { replyError, replyInvalid } from '../wire/failures.ts';
import { ErrorReply, type Command, type Reply } from '../wire/resp.ts';
import { readGroup } from './streamLag.ts';
import type { StreamMode } from '../question.ts';

/** One thing to read of one key. Parts with the same id are the same reading. */
export interface Part {
  readonly id: string;
  readonly key: string;
  /** Whether the server tells of all that changes the figures: not where a group's reads and acknowledgements do. */
  readonly changesAreTold: boolean;
  readonly first: (memory: TypeMemory) => Step;
}

export interface PartValue {
  readonly reader: string;
  readonly measures: Measures;
  /** Whether the key was seen to exist; an empty list doesn't. */
  readonly exists: boolean;
}

export type PartResult = { readonly value: PartValue } | { readonly error: QueueScalerError };

export function sameValue(left: PartResult | undefined, right: PartResult): boolean {
  if (left === undefined || 'error' in left || 'error' in right) return false;
  const [before, now] = [left.value, right.value];
  return before.reader === now.reader && before.exists === now.exists && sameMeasures(before.measures, now.measures);
}

/** Commands to one server, and what to make of their replies: a result, or the next step. */
export interface Step {
  readonly commands: readonly Command[];
  then(replies: readonly Reply[], where: string): Step | PartResult;
}

/** The types of keys that are no lists, so that they need not be asked for each time. */
export interface TypeMemory {
  get(key: string): string | undefined;
  set(key: string, type: string): void;
}

const LENGTH_COMMANDS: Readonly<Record<string, string>> = { list: 'LLEN', set: 'SCARD', zset: 'ZCARD', hash: 'HLEN' };

/**
 * The number of members of a list, set, sorted set or hash. `LLEN` says 0 of a key that is absent and `WRONGTYPE` of one that is no
 * list: only then is the type asked for.
 */
export function countPart(key: string): Part {
  return {
    id: `count ${key}`,
    key,
    changesAreTold: true,
    first: (memory) => count(key, LENGTH_COMMANDS[memory.get(key) ?? 'list'] ?? 'LLEN', memory, false),
  };
}

function count(key: string, command: string, memory: TypeMemory, retyped: boolean): Step {
  return {
    commands: [[command, key]],
    then([reply = null], where) {
      if (reply instanceof ErrorReply && reply.code === 'WRONGTYPE' && !retyped) return askType(key, memory);
      const value = countOf(reply, where, `${command} ${key}`);
      return typeof value === 'number'
        ? { value: { reader: command, measures: { length: value }, exists: value > 0 } }
        : { error: value };
    },
  };
}

function askType(key: string, memory: TypeMemory): Step {
  return {
    commands: [['TYPE', key]],
    then([reply = null], where) {
      if (reply instanceof ErrorReply) return { error: replyError(reply, where, `TYPE ${key}`) };
      if (typeof reply !== 'string') return { error: replyInvalid(reply, where, `TYPE ${key}`) };
      const command = LENGTH_COMMANDS[reply === 'none' ? 'list' : reply];
      if (command === undefined) {
        return {
          error: new QueueError(
            'QUEUE_WRONG_TYPE',
            `key ${key} is a ${reply}; its length is counted for ${Object.keys(LENGTH_COMMANDS).join(', ')} only`,
          ),
        };
      }
      memory.set(key, reply);
      return count(key, command, memory, true);
    },
  };
}

/** A stream's length, or what its group has not yet read and not yet acknowledged. */
export function streamPart(stream: string, group: string | undefined, mode: StreamMode): Part {
  if (group === undefined || mode === 'length') {
    return {
      id: `length ${stream}`,
      key: stream,
      changesAreTold: true,
      first: () => ({
        commands: [['XLEN', stream]],
        then([reply = null], where) {
          const value = countOf(reply, where, `XLEN ${stream}`);
          return typeof value === 'number'
            ? { value: { reader: 'XLEN', measures: { length: value }, exists: value > 0 } }
            : { error: value };
        },
      }),
    };
  }
  return {
    id: `group ${JSON.stringify([stream, group])}`,
    key: stream,
    changesAreTold: false,
    first: () => readGroup(stream, group),
  };
}

/** A count that can be true, or the error that it is not. */
export function countOf(reply: Reply, where: string, subject: string): number | QueueScalerError {
  if (reply instanceof ErrorReply) return replyError(reply, where, subject);
  if (typeof reply !== 'number') return replyInvalid(reply, where, subject);
  if (Number.isSafeInteger(reply) && reply >= 0) return reply;
  return new QueueError('VALUE_IMPLAUSIBLE', `${where} answers ${reply} for ${subject}`);
}

/** The error of a server that is not what it must be to be believed. */
export function notPrimary(where: string): BrokerError {
  return new BrokerError('BROKER_NOT_PRIMARY', `${where} is a replica, not the primary`);
}
