/**
 * One sync of a HorizontalPodAutoscaler (autoscaling/v2) with external metrics, as a pure function: what was, what is measured and
 * the time go in; the replica count, the reason and what to remember come out.
 */
import { recentEvents, scaleDownLimit, scaleUpLimit, type ScaleEvent, type ScalingRules } from './behavior.ts';
import { proposeReplicas, type ExternalMetric, type ReplicaCounts } from './hpaMetrics.ts';
import { remember, stabilize, type Recommendation } from './stabilization.ts';

export interface HpaSpec {
  /** At least one: only KEDA scales to and from zero. */
  readonly minReplicas: number;
  readonly maxReplicas: number;
  readonly scaleUp: ScalingRules;
  readonly scaleDown: ScalingRules;
}

/** What one sync leaves to the next. */
export interface HpaState {
  readonly recommendations: readonly Recommendation[];
  readonly events: readonly ScaleEvent[];
}

export const INITIAL_HPA_STATE: HpaState = { recommendations: [], events: [] };

export interface HpaDecision {
  /** The count to have from now on; the wanted one where nothing changes. */
  readonly desired: number;
  /** What the metrics asked for, before windows, policies and bounds; absent where they were not looked at or failed. */
  readonly recommended?: number;
  readonly reason: string;
  readonly state: HpaState;
}

/** `now` in ms on any clock that only goes forward. */
export function syncHpa(
  spec: HpaSpec,
  state: HpaState,
  metrics: readonly ExternalMetric[],
  counts: ReplicaCounts,
  now: number,
): HpaDecision {
  const { minReplicas, maxReplicas, scaleUp, scaleDown } = spec;
  const current = counts.wanted;
  // The count that the HPA found at first is a recommendation too, so that a restart does not shrink a workload at once.
  const history = state.recommendations.length === 0 ? [{ at: now, replicas: current }] : state.recommendations;
  const events = recentEvents(state.events, [scaleUp, scaleDown], now);
  const unchanged = (reason: string): HpaDecision => ({
    desired: current,
    reason,
    state: { recommendations: history, events },
  });
  const changed = (desired: number, reason: string, recommendations = history): HpaDecision => ({
    desired,
    reason,
    state: { recommendations, events: desired === current ? events : [...events, { at: now, change: desired - current }] },
  });

  if (current === 0) return unchanged('the HPA rests at zero replicas');
  if (current > maxReplicas) return changed(maxReplicas, `${current} replicas are above maxReplicas`);
  if (current < minReplicas) return changed(minReplicas, `${current} replicas are below minReplicas`);

  const proposal = proposeReplicas(metrics, counts, { up: scaleUp.tolerance, down: scaleDown.tolerance });
  if (proposal.replicas === undefined) return unchanged(proposal.because);

  const recommended = proposal.replicas;
  const windows = {
    upSeconds: scaleUp.stabilizationWindowSeconds,
    downSeconds: scaleDown.stabilizationWindowSeconds,
  };
  const stable = stabilize(recommended, current, history, windows, now);
  const upLimit = Math.min(maxReplicas, scaleUpLimit(current, events, scaleUp, now));
  const downLimit = Math.max(minReplicas, scaleDownLimit(current, events, scaleDown, now));
  const desired = stable > current ? Math.min(stable, upLimit) : stable < current ? Math.max(stable, downLimit) : current;

  const reasons = [proposal.because];
  if (stable !== recommended) reasons.push(`stabilization window keeps ${stable} instead of ${recommended}`);
  if (desired !== stable) reasons.push(limitReason(spec, stable, desired));
  if (proposal.invalid !== undefined) reasons.push(proposal.invalid);
  return { recommended, ...changed(desired, reasons.join('; '), remember(recommended, history, windows, now)) };
}

function limitReason({ minReplicas, maxReplicas, scaleUp, scaleDown }: HpaSpec, stable: number, desired: number): string {
  if (desired < stable) {
    if (desired === maxReplicas) return `maxReplicas ${maxReplicas}`;
    return scaleUp.selectPolicy === 'Disabled' ? 'scaling up is disabled' : 'scaleUp policies allow no more now';
  }
  if (desired === minReplicas) return `minReplicas ${minReplicas}`;
  return scaleDown.selectPolicy === 'Disabled' ? 'scaling down is disabled' : 'scaleDown policies allow no fewer now';
}
