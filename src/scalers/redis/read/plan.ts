/**
 * Which keys a question reads, given the keys that match its patterns.
 */
import type { Role } from './answer.ts';
import type { NamePattern } from '../names.ts';
import { lengthRead, streamRead } from './commands.ts';
import type { KeyRead } from './keyRead.ts';
import type { RedisQuestion } from '../question.ts';

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
    return { reads: [read], roles: [{ readId: read.id, key: question.stream, as: 'waiting' }] };
  }
  const reads = new Map<string, KeyRead>();
  const roles: Role[] = [];
  const add = (patterns: readonly NamePattern[], as: Role['as']): void => {
    for (const pattern of patterns) {
      for (const key of pattern.glob ? found(pattern) : [pattern.text]) {
        const read = lengthRead(key);
        if (reads.has(read.id)) continue;
        reads.set(read.id, read);
        roles.push({ readId: read.id, key, as });
      }
    }
  };
  add(question.names, 'waiting');
  add(question.processing, 'processing');
  // slice() drops the array's spare capacity; thousands are retained.
  return { reads: [...reads.values()], roles: roles.slice() };
}
