/**
 * What KEDA does to a workload after a poll or a push: from and to zero (or the idle count), and nothing between, which is the HPA's.
 * A pure function over time.
 *
 * Source: https://keda.sh/docs/latest/reference/scaledobject-spec/ and the behaviour of KEDA 2.20.
 */

export interface ScalingBounds {
  readonly minReplicas: number;
  /** The count while no trigger is active, where it is not to be `minReplicas`. */
  readonly idleReplicas?: number;
  readonly cooldownMs: number;
  readonly initialCooldownMs: number;
  /** `fallback.replicas`, if there is a fallback. */
  readonly fallbackReplicas?: number;
}

export interface ScalingState {
  /** When the ScaledObject came into being, in ms. */
  readonly createdAt: number;
  /** When it was last active; absent if never. */
  readonly lastActiveAt?: number;
}

/** What the triggers say together. */
export interface Activity {
  /** At least one trigger is active, or stands on its fallback. */
  readonly active: boolean;
  /** At least one trigger could not be read. */
  readonly failing: boolean;
}

export interface ScalingAction {
  /** The count to have from now on; absent where KEDA leaves the count alone. */
  readonly replicas?: number;
  readonly state: ScalingState;
  readonly reason: string;
}

/** `now` in ms on the clock of the state. */
export function scalingAction(
  bounds: ScalingBounds,
  state: ScalingState,
  { active, failing }: Activity,
  replicas: number,
  now: number,
): ScalingAction {
  const { minReplicas, idleReplicas, fallbackReplicas } = bounds;
  if (active) {
    if (replicas === 0 || (idleReplicas !== undefined && replicas < minReplicas)) {
      return { replicas: Math.max(1, minReplicas), state: { ...state, lastActiveAt: now }, reason: 'a trigger became active' };
    }
    if (failing) return { state, reason: 'active, but some triggers could not be read' };
    return { state: { ...state, lastActiveAt: now }, reason: 'active' };
  }
  if (failing && fallbackReplicas === undefined) return { state, reason: 'triggers could not be read: nothing is scaled' };
  if (failing && fallbackReplicas !== 0) return { state, reason: 'triggers could not be read: waiting for the fallback' };

  const rest = idleReplicas ?? minReplicas;
  if (idleReplicas !== undefined ? replicas > idleReplicas : replicas > 0 && minReplicas === 0) {
    const wait = cooldownLeft(bounds, state, now);
    return wait > 0
      ? { state, reason: `inactive: cooling down for another ${Math.ceil(wait / 1000)} s` }
      : { replicas: rest, state, reason: 'inactive for the cooldown period' };
  }
  if (replicas < minReplicas && idleReplicas === undefined) {
    return { replicas: minReplicas, state, reason: `${replicas} replicas are below minReplicaCount` };
  }
  return { state, reason: 'inactive' };
}

/** Ms until scaling to rest is due. Whoever was never active waits for the initial period only. */
function cooldownLeft({ cooldownMs, initialCooldownMs }: ScalingBounds, state: ScalingState, now: number): number {
  return state.lastActiveAt === undefined ? state.createdAt + initialCooldownMs - now : state.lastActiveAt + cooldownMs - now;
}
