/**
 * What a consumer group has still to do in a stream: entries delivered and not acknowledged ("pending"), and entries not yet
 * delivered ("lag"). Redis' own lag counts entries that left the stream unread, and is nil after `XDEL`, after `XGROUP SETID` and before
 * version 7. So it is believed only as far as something else bears it out: few entries are counted, ids prove all or none, and for many the
 * excess of Redis' count, once known, is followed. Where none of this tells, it is the least that is not refuted, or unknown; never 0
 * while an entry is unread.
 */
import { QueueError } from '../../../errors.ts';
import { replyError, replyInvalid } from '../wire/failures.ts';
import { ErrorReply, fieldsOf, type Reply } from '../wire/reply.ts';
import { countOf, type GroupMemory, type KeyReadResult, type Step } from './keyRead.ts';
import {
  excessOf,
  isUnchanged,
  keepsExcess,
  parseId,
  sizeOf,
  streamFacts,
  unreadByCounters,
  unreadByIds,
  wholeIn,
  type GroupFacts,
  type StreamFacts,
} from './streamFacts.ts';

/** Most entries fetched to be counted, and their most characters: an entry carries its whole message. */
const MOST_COUNTED = 100;
const MOST_COUNTED_SIZE = 32_000;
/** Entries fetched first, as long as their size is not known. */
const FIRST_PAGE = 4;

/** `id` is the read's, under which the memory keeps what was established of the group. */
export function readGroup(id: string, stream: string, group: string, memory: GroupMemory): Step {
  const subject = `XINFO GROUPS ${stream}`;
  return {
    commands: [
      ['XINFO', 'GROUPS', stream],
      ['XLEN', stream],
    ],
    then([groups = null, length = null], where) {
      // KEDA takes an absent stream for an empty one too; a group can't exist without its stream.
      if (isAbsent(groups)) return absent();
      if (groups instanceof ErrorReply) return { error: replyError(groups, where, subject) };
      if (!Array.isArray(groups)) return { error: replyInvalid(groups, where, subject) };
      const total = countOf(length, where, `XLEN ${stream}`);
      if (typeof total !== 'number') return { error: total };
      const all = groups.map(fieldsOf);
      if (all.some((fields) => typeof fields.get('name') !== 'string')) return { error: replyInvalid(groups, where, subject) };
      const mine = all.find((fields) => fields.get('name') === group);
      // A group that nobody has created has read nothing: all entries are before it.
      if (mine === undefined) return known(0, total, 'XINFO GROUPS');
      const pending = countOf(mine.get('pending') ?? null, where, subject);
      if (typeof pending !== 'number') return { error: pending };
      if (total === 0) return known(pending, 0, 'XINFO GROUPS');
      const delivered = mine.get('last-delivered-id');
      return readUnread({
        id,
        stream,
        memory,
        facts: {
          length: total,
          pending,
          delivered: typeof delivered === 'string' ? delivered : undefined,
          read: wholeIn(mine, 'entries-read'),
          lag: wholeIn(mine, 'lag'),
        },
      });
    },
  };
}

interface Reading {
  readonly id: string;
  readonly stream: string;
  readonly memory: GroupMemory;
  readonly facts: GroupFacts;
}

function readUnread(reading: Reading): Step | KeyReadResult {
  const { id, memory, facts } = reading;
  const record = memory.get(id);
  if (record !== undefined && isUnchanged(record, facts)) return known(facts.pending, record.unread, record.reader);
  const expected = facts.lag === undefined ? undefined : facts.lag - (record === undefined ? 0 : excessOf(record));
  const { countable } = record ?? {};
  if (facts.delivered === undefined || (expected ?? 0) > (countable ?? MOST_COUNTED)) return readStream(reading, 0);
  const wanted = (expected ?? MOST_COUNTED) + 1;
  return countBehind(
    reading,
    facts.delivered,
    Math.max(1, Math.min(wanted, countable === undefined ? FIRST_PAGE : countable + 1)),
    0,
  );
}

