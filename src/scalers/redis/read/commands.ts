/**
 * What is read of lists, sets, sorted sets, hashes and streams. Only commands that read; an absent key counts as empty, and a reply
 * that is not understood is an error.
 */
import { QueueError } from '../../../errors.ts';
import type { StreamMode } from '../question.ts';
import { replyError, replyInvalid } from '../wire/failures.ts';
import { ErrorReply } from '../wire/reply.ts';
import { countOf, type KeyRead, type Step, type TypeMemory } from './keyRead.ts';
import { readGroup } from './streamLag.ts';

const LENGTH_COMMANDS: Readonly<Record<string, string>> = { list: 'LLEN', set: 'SCARD', zset: 'ZCARD', hash: 'HLEN' };

/**
 * The number of members of a list, set, sorted set or hash. `LLEN` says 0 of a key that is absent and `WRONGTYPE` of one that is no
 * list: only then is the type asked for.
 */
export function lengthRead(key: string): KeyRead {
  return {
    id: `count ${key}`,
    key,
    changesAreTracked: true,
    first: ({ types }) => count(key, LENGTH_COMMANDS[types.get(key) ?? 'list'] ?? 'LLEN', types, false),
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
export function streamRead(stream: string, group: string | undefined, mode: StreamMode): KeyRead {
  if (group === undefined || mode === 'length') {
    return {
      id: `length ${stream}`,
      key: stream,
      changesAreTracked: true,
      first: ({ types }) => count(stream, 'XLEN', types, true),
    };
  }
  const id = `group ${JSON.stringify([stream, group])}`;
  return { id, key: stream, changesAreTracked: false, first: ({ groups }) => readGroup(id, stream, group, groups) };
}
