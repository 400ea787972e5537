/**
 * Guards against a message that is on its way from where it waits to where a worker holds it: looked for in the one place too late
 * and in the other too early, it must neither vanish nor count twice.
 */
import { LRUCache } from 'lru-cache';
import { ProcessError, toQueueScalerError } from '../../../errors.ts';
import { unknown, type Reading } from '../../reading.ts';
import type { Measures } from '../measures.ts';
import type { Discovery } from './discovery.ts';
import type { Part, PartResult } from './commands.ts';
import { patternsOf, type Plan } from './plan.ts';
import type { RedisQuestion } from '../question.ts';
import type { Reader } from './reader.ts';

const MAX_REMEMBERED_QUESTIONS = 100_000;

export interface TakenGuard {
  /**
   * Whether fewer messages wait than before and nobody is seen to hold one: they may have been taken between two readings, or to a list
   * that no look has found yet.
   */
  suspects(question: RedisQuestion, reading: Reading): boolean;
  /** Reads what waits, then looks where workers may have put it, and reads all at one moment. Never rejects. */
  read(question: RedisQuestion, signal: AbortSignal): Promise<Reading>;
}

export function createTakenGuard(
  reader: Reader,
  discovery: Pick<Discovery, 'lookNow'>,
  planOf: (question: RedisQuestion) => Plan,
  remember: (part: Part, result: PartResult) => void,
  answered: (question: RedisQuestion, plan: Plan, results: ReadonlyMap<string, PartResult>) => Reading<Measures> | undefined,
): TakenGuard {
  /** Messages of a question, waiting and held, when last told. */
  const totals = new LRUCache<string, number>({ maxSize: MAX_REMEMBERED_QUESTIONS, sizeCalculation: () => 1 });

  async function readParts(parts: Iterable<Part>, signal: AbortSignal): Promise<Map<string, PartResult>> {
    const results = new Map<string, PartResult>();
    const keep = (part: Part, result: PartResult): void => {
      remember(part, result);
      results.set(part.id, result);
    };
    await reader.read(parts, keep, signal);
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
        const { parts, roles } = planOf(question);
        const isWaiting = new Set(roles.filter((role) => role.as === 'waiting').map((role) => role.partId));
        const earlier = await readParts(
          parts.filter(({ id }) => isWaiting.has(id)),
          signal,
        );
        await Promise.all(patternsOf(question).map((pattern) => discovery.lookNow(pattern)));
        const plan = planOf(question);
        const now = await readParts(plan.parts, signal);
        const reading = answered(question, plan, now);
        if (reading === undefined) return unknown(new ProcessError('INTERNAL', 'a question was left without an answer'));
        if (!reading.known) return reading;
        const { length = 0, processing = 0 } = reading.measures;
        // What waited a moment ago and is nowhere now may lie in a list that was made since: what waited is told.
        const told = length + processing > 0 ? reading : (answered(question, plan, new Map([...now, ...earlier])) ?? reading);
        if (told.known) totals.set(question.key, (told.measures.length ?? 0) + (told.measures.processing ?? 0));
        return told;
      } catch (thrown) {
        return unknown(toQueueScalerError(thrown));
      }
    },
  };
}