/** Counts the entries behind the last delivered one, of which `counted` were up to `from`, as far as that is cheap. */
function countBehind(reading: Reading, from: string, page: number, counted: number): Step {
  return {
    commands: [['XRANGE', reading.stream, `(${from}`, '+', 'COUNT', page]],
    then([entries = null]) {
      // Refused, or behind the highest id that there can be.
      if (!Array.isArray(entries)) return readStream(reading, counted);
      const now = counted + entries.length;
      const countable =
        entries.length === 0 ? reading.memory.get(reading.id)?.countable : countableOf(Math.max(...entries.map(sizeOf)));
      if (entries.length < page) return established(reading, now, 'XINFO GROUPS+XRANGE', countable);
      const [last] = entries.at(-1) as readonly Reply[];
      const next = (countable ?? 0) + 1 - now;
      return typeof last !== 'string' || next <= 0 ? readStream(reading, now) : countBehind(reading, last, next, now);
    },
  };
}

function countableOf(entrySize: number): number {
  return Math.min(MOST_COUNTED, Math.floor(MOST_COUNTED_SIZE / Math.max(1, entrySize)));
}

/** Looks at the stream itself, where at least so many entries are unread. */
function readStream(reading: Reading, atLeast: number): Step {
  const { id, stream, memory, facts } = reading;
  const subject = `XINFO STREAM ${stream}`;
  return {
    commands: [['XINFO', 'STREAM', stream]],
    then([reply = null], where) {
      if (isAbsent(reply)) return absent();
      if (reply instanceof ErrorReply) return { error: replyError(reply, where, subject) };
      const found = streamFacts(reply);
      const delivered = parseId(facts.delivered);
      if (found.length === undefined || delivered === undefined) return { error: replyInvalid(reply, where, subject) };
      const countable = countableOf(found.entrySize);
      const proven = unreadByIds(delivered, found);
      if (proven !== undefined) return established(reading, proven, 'XINFO GROUPS+STREAM', countable);
      const record = memory.get(id);
      if (record !== undefined && facts.lag !== undefined && keepsExcess(record, facts, found)) {
        const unread = facts.lag - excessOf(record);
        if (unread > atLeast && unread < found.length) return established(reading, unread, 'XINFO GROUPS+STREAM', countable);
      }
      return countBefore(reading, found, atLeast, countable);
    },
  };
}

/** Counts the entries up to the last delivered one: what is left of the stream is unread. */
function countBefore(reading: Reading, found: StreamFacts, atLeast: number, countable: number): Step {
  const { stream, facts } = reading;
  return {
    commands: [
      ['XLEN', stream],
      ['XRANGE', stream, '-', facts.delivered ?? '-', 'COUNT', countable + 1],
    ],
    then([length = null, entries = null], where) {
      const total = countOf(length, where, `XLEN ${stream}`);
      if (typeof total !== 'number') return { error: total };
      const before = Array.isArray(entries) ? entries.length : 1;
      const atMost = total - before;
      if (Array.isArray(entries) && before <= countable)
        return established(reading, Math.max(0, atMost), 'XINFO GROUPS+XRANGE', countable);
      const unread = Math.min(atMost, unreadByCounters(facts, found) ?? NaN);
      // A count below what was seen is no count.
      if (unread > atLeast) return established(reading, unread, 'XINFO GROUPS+STREAM', countable);
      const why = `Redis does not count them after XDEL or XGROUP SETID, and between ${atLeast + 1} and ${atMost} are left`;
      return { error: new QueueError('FIELD_MISSING', `how many entries of stream ${stream} are unread is unknown: ${why}`) };
    },
  };
}

function established(
  { id, memory, facts }: Reading,
  unread: number,
  reader: string,
  countable: number | undefined,
): KeyReadResult {
  memory.set(id, { facts, unread, reader, countable });
  return known(facts.pending, unread, reader);
}

function isAbsent(reply: Reply): boolean {
  return reply instanceof ErrorReply && /no such key/i.test(reply.text);
}

function absent(): KeyReadResult {
  return { value: { reader: 'XINFO GROUPS', measures: { pending: 0, lag: 0 }, exists: false } };
}

function known(pending: number, lag: number, reader: string): KeyReadResult {
  return { value: { reader, measures: { pending, lag }, exists: true } };
}
