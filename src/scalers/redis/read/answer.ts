/**
 * Puts the parts of a question together to its reading. A question of which one part is unknown is unknown; what was never seen to
 * exist is an error where the trigger wants it so.
 */
import { QueueError } from '../../../errors.ts';
import { unknown, type QueueReading, type Reading } from '../../reading.ts';
import type { Measures } from '../measures.ts';
import type { PartResult } from './commands.ts';
import type { RedisQuestion } from '../question.ts';

/** A part of a question: what the key is to it. */
export interface Role {
  readonly partId: string;
  readonly key: string;
  readonly as: 'waiting' | 'processing';
}

/** At most so many keys are told one by one. */
const MAX_TOLD = 100;

/**
 * The reading of a question, or undefined while a part has no result yet. `seen` says whether a key was ever seen to exist;
 * `notes` are for a person who asks why.
 */
export function answer(
  question: RedisQuestion,
  roles: readonly Role[],
  resultOf: (partId: string) => PartResult | undefined,
  seen: (key: string) => boolean,
  notes: readonly string[],
): Reading<Measures> | undefined {
  const queues: QueueReading<Measures>[] = [];
  const readers = new Set<string>();
  const waiting: Measures[] = [];
  let processing = 0;
  let exists = false;
  for (const { partId, key, as } of roles) {
    const result = resultOf(partId);
    if (result === undefined) return undefined;
    if ('error' in result) return unknown(result.error);
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
  const more = roles.length > MAX_TOLD ? [`${roles.length} keys in all, of which ${MAX_TOLD} are listed`] : [];
  return {
    known: true,
    at: performance.now(),
    reader: [...readers].sort().join('+') || 'SCAN',
    measures,
    // A copy has no room for more, as one that has grown does.
    queues: queues.slice(),
    ...(notes.length + more.length > 0 ? { notes: [...notes, ...more] } : {}),
  };
}

function combine(all: readonly Measures[], operation: 'sum' | 'max'): number {
  const lengths = all.map((measures) => measures.length ?? 0);
  return operation === 'sum'
    ? lengths.reduce((total, length) => total + length, 0)
    : lengths.reduce((most, length) => Math.max(most, length), 0);
}
