/**
 * Guards against messages that move from where they wait to where a worker holds them while both are read: such a message neither
 * vanishes nor counts twice.
 */
import { LRUCache } from 'lru-cache';
import { ProcessError, toQueueScalerError } from '../../../errors.ts';
import { unknown, type Reading } from '../../reading.ts';
import type { Discovery } from './discovery.ts';
import type { KeyRead, KeyReadResult } from './keyRead.ts';
import { patternsOf, type Plan } from './plan.ts';
import type { Measures, RedisQuestion } from '../question.ts';
import type { Reader } from './reader.ts';

const MAX_REMEMBERED_QUESTIONS = 100_000;

export interface MoveGuard {
  /**
   * Whether fewer messages wait than before and nobody is seen to hold one: they may have been taken between two readings, or to a list
   * that no look has found yet.
   */
  suspects(question: RedisQuestion, reading: Reading): boolean;
  /** Reads what waits, then looks where workers may have put it, and reads all at one moment. Never rejects. */
  read(question: RedisQuestion, signal: AbortSignal): Promise<Reading>;
}

export function createMoveGuard(
  reader: Reader,
  discovery: Pick<Discovery, 'lookNow'>,
  planOf: (question: RedisQuestion) => Plan,
  remember: (read: KeyRead, result: KeyReadResult) => void,
  answered: (question: RedisQuestion, plan: Plan, results: ReadonlyMap<string, KeyReadResult>) => Reading<Measures> | undefined,
): MoveGuard {
  /** Messages of a question, waiting and held, as last reported. */
  const totals = new LRUCache<string, number>({ maxSize: MAX_REMEMBERED_QUESTIONS, sizeCalculation: () => 1 });

  async function readKeys(reads: Iterable<KeyRead>, signal: AbortSignal): Promise<Map<string, KeyReadResult>> {
    const results = new Map<string, KeyReadResult>();
    const keep = (read: KeyRead, result: KeyReadResult): void => {
      remember(read, result);
      results.set(read.id, result);
    };
    await reader(reads, keep, signal);
    return results;
  }

  return {
    suspects(question, reading) {
      if (question.kind !== 'keys' || question.processing.length === 0 || !reading.known) return false;
      const { length = 0, processing = 0 } = reading.measures;
      const before = totals.get(question.key) ?? 0;
      if (processing > 0 || length >= before) totals.set(question.key, length + processing);
      return processing === 0 && length < before;
    },

    async read(question, signal) {
      try {
        const { reads, roles } = planOf(question);
        const isWaiting = new Set(roles.filter((role) => role.as === 'waiting').map((role) => role.readId));
        const earlier = await readKeys(
          reads.filter(({ id }) => isWaiting.has(id)),
          signal,
        );
        await Promise.all(patternsOf(question).map((pattern) => discovery.lookNow(pattern)));
        const plan = planOf(question);
        const now = await readKeys(plan.reads, signal);
        const reading = answered(question, plan, now);
        if (reading === undefined) return unknown(new ProcessError('INTERNAL', 'a question was left without an answer'));
        if (!reading.known) return reading;
        const { length = 0, processing = 0 } = reading.measures;
        // Messages that waited a moment ago and are nowhere now may lie in a list made since: the earlier count is reported.
        const reported = length + processing > 0 ? reading : (answered(question, plan, new Map([...now, ...earlier])) ?? reading);
        if (reported.known) totals.set(question.key, (reported.measures.length ?? 0) + (reported.measures.processing ?? 0));
        return reported;
      } catch (thrown) {
        return unknown(toQueueScalerError(thrown));
      }
    },
  };
}
