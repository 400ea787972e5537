/**
 * One sampler for each broker and set of credentials, whoever asks; made when first asked for and closed when idle.
 */
import type { SamplerEvents } from './brokerEvents.ts';
import { createSampler, type Sampler } from './readingCache.ts';
import type { Bound } from './contract.ts';

type Origin = Pick<Bound, 'broker' | 'open'>;

/** A conversation that nobody has used for so long is closed; above KEDA's usual polling intervals, so that it lives between polls. */
export const IDLE_CLOSE_MS = 120_000;

export interface Samplers {
  of(origin: Origin): Sampler;
  /** The same trigger, with the broker's identity and opening that all its triggers share: ten thousand need no copy each. */
  shared(bound: Bound): Bound;
  /** The samplers that live now. */
  all(): readonly Sampler[];
  /** Closes all; the pool makes no new one afterwards. */
  close(): Promise<void>;
}

export function createSamplers(events: SamplerEvents, idleCloseMs = IDLE_CLOSE_MS): Samplers {
  const samplers = new Map<string, { readonly sampler: Sampler; readonly origin: Origin }>();
  const closings = new Set<Promise<void>>();
  const timer = setInterval(closeIdle, Math.max(50, idleCloseMs / 4));
  timer.unref();

  function closeIdle(): void {
    for (const [key, { sampler }] of samplers) {
      sampler.prune();
      if (sampler.idleMs() > idleCloseMs) {
        samplers.delete(key);
        shut(sampler);
      }
    }
  }

  function shut(sampler: Sampler): void {
    const closing = sampler.close().finally(() => closings.delete(closing));
    closings.add(closing);
  }

  function find({ broker, open }: Origin): { readonly sampler: Sampler; readonly origin: Origin } {
    let found = samplers.get(broker.key);
    if (found === undefined) {
      found = { sampler: createSampler(broker, () => open(events), events), origin: { broker, open } };
      samplers.set(broker.key, found);
    }
    return found;
  }

  return {
    of: (origin) => find(origin).sampler,
    shared: (bound) => ({ ...bound, ...find(bound).origin }),
    all: () => [...samplers.values()].map(({ sampler }) => sampler),
    async close() {
      clearInterval(timer);
      for (const { sampler } of samplers.values()) shut(sampler);
      await Promise.allSettled(closings);
    },
  };
}
