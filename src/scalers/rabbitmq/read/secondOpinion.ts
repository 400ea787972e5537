/**
 * Asks further readers about a queue where the first list lacks its figures, or says what another must agree on. What they say
 * never replaces a better first: a reader that lacks the figures as well, or fails, leaves them as they were.
 */
import { toQueueScalerError, type QueueScalerError } from '../../../errors.ts';
import { isCounted, isListed, type BulkReader, type ListAnswer, type Listed, type ListKind } from '../management/queueStats.ts';
import type { RabbitQuestion } from '../question.ts';

export interface OtherReaders {
  /** The queue as that reader has it; undefined if it has none of that name. */
  readonly listedBy: (reader: BulkReader, queue: string) => Promise<Listed | undefined>;
  /** Those that there are beside a list of that kind, the likeliest first. */
  readonly beside: (kind: ListKind) => readonly BulkReader[];
}

export type SecondOpinion = (question: RabbitQuestion, listed: ListAnswer, agree: boolean) => Promise<ListAnswer>;

/** With `agree` a figure that may be false needs another reader, as where there is no passive declare to have its say. */
export function createSecondOpinion({ listedBy, beside }: OtherReaders): SecondOpinion {
  return async (question, first, agree) => {
    if (!isListed(first) || isFinal(first)) return first;
    let best = first;
    let failure: QueueScalerError | undefined;
    for (const reader of beside(first.kind)) {
      if (isCounted(best.stats) && !(agree && isDoubtful(best))) break;
      let other: Listed | undefined;
      try {
        other = await listedBy(reader, first.stats.name);
      } catch (thrown) {
        failure ??= toQueueScalerError(thrown);
        continue;
      }
      if (other === undefined) continue;
      // Of two that lack the figures, the one that says why.
      if (!isCounted(best.stats)) best = isCounted(other.stats) || other.stats.error !== undefined ? other : best;
      else if (isContradicted(other)) return other;
      else if (!isCounted(other.stats)) continue;
      else if (other.stats.messages === best.stats.messages) return { ...best, agreed: other.kind };
      // Only the first has the rates, and what it says then stays in doubt.
      else if (question.needs !== 'rates') return other;
    }
    if (failure !== undefined && !isCounted(best.stats)) throw failure;
    // Where two nodes claim to lead a stream, its statistics add up what both say.
    return agree && isContradicted(first) && isDoubtful(best) ? first : best;
  };
}

/** The broker itself says that the queue is in trouble; of metrics that contradict each other another reader may know the truth. */
function isFinal({ stats, kind }: Listed): boolean {
  return stats.error !== undefined && kind !== 'prometheus';
}

/** Metrics of two nodes that claim to lead the queue. */
function isContradicted({ stats, kind }: Listed): boolean {
  return stats.error !== undefined && kind === 'prometheus';
}

/**
 * Any zero but that of a classic queue's own process, and a stream's statistics: for two minutes after it got another leader, as by
 * nothing more than a rebalancing, RabbitMQ 4.3 adds up what both leaders say.
 */
function isDoubtful({ stats, kind }: Listed): boolean {
  if (stats.type === 'stream' && kind === 'statistics') return true;
  return stats.messages === 0 && !(kind === 'totals' && stats.type === 'classic');
}
