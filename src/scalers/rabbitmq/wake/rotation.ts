/**
 * Notices work in sleeping queues by passive declares, in turn and within the wake budget.
 */
import type { QueueScalerError } from '../../../errors.ts';
import { createRotation, type Polled } from '../../polling.ts';
import type { Declared } from '../amqp/declared.ts';

export interface Sleeper extends Polled {
  /** Hears how many messages wait, each time that there are any. */
  readonly onWork: (declared: Declared) => void;
}

export interface Waker {
  /** Watches a queue of a vhost until the returned function is called. */
  add(vhost: string, queue: string, sleeper: Sleeper): () => void;
  close(): void;
}

interface SleepingQueue extends Polled {
  readonly vhost: string;
  readonly queue: string;
  readonly sleepers: Set<Sleeper>;
}

export function createWaker(declare: (vhost: string, queue: string) => Promise<Declared | QueueScalerError>): Waker {
  const sleeping = new Map<string, SleepingQueue & { readonly leave: () => void }>();
  const rotation = createRotation<SleepingQueue>((batch, settle) => {
    for (const queue of batch)
      void declare(queue.vhost, queue.queue).then((answer) => {
        // A missing queue ends a channel at each declare.
        settle(queue, answer instanceof Error ? 'failed' : 0);
        if (answer instanceof Error || answer.ready === 0) return;
        for (const sleeper of [...queue.sleepers]) sleeper.onWork(answer);
      });
  });

  function follow(vhost: string, queue: string): SleepingQueue & { readonly leave: () => void } {
    const sleepers = new Set<Sleeper>();
    const followed = {
      vhost,
      queue,
      sleepers,
      get budget() {
        let most = 1;
        for (const { budget } of sleepers) most = Math.max(most, budget);
        return most;
      },
    };
    return Object.assign(followed, { leave: rotation.add(followed) });
  }

  return {
    add(vhost, queue, sleeper) {
      const key = `${vhost}\0${queue}`;
      let found = sleeping.get(key);
      if (found === undefined) sleeping.set(key, (found = follow(vhost, queue)));
      const { sleepers, leave } = found;
      sleepers.add(sleeper);
      return () => {
        if (!sleepers.delete(sleeper) || sleepers.size > 0) return;
        sleeping.delete(key);
        leave();
      };
    },
    close() {
      sleeping.clear();
      rotation.close();
    },
  };
}
