/**
 * Watches one question: its keys, those that come to match its patterns, and what the readings of them mean together. It must tell
 * nothing that is put together from before and after a message moved.
 */
import { toQueueScalerError } from '../../../errors.ts';
import { unknown, type Reading } from '../../reading.ts';
import type { Watcher } from '../../contract.ts';
import type { Discovery } from '../read/discovery.ts';
import { patternsOf, type Plan } from '../read/plan.ts';
import type { PartResult } from '../read/commands.ts';
import type { RedisQuestion } from '../question.ts';
import type { TakenGuard } from '../read/moveGuard.ts';
import { readTogether, type PartWatch } from './keyWatch.ts';

export interface QuestionWatch {
  readonly parts: PartWatch;
  readonly discovery: Discovery;
  readonly taken: TakenGuard;
  readonly planOf: (question: RedisQuestion) => Plan;
  /** The reading that the parts' results make; undefined while one is missing. */
  readonly answered: (
    question: RedisQuestion,
    plan: Plan,
    resultOf: (partId: string) => PartResult | undefined,
  ) => Reading | undefined;
  /** Aborts what is under way when all ends. */
  readonly signal: AbortSignal;
}

/** Reports the question's readings until the returned function is called. */
export function watchQuestion(
  { parts, discovery, taken, planOf, answered, signal }: QuestionWatch,
  question: RedisQuestion,
  watcher: Watcher,
): () => void {
  const patterns = patternsOf(question);
  // A message moves from one key to the other in one step, and is to be seen in one of them.
  const together = question.kind === 'keys' && question.processing.length > 0 ? readTogether() : undefined;
  const watched = new Map<string, () => void>();
  let planned: Plan = { parts: [], roles: [] };
  let ended = false;
  let queued = false;
  let checking = false;

  function tell(): void {
    queued = false;
    if (ended) return;
    const reading = answered(question, planned, (id) => parts.result(id));
    if (reading === undefined || checking) return;
    if (!taken.suspects(question, reading)) {
      watcher.report(reading);
      return;
    }
    checking = true;
    void taken.read(question, signal).then((checked) => {
      checking = false;
      if (ended) return;
      watcher.report(checked);
      replan();
      heard();
    });
  }

  function heard(): void {
    if (queued) return;
    queued = true;
    queueMicrotask(tell);
  }

  function replan(): void {
    if (ended || patterns.some((pattern) => discovery.keys(pattern) === undefined)) return;
    planned = planOf(question);
    for (const part of planned.parts) {
      if (watched.has(part.id)) continue;
      watched.set(part.id, parts.add({ part, together, sleeping: () => watcher.sleeping(), heard }));
    }
    if (planned.parts.length === 0) heard();
  }

  const unwatches = patterns.map((pattern) => discovery.watch(pattern, replan));
  if (patterns.length === 0) replan();
  else {
    // A look that succeeds later tells so by itself.
    Promise.all(patterns.map((pattern) => discovery.found(pattern))).then(replan, (thrown: unknown) => {
      if (!ended) watcher.report(unknown(toQueueScalerError(thrown)));
    });
  }
  return () => {
    ended = true;
    for (const unwatch of [...unwatches, ...watched.values()]) unwatch();
  };
}
