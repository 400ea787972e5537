/**
 * One ScaledObject as KEDA and the HPA run it, each by itself: polls, queries and pushes overlap as they do there, and an error of one
 * closes the scalers under another. Written from KEDA's documented behaviour and sharing no code with `queue-scaler local`.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { CACHE_CLOSED, type KedaClient, type MetricTarget, type TriggerSpec } from './client.ts';

export interface ScaledObjectOptions {
  readonly triggers: readonly TriggerSpec[];
  readonly pollingIntervalMs: number;
  readonly cooldownMs: number;
  readonly hpaSyncMs: number;
  /** When in each period a poll, and a query of the HPA, begins, in ms. */
  readonly phases: { readonly poll: number; readonly hpa: number };
  readonly maxReplicas: number;
  /** At the start. */
  readonly replicas: number;
}

export interface ScaleDecision {
  /** By `performance.now()`. */
  readonly at: number;
  readonly by: 'poll' | 'push' | 'hpa';
  readonly from: number;
  readonly to: number;
}

export interface ScaledObject {
  readonly name: string;
  readonly replicas: number;
  readonly decisions: readonly ScaleDecision[];
  /** Polls that found all triggers readable, some failing, and the cache closed. */
  readonly polls: { readonly good: number; readonly failing: number; readonly closed: number };
  /** Rejects if the double itself failed. */
  close(): Promise<void>;
}

export function runScaledObject(client: KedaClient, options: ScaledObjectOptions): ScaledObject {
  const { behaviour } = client;
  const triggers = options.triggers.map((spec) => client.trigger(spec));
  const ending = new AbortController();
  const decisions: ScaleDecision[] = [];
  const polls = { good: 0, failing: 0, closed: 0 };
  let replicas = options.replicas;
  let lastActiveAt: number | undefined;
  let cache = new AbortController();
  /** KEDA's lock of the object: a poll has it from its first call to its decision, a push waits for it. */
  let turn = Promise.resolve();

  const inTurn = (act: () => Promise<void> | void): Promise<void> => (turn = turn.then(act));

  function closeCache(): void {
    cache.abort(CACHE_CLOSED);
    cache = new AbortController();
  }

  function scale(by: ScaleDecision['by'], to: number): void {
    if (to === replicas) return;
    decisions.push({ at: performance.now(), by, from: replicas, to });
    replicas = to;
  }

  function decide(by: 'poll' | 'push', active: boolean, failing: boolean): void {
    const now = performance.now();
    if (active) {
      if (replicas === 0 || !failing) lastActiveAt = now;
      if (replicas === 0) scale(by, 1);
    } else if (!failing && (lastActiveAt === undefined || now - lastActiveAt >= options.cooldownMs)) {
      scale(by, 0);
    }
  }

  async function poll(): Promise<void> {
    const outcomes = await Promise.allSettled(triggers.map((trigger) => trigger.poll(cache.signal)));
    if (ending.signal.aborted) return;
    const reasons = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason as unknown] : []));
    const closed = reasons.filter((reason) => reason === CACHE_CLOSED).length;
    const failing = reasons.length > (behaviour.closedCacheIsInactive ? closed : 0);
    polls[closed > 0 ? 'closed' : failing ? 'failing' : 'good']++;
    if (reasons.length > closed) closeCache();
    decide(
      'poll',
      outcomes.some((outcome) => outcome.status === 'fulfilled' && outcome.value.active),
      failing,
    );
  }

  /** A failing query leaves the replicas as they are. */
  async function query(metrics: readonly (MetricTarget & { readonly index: number })[]): Promise<void> {
    if (replicas === 0) return;
    const { signal } = cache;
    try {
      let wanted = 1;
      for (const metric of metrics) {
        for (const trigger of triggers) await trigger.spec(signal);
        const answer = await triggers[metric.index]?.metric(metric, signal);
        wanted = Math.max(wanted, Math.ceil((answer?.value ?? 0) / metric.target));
      }
      if (replicas > 0) scale('hpa', Math.min(wanted, options.maxReplicas));
    } catch (thrown) {
      if (thrown !== CACHE_CLOSED) closeCache();
    }
  }

  /** Again and again until the scaler answers, as KEDA does. */
  async function reconcile(): Promise<(MetricTarget & { index: number })[]> {
    for (;;) {
      try {
        const specs = await Promise.all(triggers.map((trigger) => trigger.spec()));
        return specs.flatMap((metrics, index) => metrics.map((metric) => ({ ...metric, index })));
      } catch (thrown) {
        if (ending.signal.aborted) throw thrown;
        await delay(RECONCILE_MS, undefined, { signal: ending.signal });
      }
    }
  }

  async function run(): Promise<void> {
    const metrics = await reconcile();
    const streams = triggers
      .filter((_, index) => options.triggers[index]?.type === 'external-push')
      .map((trigger) =>
        trigger.push(1, (active) => {
          if (active)
            void inTurn(() => {
              decide('push', true, false);
            });
        }),
      );
    await Promise.all([
      every(options.pollingIntervalMs, options.phases.poll, () => inTurn(poll), ending.signal),
      every(options.hpaSyncMs, options.phases.hpa, () => query(metrics), ending.signal),
    ]);
    for (const stream of streams) stream.close();
  }

  const running = run();
  // Told when it is closed.
  running.catch(() => undefined);
  return {
    name: options.triggers[0]?.name ?? '',
    get replicas() {
      return replicas;
    },
    decisions,
    polls,
    async close() {
      ending.abort();
      await running;
    },
  };
}

/** A turn that would begin later in its period than this, as the process stood still, is left out. */
const LATE_START_MS = 200;
/** Between two tries to reconcile. */
const RECONCILE_MS = 500;

/**
 * At the phase of each period of the process's clock; a period that the task is still busy in is left out. KEDA and the HPA count from
 * the end of one turn to the next, so that their phases drift through each other: here they stay, and chance decides nothing.
 */
async function every(periodMs: number, phaseMs: number, task: () => Promise<void>, signal: AbortSignal): Promise<void> {
  const elapsedMs = (): number => (performance.now() - phaseMs) % periodMs;
  for (;;) {
    await delay(periodMs - elapsedMs(), undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
    if (elapsedMs() < LATE_START_MS) await task();
  }
}
