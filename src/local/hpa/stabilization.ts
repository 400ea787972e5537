/**
 * Keeps a replica count from following every wave of its metric: of the recommendations within a window the safest one is taken.
 *
 * Source: "Stabilization window" of https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/
 */

/** What the metrics asked for at one time, before any limit. */
export interface Recommendation {
  /** In ms, on the clock of the caller. */
  readonly at: number;
  readonly replicas: number;
}

export interface StabilizationWindows {
  readonly upSeconds: number;
  readonly downSeconds: number;
}

/**
 * Scaling up goes to the lowest recommendation within the window for up, scaling down to the highest one within the window for
 * down; between the two the current count stays. The new recommendation always counts.
 */
export function stabilize(
  recommended: number,
  current: number,
  history: readonly Recommendation[],
  { upSeconds, downSeconds }: StabilizationWindows,
  now: number,
): number {
  let lowest = recommended;
  let highest = recommended;
  for (const { at, replicas } of history) {
    if (at > now - upSeconds * 1000) lowest = Math.min(lowest, replicas);
    if (at > now - downSeconds * 1000) highest = Math.max(highest, replicas);
  }
  if (current < lowest) return lowest;
  return Math.min(current, highest);
}

/** The history with the new recommendation and without those that neither window reaches any more. */
export function remember(
  recommended: number,
  history: readonly Recommendation[],
  { upSeconds, downSeconds }: StabilizationWindows,
  now: number,
): readonly Recommendation[] {
  const oldest = now - Math.max(upSeconds, downSeconds) * 1000;
  return [...history.filter(({ at }) => at > oldest), { at: now, replicas: recommended }];
}
