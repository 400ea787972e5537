/**
 * By AMQP alone nobody tells how many messages consumers hold. A queue with consumers then counts as busy until a bounded time
 * after messages last waited in it; for ever would keep idle workers alive, and not at all would kill busy ones.
 */
import type { Measures } from '../measures.ts';
import type { Declared } from '../amqp/channels.ts';

export interface StandIn {
  seen(queue: string, declared: Declared): void;
  measures(queue: string, declared: Declared, busyForMs: number): Measures;
}

export function createStandIn(): StandIn {
  /** When messages last waited; a queue never seen before may have had some just now. */
  const workAt = new Map<string, number>();

  return {
    seen(queue, { ready, at }) {
      if (ready > 0 || !workAt.has(queue)) workAt.set(queue, at);
    },
    measures(queue, { ready, consumers, at }, busyForMs) {
      // Nobody is there to hold a message.
      if (consumers === 0) return { ready, consumers, unacknowledged: 0, messages: ready };
      const idleMs = at - (workAt.get(queue) ?? at);
      return { ready, consumers, mayBeBusy: idleMs < busyForMs ? consumers : 0 };
    },
  };
}
