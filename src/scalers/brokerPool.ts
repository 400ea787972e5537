/**
 * One reading cache for each broker and set of credentials, whoever asks; made when first asked for and closed when idle.
 */
import type { BrokerEvents } from './brokerEvents.ts';
import { createReadingCache, type ReadingCache } from './readingCache.ts';
import type { Bound } from './contract.ts';

type Origin = Pick<Bound, 'broker' | 'open'>;

/** A client that nobody has used for this long is closed; above KEDA's usual polling intervals, so that it lives between polls. */
const IDLE_CLOSE_MS = 120_000;

export interface BrokerPool {
  of(origin: Origin): ReadingCache;
  /** The same trigger, with the broker's identity and opening that all its triggers share: ten thousand need no copy each. */
  shared(bound: Bound): Bound;
  /** The brokers that live now. */
  all(): readonly ReadingCache[];
  /** Closes all; the pool makes no new one afterwards. */
  close(): Promise<void>;
}

export function createBrokerPool(events: BrokerEvents, idleCloseMs = IDLE_CLOSE_MS): BrokerPool {
  const caches = new Map<string, { readonly cache: ReadingCache; readonly origin: Origin }>();
  const closings = new Set<Promise<void>>();
  const timer = setInterval(closeIdle, Math.max(50, idleCloseMs / 4));
  timer.unref();

  function closeIdle(): void {
    for (const [key, { cache }] of caches) {
      cache.prune();
      if (cache.idleMs() > idleCloseMs) {
        caches.delete(key);
        shut(cache);
      }
    }
  }

  function shut(cache: ReadingCache): void {
    const closing = cache.close().finally(() => closings.delete(closing));
    closings.add(closing);
  }

  function find({ broker, open }: Origin): { readonly cache: ReadingCache; readonly origin: Origin } {
    let found = caches.get(broker.key);
    if (found === undefined) {
      found = { cache: createReadingCache(broker, () => open(events), events), origin: { broker, open } };
      caches.set(broker.key, found);
    }
    return found;
  }

  return {
    of: (origin) => find(origin).cache,
    shared({ broker, open, question, decide }) {
      const { origin } = find({ broker, open });
      // In one go: of objects that are spread, V8 gives each a layout of its own, as large as the object.
      return { broker: origin.broker, open: origin.open, question, decide };
    },
    all: () => [...caches.values()].map(({ cache }) => cache),
    async close() {
      clearInterval(timer);
      for (const { cache } of caches.values()) shut(cache);
      await Promise.allSettled(closings);
    },
  };
}
