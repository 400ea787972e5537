/**
 * What KEDA reports for a metric that keeps failing, if the ScaledObject has a fallback. Pure.
 *
 * Source: https://keda.sh/docs/latest/reference/scaledobject-spec/#fallback
 */
import type { MetricTargetType } from '../hpa/hpaMetrics.ts';

export type FallbackBehavior = 'static' | 'currentReplicas' | 'currentReplicasIfHigher' | 'currentReplicasIfLower';

export interface Fallback {
  /** The failures in a row, of polls and HPA queries together, that are still reported as failures. */
  readonly failureThreshold: number;
  readonly replicas: number;
  readonly behavior: FallbackBehavior;
}

/**
 * The value that makes the HPA keep the fallback's count: target × replicas, divided by the ready replicas where the target is
 * for all replicas together. Undefined where it is not yet, or cannot be, used.
 */
export function fallbackValue(
  fallback: Fallback | undefined,
  failures: number,
  metric: { readonly targetType: MetricTargetType; readonly target: number },
  counts: { readonly wanted: number; readonly ready: number },
): number | undefined {
  if (fallback === undefined || failures <= fallback.failureThreshold) return undefined;
  const replicas = fallbackReplicas(fallback, counts.wanted);
  if (metric.targetType === 'AverageValue') return metric.target * replicas;
  return counts.ready === 0 ? undefined : (metric.target * replicas) / counts.ready;
}

function fallbackReplicas({ behavior, replicas }: Fallback, current: number): number {
  switch (behavior) {
    case 'static':
      return replicas;
    case 'currentReplicas':
      return current;
    case 'currentReplicasIfHigher':
      return Math.max(current, replicas);
    case 'currentReplicasIfLower':
      return Math.min(current, replicas);
  }
}
