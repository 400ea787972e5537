/**
 * Watches one question: its keys, those that come to match its patterns, and what the readings of them mean together. No
 * reading is put together from before and after a message moved.
 */
import { toQueueScalerError } from '../../../errors.ts';
import { unknown, type Reading } from '../../reading.ts';
import type { Watcher } from '../../contract.ts';
import type { Discovery } from '../read/discovery.ts';
import { patternsOf, type Plan } from '../read/plan.ts';
import type { KeyReadResult } from '../read/keyRead.ts';
import type { RedisQuestion } from '../question.ts';
import type { MoveGuard } from '../read/moveGuard.ts';
import type { AtomicGroup, KeyWatch } from './keyWatch.ts';

export interface QuestionWatch {
  readonly keyWatch: KeyWatch;
  readonly discovery: Discovery;
  readonly moveGuard: MoveGuard;
  readonly planOf: (question: RedisQuestion) => Plan;
  /** The reading that the results make; undefined while one is missing. */
  readonly answered: (
    question: RedisQuestion,
    plan: Plan,
    resultOf: (readId: string) => KeyReadResult | undefined,
  ) => Reading | undefined;
  /** Aborts what is under way when the client closes. */
  readonly signal: AbortSignal;
}

/** Reports the question's readings until the returned function is called. */
export function watchQuestion(
  { keyWatch, discovery, moveGuard, planOf, answered, signal }: QuestionWatch,
  question: RedisQuestion,
  watcher: Watcher,
): () => void {
  const patterns = patternsOf(question);
  // A message moves from one key to the other in one step: both are read at one moment.
  const moves = question.kind === 'keys' && question.processing.length > 0;
  const group: AtomicGroup | undefined = moves ? { due: new Set(), reading: 0 } : undefined;
  const watched = new Map<string, () => void>();
  let planned: Plan = { reads: [], roles: [] };
  let ended = false;
  let queued = false;
  let checking = false;

  function report(): void {
    queued = false;
    if (ended) return;
    const reading = answered(question, planned, (id) => keyWatch.result(id));
    if (reading === undefined || checking) return;
    if (!moveGuard.suspects(question, reading)) {
      watcher.report(reading);
      return;
    }
    checking = true;
    void moveGuard.read(question, signal).then((checked) => {
      checking = false;
      if (ended) return;
      watcher.report(checked);
      replan();
      resultArrived();
    });
  }

  function resultArrived(): void {
    if (queued) return;
    queued = true;
    queueMicrotask(report);
  }

  function replan(): void {
    if (ended || patterns.some((pattern) => discovery.keys(pattern) === undefined)) return;
    planned = planOf(question);
    for (const read of planned.reads) {
      if (watched.has(read.id)) continue;
      watched.set(read.id, keyWatch.add({ read, group, sleeping: () => watcher.sleeping(), resultArrived }));
    }
    if (planned.reads.length === 0) resultArrived();
  }

  const unwatches = patterns.map((pattern) => discovery.watch(pattern, replan));
  if (patterns.length === 0) replan();
  else {
    // A later scan that succeeds calls replan itself.
    Promise.all(patterns.map((pattern) => discovery.found(pattern))).then(replan, (thrown: unknown) => {
      if (!ended) watcher.report(unknown(toQueueScalerError(thrown)));
    });
  }
  return () => {
    ended = true;
    for (const unwatch of [...unwatches, ...watched.values()]) unwatch();
  };
}
