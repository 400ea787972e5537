/**
 * From a question to the keys that it reads, and from their results back to its reading. If one is unknown, the reading is; if no key
 * was ever seen to exist, it is an error where the trigger requires a match.
 */
import { QueueError } from '../../../errors.ts';
import { unknown, type QueueReading, type Reading } from '../../reading.ts';
import type { NamePattern } from '../names.ts';
import type { Measures, RedisQuestion } from '../question.ts';
import { lengthRead, streamRead } from './commands.ts';
import type { KeyRead, KeyReadResult } from './keyRead.ts';

/** What a key is to a question. */
interface Role {
  readonly readId: string;
  readonly key: string;
  readonly as: 'waiting' | 'processing';
  /** Whether only a pattern names it. */
  readonly found: boolean;
}

export interface Plan {
  readonly reads: readonly KeyRead[];
  /** What each key is to the question; what waits comes before what is in progress. */
  readonly roles: readonly Role[];
}

/** The patterns whose keys must be scanned for. */
export function patternsOf(question: RedisQuestion): readonly NamePattern[] {
  return question.kind === 'stream' ? [] : [...question.names, ...question.processing].filter((name) => name.glob);
}

/** The reads of a question, given the keys that match its patterns. A key that is named twice counts once. */
export function plan(question: RedisQuestion, found: (pattern: NamePattern) => ReadonlySet<string>): Plan {
  if (question.kind === 'stream') {
    const read = streamRead(question.stream, question.group, question.mode);
    return { reads: [read], roles: [{ readId: read.id, key: question.stream, as: 'waiting', found: false }] };
  }
  const reads = new Map<string, KeyRead>();
  const roles: Role[] = [];
  const add = (patterns: readonly NamePattern[], as: Role['as']): void => {
    // What is named first: it is then not what a pattern has found.
    for (const pattern of [...patterns.filter(({ glob }) => !glob), ...patterns.filter(({ glob }) => glob)]) {
      for (const key of pattern.glob ? found(pattern) : [pattern.text]) {
        const read = lengthRead(key);
        if (reads.has(read.id)) continue;
        reads.set(read.id, read);
        roles.push({ readId: read.id, key, as, found: pattern.glob });
      }
    }
  };
  add(question.names, 'waiting');
  add(question.processing, 'processing');
  // slice() drops the array's spare capacity; thousands are retained.
  return { reads: [...reads.values()], roles: roles.slice() };
}

/** Most keys that a reading lists one by one. */
const MAX_TOLD = 100;
const MAX_STRAYS_TOLD = 3;

/**
 * The reading of a question, or undefined while a read has no result yet. A key without a length that only a pattern names is left out.
 * `seen` says whether a key was ever seen to exist; `notes` are for a person who asks why.
 */
export function answer(
  question: RedisQuestion,
  roles: readonly Role[],
  resultOf: (readId: string) => KeyReadResult | undefined,
  seen: (key: string) => boolean,
  notes: readonly string[],
): Reading<Measures> | undefined {
  const queues: QueueReading<Measures>[] = [];
  const readers = new Set<string>();
  const waiting: Measures[] = [];
  let processing = 0;
  let exists = false;
  const strays: string[] = [];
  for (const { readId, key, as, found } of roles) {
    const result = resultOf(readId);
    if (result === undefined) return undefined;
    if ('error' in result) {
      if (!found || result.error.code !== 'QUEUE_WRONG_TYPE') return unknown(result.error);
      strays.push(key);
      continue;
    }
    const { value } = result;
    readers.add(value.reader);
    exists ||= value.exists || seen(key);
    const measures: Measures = as === 'processing' ? { processing: value.measures.length ?? 0 } : value.measures;
    if (as === 'processing') processing += value.measures.length ?? 0;
    else waiting.push(measures);
    if (queues.length < MAX_TOLD) queues.push({ queue: key, reader: value.reader, measures });
  }
  if (question.requireMatch && !exists) {
    return unknown(new QueueError('QUEUE_MISSING', `no key was ever seen for ${question.subject}: is the name right?`));
  }
  const measures: Measures =
    question.kind === 'stream'
      ? (waiting[0] ?? {})
      : {
          length: combine(waiting, question.operation),
          ...(question.processing.length > 0 ? { processing } : {}),
        };
  const counted = roles.length - strays.length;
  const more = counted > MAX_TOLD ? [`${counted} keys in all, of which ${MAX_TOLD} are listed`] : [];
  if (strays.length > 0) {
    const shown = strays.length > MAX_STRAYS_TOLD ? [...strays.slice(0, MAX_STRAYS_TOLD), '…'] : strays;
    more.push(`left out, as they have no length: ${shown.join(', ')} (${strays.length} in all)`);
  }
  return {
    known: true,
    at: performance.now(),
    reader: [...readers].sort().join('+') || 'SCAN',
    measures,
    // slice() drops the array's spare capacity; thousands are retained.
    queues: queues.slice(),
    ...(notes.length + more.length + question.notes.length > 0 ? { notes: [...question.notes, ...notes, ...more] } : {}),
  };
}

function combine(all: readonly Measures[], operation: 'sum' | 'max'): number {
  return all.reduce((value, { length = 0 }) => (operation === 'sum' ? value + length : Math.max(value, length)), 0);
}
