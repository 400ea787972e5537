/**
 * One ScaledObject as KEDA and the HPA run it: reconcile, polls, pushes and HPA syncs over time, each deciding by pure functions.
 *
 * The loop has KEDA's holes too (a metric whose GetMetricSpec fails escapes the fallback, one failing trigger spoils the others' HPA
 * queries, an error closes the scalers under a poll that is within them): it is a twin to test against, not an improvement.
 */
import { status } from '@grpc/grpc-js';
import type { LoopEvent, MetricReport, Scaler } from '../events.ts';
import { INITIAL_HPA_STATE, syncHpa, type HpaSpec, type HpaState } from '../hpa/hpa.ts';
import type { ExternalMetric } from '../hpa/hpaMetrics.ts';
import { pause, repeat } from '../repeat.ts';
import { fallbackValue, type Fallback } from './fallback.ts';
import { COMPOSITE_METRIC, compose, type Modifiers } from './modifiers.ts';
import { scalingAction, type Activity, type ScalingBounds, type ScalingState } from './scaling.ts';
import type { Answer, CallError, MetricReading, TriggerClient, TriggerMetric } from './triggerClient.ts';
import type { KedaBehaviour } from './versions.ts';

/** Waits between tries to reconcile: doubling from the first to the last. */
const RECONCILE_FIRST_MS = 500;
const RECONCILE_LAST_MS = 30_000;

/** The workload that is scaled. */
export interface ScaleTarget {
  /** Replicas as asked for. */
  readonly wanted: number;
  /** Replicas without those being stopped, and those of them that are running. */
  readonly existing: number;
  readonly ready: number;
  readonly stopping: number;
  scale(replicas: number): void;
}

export interface LoopSpec {
  readonly pollingIntervalMs: number;
  readonly hpaSyncPeriodMs: number;
  readonly bounds: ScalingBounds;
  readonly fallback?: Fallback;
  /** A formula in place of the triggers' own metrics and activity. */
  readonly modifiers?: Modifiers;
  readonly hpa: HpaSpec;
  readonly keda: KedaBehaviour;
}

export interface LoopOptions {
  readonly spec: LoopSpec;
  readonly triggers: readonly TriggerClient[];
  readonly target: ScaleTarget;
  readonly tell: (event: LoopEvent) => void;
  /** Ms on a clock that only goes forward. */
  readonly now: () => number;
}

/** A metric of the HPA, and the trigger behind it. */
interface LoopMetric extends TriggerMetric {
  readonly trigger: TriggerClient;
}

