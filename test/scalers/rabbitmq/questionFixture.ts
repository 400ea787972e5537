/** A question as a trigger with the defaults asks it. */
import { createQuestion, type RabbitQuestion, type Selection } from '../../../src/scalers/rabbitmq/question.ts';

export function ask(selection: Selection, more: Partial<RabbitQuestion> = {}): RabbitQuestion {
  return createQuestion({
    ...{ vhost: '/', selection, operation: 'sum', needs: 'messages', missingIsZero: false, confirmZeroMs: 11_000 },
    ...{ rateWindowMs: 30_000, busyForMs: 600_000, wakeBudget: 1000, staleAfterMs: 15_000 },
    ...more,
  });
}
