/**
 * How fast the HPA may change a replica count: scaling policies, their defaults, and the limits that follow from recent changes.
 *
 * Source: "Configurable scaling behavior" of https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/
 */

export interface ScalingPolicy {
  readonly type: 'Pods' | 'Percent';
  readonly value: number;
  readonly periodSeconds: number;
}

/** The rules of one direction, complete. */
export interface ScalingRules {
  readonly stabilizationWindowSeconds: number;
  readonly selectPolicy: 'Max' | 'Min' | 'Disabled';
  /** At least one. */
  readonly policies: readonly ScalingPolicy[];
  readonly tolerance: number;
}

/** What a manifest says of one direction: any field may be missing. */
export type WrittenRules = { readonly [Field in keyof ScalingRules]?: ScalingRules[Field] | undefined };

/** `--horizontal-pod-autoscaler-tolerance` of kube-controller-manager. */
export const DEFAULT_TOLERANCE = 0.1;

/** Up: at once, by four pods or by doubling in 15 s, whichever is more. */
export const DEFAULT_SCALE_UP: ScalingRules = {
  stabilizationWindowSeconds: 0,
  selectPolicy: 'Max',
  policies: [
    { type: 'Pods', value: 4, periodSeconds: 15 },
    { type: 'Percent', value: 100, periodSeconds: 15 },
  ],
  tolerance: DEFAULT_TOLERANCE,
};

/** Down: to the highest count recommended within 300 s, then all at once. */
export const DEFAULT_SCALE_DOWN: ScalingRules = {
  stabilizationWindowSeconds: 300,
  selectPolicy: 'Max',
  policies: [{ type: 'Percent', value: 100, periodSeconds: 15 }],
  tolerance: DEFAULT_TOLERANCE,
};

/** Fills what a manifest leaves out. */
export function completeRules(written: WrittenRules | undefined, defaults: ScalingRules): ScalingRules {
  return {
    stabilizationWindowSeconds: written?.stabilizationWindowSeconds ?? defaults.stabilizationWindowSeconds,
    selectPolicy: written?.selectPolicy ?? defaults.selectPolicy,
    policies: written?.policies ?? defaults.policies,
    tolerance: written?.tolerance ?? defaults.tolerance,
  };
}

/** One change that the HPA made. */
export interface ScaleEvent {
  /** In ms, on the clock of the caller. */
  readonly at: number;
  /** Replicas added, or taken away if below zero. */
  readonly change: number;
}

/** The highest count that scaling up may reach now: each policy counts from the replicas at the start of its own period. */
export function scaleUpLimit(current: number, events: readonly ScaleEvent[], rules: ScalingRules, now: number): number {
  if (rules.selectPolicy === 'Disabled') return current;
  const limits = rules.policies.map((policy) => {
    const start = current - changeWithin(policy.periodSeconds, events, now);
    return policy.type === 'Pods' ? start + policy.value : Math.ceil(percentOf(start, 100 + policy.value));
  });
  const limit = rules.selectPolicy === 'Min' ? Math.min(...limits) : Math.max(...limits);
  return Math.max(limit, current);
}

/** The lowest count that scaling down may reach now. */
export function scaleDownLimit(current: number, events: readonly ScaleEvent[], rules: ScalingRules, now: number): number {
  if (rules.selectPolicy === 'Disabled') return current;
  const limits = rules.policies.map((policy) => {
    const start = current - changeWithin(policy.periodSeconds, events, now);
    return policy.type === 'Pods' ? start - policy.value : Math.trunc(percentOf(start, 100 - policy.value));
  });
  const limit = rules.selectPolicy === 'Min' ? Math.max(...limits) : Math.min(...limits);
  return Math.min(limit, current);
}

/** Changes that no policy of either direction looks back to any more are forgotten. */
export function recentEvents(events: readonly ScaleEvent[], rules: readonly ScalingRules[], now: number): readonly ScaleEvent[] {
  const longest = Math.max(...rules.flatMap(({ policies }) => policies.map(({ periodSeconds }) => periodSeconds)));
  return events.filter(({ at }) => at > now - longest * 1000);
}

function changeWithin(periodSeconds: number, events: readonly ScaleEvent[], now: number): number {
  const start = now - periodSeconds * 1000;
  return events.reduce((sum, { at, change }) => (at > start ? sum + change : sum), 0);
}

/** Multiplied before it is divided, so that whole results are exact. */
function percentOf(count: number, percent: number): number {
  return (count * percent) / 100;
}
