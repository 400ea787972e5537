/**
 * Looks at watched queues by passive declares, in turn and within the wake budget: at those that sleep as often as it allows.
 */
import type { QueueScalerError } from '../../../errors.ts';
import { someSleep } from '../../contract.ts';
import { createRotation, type Polled } from '../../polling.ts';
import type { Declared } from '../amqp/declared.ts';

export interface DeclareWatcher extends Polled {
  /** Hears what each declare says. */
  readonly onDeclared: (declared: Declared) => void;
}

export interface DeclareRotation {
  /** Watches a queue of a vhost until the returned function is called. */
  add(vhost: string, queue: string, watcher: DeclareWatcher): () => void;
  close(): void;
}

interface WatchedQueue extends Polled {
  readonly vhost: string;
  readonly queue: string;
  readonly watchers: Set<DeclareWatcher>;
}

export function createDeclareRotation(
  declare: (vhost: string, queue: string) => Promise<Declared | QueueScalerError>,
): DeclareRotation {
  const watched = new Map<string, WatchedQueue & { readonly leave: () => void }>();
  const rotation = createRotation<WatchedQueue>((batch, settle) => {
    for (const queue of batch)
      void declare(queue.vhost, queue.queue).then((answer) => {
        if (!(answer instanceof Error)) for (const watcher of [...queue.watchers]) watcher.onDeclared(answer);
        // A missing queue ends a channel at each declare.
        settle(queue, !(answer instanceof Error));
      });
  });

  function follow(vhost: string, queue: string): WatchedQueue & { readonly leave: () => void } {
    const watchers = new Set<DeclareWatcher>();
    const followed = {
      vhost,
      queue,
      watchers,
      get budget() {
        let most = 1;
        for (const { budget } of watchers) most = Math.max(most, budget);
        return most;
      },
      sleeping: () => someSleep(watchers),
    };
    return Object.assign(followed, { leave: rotation.add(followed) });
  }

  return {
    add(vhost, queue, watcher) {
      const key = `${vhost}\0${queue}`;
      let found = watched.get(key);
      if (found === undefined) watched.set(key, (found = follow(vhost, queue)));
      const { watchers, leave } = found;
      watchers.add(watcher);
      return () => {
        if (!watchers.delete(watcher) || watchers.size > 0) return;
        watched.delete(key);
        leave();
      };
    },
    close() {
      watched.clear();
      rotation.close();
    },
  };
}
