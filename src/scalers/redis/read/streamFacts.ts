/**
 * What the figures of a stream and of a consumer group prove about the entries that the group has not read. Pure functions of facts
 * that were read before.
 *
 * Entries leave a stream in two ways. Trimming takes the oldest: as long as the group's last delivered entry, or one before it, is
 * there, none behind it was trimmed. `XDEL` takes any, and `max-deleted-entry-id` is the highest that it took. Redis counts what a group
 * has read by one at each delivery, so that entries which left unread count as unread for ever: servers before Redis 8 and Valkey 8 do so
 * after trimming, all do after some deletions (https://redis.io/docs/latest/commands/xinfo-groups/, "Consumer group lag").
 */
import { fieldsOf, type Fields, type Reply } from '../wire/reply.ts';

/** Milliseconds and sequence number. */
export type EntryId = readonly [bigint, bigint];

/** A group in the reply of `XINFO GROUPS`, and its stream's length. An absent figure is one that the server does not know. */
export interface GroupFacts {
  readonly length: number;
  readonly pending: number;
  /** As text, as commands take it. */
  readonly delivered: string | undefined;
  /** Entries delivered to the group, as Redis counts them. */
  readonly read: number | undefined;
  readonly lag: number | undefined;
}

/** The reply of `XINFO STREAM`. */
export interface StreamFacts {
  readonly length: number | undefined;
  readonly first: EntryId | undefined;
  readonly last: EntryId | undefined;
  readonly added: number | undefined;
  readonly deleted: EntryId | undefined;
  /** Characters of the larger of the first and the last entry. */
  readonly entrySize: number;
}

/** What was established of a group by a reading. */
export interface GroupRecord {
  readonly facts: GroupFacts;
  readonly unread: number;
  readonly reader: string;
  /** How many entries of their size the budget allows to count; undefined where none was seen. */
  readonly countable: number | undefined;
}

export function streamFacts(reply: Reply): StreamFacts {
  const fields = fieldsOf(reply);
  const [first, last] = [fields.get('first-entry'), fields.get('last-entry')];
  return {
    length: wholeIn(fields, 'length'),
    first: entryId(first),
    last: entryId(last),
    added: wholeIn(fields, 'entries-added'),
    deleted: parseId(fields.get('max-deleted-entry-id')),
    entrySize: Math.max(sizeOf(first ?? null), sizeOf(last ?? null)),
  };
}

export function wholeIn(fields: Fields, name: string): number | undefined {
  const value = fields.get(name);
  return typeof value === 'number' && Number.isSafeInteger(value) ? value : undefined;
}

/** Characters of all texts in a reply. */
export function sizeOf(reply: Reply): number {
  if (typeof reply === 'string') return reply.length;
  return Array.isArray(reply) ? (reply as readonly Reply[]).reduce<number>((sum, each) => sum + sizeOf(each), 0) : 0;
}

/** The unread entries where the last delivered id lies before the first entry or not before the last one. */
export function unreadByIds(delivered: EntryId, { length, first, last }: StreamFacts): number | undefined {
  if (length === 0 || (last !== undefined && compareIds(delivered, last) >= 0)) return 0;
  return first !== undefined && compareIds(delivered, first) < 0 ? length : undefined;
}

/** The unread entries as Redis counts them: no fewer than there are, as its count of what was read lacks what left unread. */
export function unreadByCounters({ delivered, read, lag }: GroupFacts, { added, deleted }: StreamFacts): number | undefined {
  if (lag !== undefined) return lag;
  const last = parseId(delivered);
  if (last === undefined || deleted === undefined || added === undefined || read === undefined) return undefined;
  return compareIds(deleted, last) <= 0 ? added - read : undefined;
}

/** By how much Redis' count was too high when the record was made. */
export function excessOf({ facts, unread }: GroupRecord): number {
  return (facts.lag ?? unread) - unread;
}

/** Whether all figures on which the number of unread entries depends are those of the record. */
export function isUnchanged({ facts }: GroupRecord, now: GroupFacts): boolean {
  // Lag and read entries together tell of added ones.
  return (
    now.lag !== undefined &&
    facts.lag === now.lag &&
    facts.read === now.read &&
    facts.delivered === now.delivered &&
    facts.length === now.length
  );
}

/**
 * Whether Redis' count is too high by as much as it was: no entry behind the record's position can have left the stream since. One
 * before it is still there, so that no server has had a reason to count anew, as some do for a group that all entries are ahead of.
 */
export function keepsExcess({ facts }: GroupRecord, now: GroupFacts, { first, deleted }: StreamFacts): boolean {
  const [before, after] = [parseId(facts.delivered), parseId(now.delivered)];
  if (before === undefined || after === undefined || first === undefined || deleted === undefined) return false;
  if (facts.lag === undefined || now.lag === undefined || facts.read === undefined || now.read === undefined) return false;
  return (
    compareIds(first, before) <= 0 && compareIds(deleted, before) <= 0 && compareIds(after, before) >= 0 && now.read >= facts.read
  );
}

export function parseId(text: Reply | undefined): EntryId | undefined {
  const match = typeof text === 'string' ? /^(\d{1,20})-(\d{1,20})$/.exec(text) : null;
  return match?.[1] === undefined || match[2] === undefined ? undefined : [BigInt(match[1]), BigInt(match[2])];
}

function entryId(entry: Reply | undefined): EntryId | undefined {
  return Array.isArray(entry) ? parseId(entry[0] as Reply) : undefined;
}

function compareIds([leftMs, leftSeq]: EntryId, [rightMs, rightSeq]: EntryId): number {
  return leftMs === rightMs ? Number(leftSeq - rightSeq) : leftMs < rightMs ? -1 : 1;
}
