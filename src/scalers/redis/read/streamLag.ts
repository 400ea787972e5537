/**
 * What a consumer group has still to do in a stream: entries delivered and not acknowledged ("pending"), and entries not yet
 * delivered ("lag"). A lag that Redis does not know (nil: after `XDEL`, after `XGROUP SETID`, before version 7) is computed where
 * the stream's own figures prove it, counted where few entries are left, and unknown otherwise; it is never taken for 0.
 */
import { QueueError, type QueueScalerError } from '../../../errors.ts';
import { replyError, replyInvalid } from '../wire/failures.ts';
import { ErrorReply, fieldsOf, type Fields, type Reply } from '../wire/reply.ts';
import { countOf, type KeyReadResult, type Step } from './keyRead.ts';

export function readGroup(stream: string, group: string): Step {
  const subject = `XINFO GROUPS ${stream}`;
  return {
    commands: [
      ['XINFO', 'GROUPS', stream],
      ['XLEN', stream],
    ],
    then([groups = null, length = null], where) {
      // KEDA takes an absent stream for an empty one too; a group can't exist without its stream.
      if (groups instanceof ErrorReply && /no such key/i.test(groups.text)) return absent();
      if (groups instanceof ErrorReply) return { error: replyError(groups, where, subject) };
      if (!Array.isArray(groups)) return { error: replyInvalid(groups, where, subject) };
      const total = countOf(length, where, `XLEN ${stream}`);
      if (typeof total !== 'number') return { error: total };
      const all = groups.map(fieldsOf);
      if (all.some((fields) => typeof fields.get('name') !== 'string')) return { error: replyInvalid(groups, where, subject) };
      const mine = all.find((fields) => fields.get('name') === group);
      // A group that nobody has created has read nothing: all entries are before it.
      if (mine === undefined) return known({ pending: 0, lag: total }, true);
      const pending = countOf(mine.get('pending') ?? null, where, subject);
      if (typeof pending !== 'number') return { error: pending };
      const lag = mine.get('lag') ?? null;
      if (lag === null) return readStream(stream, mine, pending, total);
      const reported = countOf(lag, where, subject);
      if (typeof reported !== 'number') return { error: reported };
      return known({ pending, lag: reported }, true);
    },
  };
}

/** A second look, at the stream itself, where the group's lag is nil. */
function readStream(stream: string, group: Fields, pending: number, length: number): Step {
  const subject = `XINFO STREAM ${stream}`;
  return {
    commands: [['XINFO', 'STREAM', stream]],
    then([reply = null], where) {
      if (reply instanceof ErrorReply && /no such key/i.test(reply.text)) return absent();
      if (reply instanceof ErrorReply) return { error: replyError(reply, where, subject) };
      const lag = computeLag(group, fieldsOf(reply));
      if (typeof lag === 'number') return known({ pending, lag }, true, 'XINFO GROUPS+STREAM');
      const delivered = group.get('last-delivered-id');
      if (typeof delivered !== 'string' || parseId(delivered) === undefined) return { error: unknownLag(stream, lag) };
      return countRest(stream, delivered, pending, length, lag);
    },
  };
}

/** More entries than these are not fetched just to be counted: an entry carries its whole message. */
const MOST_COUNTED = 100;

/** Counts the entries behind the last delivered one, if they are few. */
function countRest(stream: string, delivered: string, pending: number, length: number, why: string): Step {
  return {
    commands: [['XRANGE', stream, `(${delivered}`, '+', 'COUNT', MOST_COUNTED + 1]],
    then([reply = null]) {
      if (!Array.isArray(reply)) return { error: unknownLag(stream, why) };
      if (reply.length <= MOST_COUNTED) return known({ pending, lag: reply.length }, true, 'XINFO GROUPS+XRANGE');
      return { error: unknownLag(stream, `${why}, and between ${MOST_COUNTED + 1} and ${length} entries are left`) };
    },
  };
}

function unknownLag(stream: string, why: string): QueueScalerError {
  return new QueueError('FIELD_MISSING', `the lag of stream ${stream} is unknown: ${why}`);
}

/**
 * Entries behind the group's last delivered one, from `XINFO GROUPS` and `XINFO STREAM` alone; a text says why that is impossible.
 * An id is proof where it lies before the first or not before the last entry; the counters are where nothing was deleted behind the
 * last delivered id (https://redis.io/docs/latest/commands/xinfo-groups/, "Consumer group lag").
 */
export function computeLag(group: Fields, stream: Fields): number | string {
  const length = stream.get('length');
  const delivered = parseId(group.get('last-delivered-id'));
  if (typeof length !== 'number' || !Number.isSafeInteger(length) || length < 0) return 'XINFO STREAM reports no length';
  if (length === 0) return 0;
  if (delivered === undefined) return 'XINFO GROUPS reports no last-delivered-id';
  const first = entryId(stream.get('first-entry'));
  const last = entryId(stream.get('last-entry'));
  if (first !== undefined && compareIds(delivered, first) < 0) return length;
  if (last !== undefined && compareIds(delivered, last) >= 0) return 0;
  const added = stream.get('entries-added');
  const read = group.get('entries-read');
  const deleted = parseId(stream.get('max-deleted-entry-id'));
  if (typeof added === 'number' && typeof read === 'number' && deleted !== undefined && compareIds(deleted, delivered) <= 0) {
    const lag = added - read;
    if (Number.isSafeInteger(lag) && lag >= 0 && lag <= length) return lag;
  }
  return 'entries behind the last delivered one were deleted, or the group was set to an arbitrary id';
}

function absent(): KeyReadResult {
  return known({ pending: 0, lag: 0 }, false);
}

function known(
  measures: { readonly pending: number; readonly lag: number },
  exists: boolean,
  reader = 'XINFO GROUPS',
): KeyReadResult {
  return { value: { reader, measures, exists } };
}

type Id = readonly [bigint, bigint];

function entryId(entry: Reply | undefined): Id | undefined {
  return Array.isArray(entry) ? parseId(entry[0] as Reply) : undefined;
}

function parseId(text: Reply | undefined): Id | undefined {
  const match = typeof text === 'string' ? /^(\d{1,20})-(\d{1,20})$/.exec(text) : null;
  return match?.[1] === undefined || match[2] === undefined ? undefined : [BigInt(match[1]), BigInt(match[2])];
}

function compareIds([leftMs, leftSeq]: Id, [rightMs, rightSeq]: Id): number {
  return leftMs === rightMs ? Number(leftSeq - rightSeq) : leftMs < rightMs ? -1 : 1;
}