/** Runs until the signal aborts. Resolves earlier, with the reason, only where the scaler refuses every trigger for good. */
export async function runLoop(options: LoopOptions, signal: AbortSignal): Promise<string | undefined> {
  const { spec, triggers, target, tell, now } = options;
  const failures = new Map<string, number>();
  const polled = new Map<string, Answer<MetricReading>>();
  let scaling: ScalingState = { createdAt: now() };
  let hpaState: HpaState = INITIAL_HPA_STATE;
  /** KEDA's cache of this object's scalers. Polls and queries go by the one they began with. */
  let cache = new AbortController();

  const replicas = (): { replicas: number; ready: number; stopping: number } => ({
    replicas: target.wanted,
    ready: target.ready,
    stopping: target.stopping,
  });

  function scale(by: Scaler, desired: number, reason: string): void {
    const from = target.wanted;
    if (desired === from) return;
    tell({ event: 'scale', by, from, desired, reason, ...replicas(), replicas: desired });
    target.scale(desired);
  }

  function requestScale(activity: Activity): string {
    const action = scalingAction(spec.bounds, scaling, activity, target.wanted, now());
    scaling = action.state;
    if (action.replicas !== undefined) scale('keda', action.replicas, action.reason);
    return action.reason;
  }

  /** Closes the cache under whoever is within it; the next to ask gets a new one. */
  function closeCache(): void {
    cache.abort();
    cache = new AbortController();
  }

  function failed({ error, cacheClosed }: CallError): Pick<MetricReport, 'error' | 'cacheClosed'> {
    return cacheClosed === true && spec.keda.closedCacheIsInactive ? { error, cacheClosed } : { error };
  }

  /** Counts failures in a row, of polls and HPA queries alike, and puts the fallback in place of one too many. */
  function report({ name, target: metricTarget, trigger }: LoopMetric, answer: Answer<MetricReading>): MetricReport {
    const { targetType } = trigger;
    const base = { metric: name, target: metricTarget, targetType };
    if (answer.ok) {
      failures.set(name, 0);
      return { ...base, value: answer.value.value, active: answer.value.active };
    }
    const failure = failed(answer);
    if (failure.cacheClosed === true) return { ...base, ...failure };
    const count = (failures.get(name) ?? 0) + 1;
    failures.set(name, count);
    const value = fallbackValue(spec.fallback, count, base, target);
    return value === undefined ? { ...base, ...failure } : { ...base, ...failure, value, fallback: true };
  }

  /** The formula's value by the reports of the triggers; the fallback's where one of them stands on it. */
  function composite(modifiers: Modifiers, reports: readonly MetricReport[]): MetricReport {
    const { target: metricTarget, targetType } = modifiers;
    const base = { metric: COMPOSITE_METRIC, target: metricTarget, targetType };
    if (reports.some(({ fallback }) => fallback === true)) {
      const value = fallbackValue(spec.fallback, Infinity, base, target);
      return value === undefined
        ? { ...base, error: 'no replica is ready for the fallback' }
        : { ...base, value, fallback: true };
    }
    const failing = reports.find(({ error }) => error !== undefined);
    if (failing?.error !== undefined) {
      const { cacheClosed, error } = failing;
      return { ...base, error: `${failing.metric}: ${error}`, ...(cacheClosed === true ? { cacheClosed } : {}) };
    }
    const known = new Map(reports.map(({ metric, value }) => [indexOf(metric), value]));
    return { ...base, ...compose(modifiers, (index) => known.get(index)) };
  }

  /** What decides: the formula's value where there is a formula, else the triggers' own; and all that is told of. */
  function decisiveOf(reports: readonly MetricReport[]): Record<'decisive' | 'told', readonly MetricReport[]> {
    if (spec.modifiers === undefined) return { decisive: reports, told: reports };
    const value = composite(spec.modifiers, reports);
    return { decisive: [value], told: [...reports, value] };
  }

  async function pollTrigger(trigger: TriggerClient, scalers: AbortSignal): Promise<readonly MetricReport[]> {
    const specs = await trigger.metrics(signal, scalers);
    if (!specs.ok) return [{ metric: `s${trigger.index}`, target: 0, targetType: trigger.targetType, ...failed(specs) }];
    return Promise.all(
      specs.value.map(async (metric) => {
        const answer = await trigger.read(metric.name, signal, scalers);
        polled.set(metric.name, answer);
        return report({ ...metric, trigger }, answer);
      }),
    );
  }

  async function poll(): Promise<void> {
    const scalers = cache.signal;
    const reports = (await Promise.all(triggers.map((trigger) => pollTrigger(trigger, scalers)))).flat();
    if (signal.aborted) return;
    const { decisive, told: metrics } = decisiveOf(reports);
    const active = decisive.some((metric) => metric.active === true || metric.fallback === true);
    const failing = metrics.some(({ error, cacheClosed }) => error !== undefined && cacheClosed !== true);
    if (failing) closeCache();
    const reason = requestScale({ active, failing });
    tell({ event: 'poll', metrics, active, failing, reason, ...replicas() });
  }

  /** One metric as the HPA gets it through KEDA's metrics server, which asks all triggers for their specs first. */
  async function query(metric: LoopMetric): Promise<MetricReport> {
    const scalers = cache.signal;
    for (const trigger of triggers) {
      const specs = await trigger.metrics(signal, scalers);
      if (!specs.ok)
        return { metric: metric.name, target: metric.target, targetType: metric.trigger.targetType, ...failed(specs) };
    }
    const cached = metric.trigger.useCachedMetrics ? polled.get(metric.name) : undefined;
    return report(metric, cached ?? (await metric.trigger.read(metric.name, signal, scalers)));
  }

  async function sync(hpaMetrics: readonly LoopMetric[]): Promise<void> {
    const metrics: MetricReport[] = [];
    // At zero the HPA does not ask.
    if (target.wanted > 0) {
      for (const metric of hpaMetrics) {
        const report = await query(metric);
        if (report.error !== undefined && report.cacheClosed !== true) closeCache();
        metrics.push(report);
      }
    }
    if (signal.aborted || target.wanted === 0) return;
    const { decisive, told } = decisiveOf(metrics);
    const decision = syncHpa(spec.hpa, hpaState, decisive.map(toExternalMetric), target, now());
    hpaState = decision.state;
    const { desired, recommended, reason } = decision;
    scale('hpa', desired, reason);
    tell({ event: 'hpa', metrics: told, ...(recommended === undefined ? {} : { recommended }), desired, reason, ...replicas() });
  }

  function push(trigger: TriggerClient, active: boolean, hpaMetrics: readonly LoopMetric[]): void {
    const known = hpaMetrics.some((metric) => metric.trigger === trigger);
    const reason = !active
      ? 'ignored: KEDA scales down by polls only'
      : known
        ? requestScale({ active: true, failing: false })
        : 'ignored: the HPA has no metric of this trigger';
    tell({ event: 'push', trigger: trigger.index, active, reason, ...replicas() });
  }

  async function stream(trigger: TriggerClient, hpaMetrics: readonly LoopMetric[]): Promise<void> {
    await trigger.stream(
      {
        active: (active) => {
          push(trigger, active, hpaMetrics);
        },
        ended: (reason, retryMs) => {
          tell({
            event: 'notice',
            level: 'info',
            message: `StreamIsActive of trigger ${trigger.index}: ${reason}; again in ${retryMs} ms`,
          });
        },
      },
      signal,
    );
  }

  const reconciled = await reconcile(triggers, tell, signal);
  if ('refused' in reconciled) return reconciled.refused;
  const { metrics } = reconciled;
  await Promise.all([
    repeat(spec.pollingIntervalMs, poll, signal),
    repeat(spec.hpaSyncPeriodMs, () => sync(metrics), signal),
    ...triggers.filter(({ type }) => type === 'external-push').map((trigger) => stream(trigger, metrics)),
  ]);
  return undefined;
}

