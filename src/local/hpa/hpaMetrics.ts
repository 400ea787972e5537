/**
 * How many replicas external metrics ask for.
 *
 * Source: "Algorithm details" of https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/
 */

/** Replica counts are 32-bit integers in Kubernetes. */
const MAX_REPLICAS = 2_147_483_647;

/** How the HPA compares a metric with its target: per replica, or as a whole. */
export type MetricTargetType = 'AverageValue' | 'Value';

/** One external metric as the HPA got it, or the reason why it did not. Value and target in the metric's own unit. */
export interface ExternalMetric {
  readonly name: string;
  readonly targetType: MetricTargetType;
  /** Above zero. */
  readonly target: number;
  readonly result: { readonly value: number } | { readonly error: string };
}

/** The workload's replicas: as asked for, as existing (without those being stopped), and as ready. */
export interface ReplicaCounts {
  readonly wanted: number;
  readonly existing: number;
  readonly ready: number;
}

/** How far, as a fraction, the ratio of value to target may stray from 1 before anything is done. */
export interface Tolerance {
  readonly up: number;
  readonly down: number;
}

export type Proposal =
  | { readonly replicas: number; readonly because: string; readonly invalid?: string }
  /** Nothing may be done, for the given reason. */
  | { readonly replicas?: never; readonly because: string };

/**
 * The largest count that any metric asks for. Where some metrics are invalid, the others may still add replicas but not take any
 * away; where all are invalid, nothing is proposed.
 */
export function proposeReplicas(metrics: readonly ExternalMetric[], counts: ReplicaCounts, tolerance: Tolerance): Proposal {
  let best: { readonly replicas: number; readonly because: string } | undefined;
  const invalid: string[] = [];
  for (const metric of metrics) {
    const proposal = replicasFor(metric, counts, tolerance);
    if (proposal.replicas === undefined) invalid.push(proposal.because);
    else if (best === undefined || proposal.replicas > best.replicas) best = proposal;
  }
  if (best === undefined) return { because: invalid[0] ?? 'there is no metric' };
  if (invalid.length === 0) return best;
  const trouble = `${invalid.length} of ${metrics.length} metrics invalid: ${invalid[0] ?? ''}`;
  return best.replicas < counts.wanted ? { because: `not scaling down, ${trouble}` } : { ...best, invalid: trouble };
}

/**
 * One metric's proposal. `AverageValue`: ceil(value / target), and the existing count if value / (target × existing) is within
 * tolerance. `Value`: ceil(ready × value / target), and the wanted count if value / target is within tolerance.
 */
function replicasFor(metric: ExternalMetric, counts: ReplicaCounts, tolerance: Tolerance): Proposal {
  const { name, target, targetType, result } = metric;
  if ('error' in result) return { because: `${name}: ${result.error}` };
  const ratio = result.value / (targetType === 'Value' ? target : target * counts.existing);
  const kept = targetType === 'Value' ? counts.wanted : counts.existing;
  if (kept > 0 && 1 - tolerance.down <= ratio && ratio <= 1 + tolerance.up) {
    return { replicas: kept, because: `${name} is within tolerance of its target` };
  }
  if (targetType === 'Value' && counts.existing === 0) return { because: `${name}: no replica exists to compare with` };
  const exact = targetType === 'Value' ? ratio * counts.ready : result.value / target;
  const replicas = Math.min(MAX_REPLICAS, Math.ceil(exact));
  return {
    replicas,
    because: `${name} is ${result.value} for a target of ${target} ${targetType === 'Value' ? 'in all' : 'each'}`,
  };
}
