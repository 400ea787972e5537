/**
 * What was collected about one queue, as plain data, before it is interpreted.
 */
import type { QueueScalerError } from '../../../errors.ts';
import type { Declared } from '../amqp/declared.ts';
import type { ClusterState } from '../management/clusterState.ts';
import type { ListAnswer, QueueStats } from '../management/queueStats.ts';
import type { RabbitQuestion } from '../question.ts';
import type { Counted, QueueRecord } from './queueMemory.ts';

/** What the readers said about one queue. */
export interface Answers {
  readonly queue: string;
  readonly listed: ListAnswer;
  /** Undefined: not asked, or there is no AMQP. */
  readonly live: Declared | QueueScalerError | undefined;
}

/** All that is known about one queue before it is interpreted. An error stands where an answer could not be had. */
export interface Observation extends Answers {
  /** When the readers were asked and when the last of them had answered, in ms of `performance.now()`. */
  readonly askedAt: number;
  readonly at: number;
  /** As any reader reported it last. */
  readonly type: string | undefined;
  /** Kinds of reader that can report the messages of a queue of this type. */
  readonly available: number;
  readonly memory: QueueRecord;
  readonly cluster: ClusterState;
}

export function countedBy({ needs }: RabbitQuestion): Counted {
  return needs === 'ready' ? 'ready' : 'messages';
}

/** The figure that the question is about; NaN where it is absent. */
export function figureOf(question: RabbitQuestion, stats: QueueStats): number {
  return stats[countedBy(question)] ?? NaN;
}

/** Only the connection that the queue is exclusive to may ask the queue itself. */
export function isLocked(live: Answers['live']): boolean {
  return live instanceof Error && live.code === 'QUEUE_LOCKED';
}