/** Before its loop runs, nobody else reads an object's scalers. */
const NEVER_CLOSED = new AbortController().signal;

/** The metrics of the HPA that KEDA makes: those of all triggers that answer GetMetricSpec, once at least one does. */
async function reconcile(
  triggers: readonly TriggerClient[],
  tell: LoopOptions['tell'],
  signal: AbortSignal,
): Promise<{ readonly metrics: readonly LoopMetric[] } | { readonly refused: string }> {
  for (let waitMs = RECONCILE_FIRST_MS; !signal.aborted; waitMs = Math.min(RECONCILE_LAST_MS, waitMs * 2)) {
    const metrics: LoopMetric[] = [];
    const refusals: string[] = [];
    for (const trigger of triggers) {
      const answer = await trigger.metrics(signal, NEVER_CLOSED);
      if (answer.ok) metrics.push(...answer.value.map((metric) => ({ ...metric, trigger })));
      else {
        const message = `trigger ${trigger.index}: ${answer.error}`;
        if (answer.status === status.INVALID_ARGUMENT) refusals.push(message);
        tell({ event: 'notice', level: 'error', message });
      }
    }
    if (metrics.length > 0) return { metrics };
    if (refusals.length === triggers.length) return { refused: refusals.join('\n') };
    await pause(waitMs, signal);
  }
  return { metrics: [] };
}

/** Of the trigger, by the prefix of its metric. */
function indexOf(metric: string): number {
  return Number(/^s(\d+)/.exec(metric)?.[1]);
}

function toExternalMetric({ metric, target, targetType, value, error }: MetricReport): ExternalMetric {
  return { name: metric, target, targetType, result: value === undefined ? { error: error ?? '' } : { value } };
}
