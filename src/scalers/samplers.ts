/**
 * One sampler for each broker and set of credentials, whoever asks; made when first asked for and closed when idle.
 */
import type { SamplerEvents } from './events.ts';
import { createSampler, type Sampler } from './sampler.ts';
import type { Bound } from './scaler.ts';

/** A conversation that nobody has used for so long is closed; above KEDA's usual polling intervals, so that it lives between polls. */
export const IDLE_CLOSE_MS = 120_000;

export interface Samplers {
  of(bound: Pick<Bound, 'broker' | 'open'>): Sampler;
  /** The samplers that live now. */
  all(): readonly Sampler[];
  /** Closes all; the pool makes no new one afterwards. */
  close(): Promise<void>;
}

export function createSamplers(events: SamplerEvents, idleCloseMs = IDLE_CLOSE_MS): Samplers {
  const samplers = new Map<string, Sampler>();
  const closings = new Set<Promise<void>>();
  const timer = setInterval(closeIdle, Math.max(50, idleCloseMs / 4));
  timer.unref();

  function closeIdle(): void {
    for (const [key, sampler] of samplers) {
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

  return {
    of({ broker, open }) {
      let sampler = samplers.get(broker.key);
      if (sampler === undefined) {
        sampler = createSampler(broker, () => open(events), events);
        samplers.set(broker.key, sampler);
      }
      return sampler;
    },
    all: () => [...samplers.values()],
    async close() {
      clearInterval(timer);
      for (const sampler of samplers.values()) shut(sampler);
      await Promise.allSettled(closings);
    },
  };
}
