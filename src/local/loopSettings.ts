/**
 * From a ScaledObject's spec to the settings of its loop, with KEDA's and the HPA's defaults; what cannot be honoured is a fault.
 */
import type { Behavior, ScaledObject } from '../auth/objects.ts';
import {
  DEFAULT_COOLDOWN_SECONDS,
  DEFAULT_MAX_REPLICAS,
  DEFAULT_MIN_REPLICAS,
  DEFAULT_POLLING_INTERVAL_SECONDS,
} from '../keda.ts';
import { completeRules, DEFAULT_SCALE_DOWN, DEFAULT_SCALE_UP, type ScalingRules } from './hpa/behavior.ts';
import type { Fallback } from './keda/fallback.ts';
import type { LoopSpec } from './keda/loop.ts';
import { parseModifiers, type Modifiers } from './keda/modifiers.ts';
import { KEDA_BEHAVIOURS, type KedaVersion } from './keda/versions.ts';

/** What the command line sets for all ScaledObjects: the HPA's as kube-controller-manager's flags do, and which KEDA it is. */
export interface ClusterSettings {
  readonly syncPeriodMs: number;
  readonly tolerance: number;
  readonly kedaVersion: KedaVersion;
}

/** Takes a fault of the field at that path. */
export type Blame = (path: readonly PropertyKey[], message: string) => void;

export function loopSpec(object: ScaledObject, settings: ClusterSettings, blame: Blame): LoopSpec {
  const { spec } = object;
  const { syncPeriodMs, tolerance, kedaVersion } = settings;
  const minReplicas = spec.minReplicaCount ?? DEFAULT_MIN_REPLICAS;
  const maxReplicas = spec.maxReplicaCount ?? DEFAULT_MAX_REPLICAS;
  if (minReplicas > maxReplicas) blame(['spec', 'minReplicaCount'], `is ${minReplicas}, above maxReplicaCount ${maxReplicas}`);
  const idle = spec.idleReplicaCount;
  if (idle !== undefined && idle >= minReplicas)
    blame(['spec', 'idleReplicaCount'], `is ${idle}, not below minReplicaCount ${minReplicas}`);
  const modifiers = modifiersFor(object, blame);
  const fallback = fallbackOf(spec.fallback, blame);
  const behavior = spec.advanced?.horizontalPodAutoscalerConfig?.behavior;
  return {
    pollingIntervalMs: (spec.pollingInterval ?? DEFAULT_POLLING_INTERVAL_SECONDS) * 1000,
    hpaSyncPeriodMs: syncPeriodMs,
    bounds: {
      minReplicas,
      ...(idle === undefined ? {} : { idleReplicas: idle }),
      cooldownMs: (spec.cooldownPeriod ?? DEFAULT_COOLDOWN_SECONDS) * 1000,
      initialCooldownMs: (spec.initialCooldownPeriod ?? 0) * 1000,
      ...(fallback === undefined ? {} : { fallbackReplicas: fallback.replicas }),
    },
    ...(fallback === undefined ? {} : { fallback }),
    ...(modifiers === undefined ? {} : { modifiers }),
    hpa: {
      minReplicas: Math.max(1, minReplicas),
      maxReplicas,
      scaleUp: rulesOf('scaleUp', behavior, { ...DEFAULT_SCALE_UP, tolerance }, blame),
      scaleDown: rulesOf('scaleDown', behavior, { ...DEFAULT_SCALE_DOWN, tolerance }, blame),
    },
    keda: KEDA_BEHAVIOURS[kedaVersion],
  };
}

function modifiersFor(object: ScaledObject, blame: Blame): Modifiers | undefined {
  const modifiers = parseModifiers(object);
  if (modifiers === undefined || 'formula' in modifiers) return modifiers;
  for (const [field, message] of modifiers) blame(['spec', 'advanced', 'scalingModifiers', field], message);
  return undefined;
}

function fallbackOf(written: ScaledObject['spec']['fallback'], blame: Blame): Fallback | undefined {
  if (written === undefined) return undefined;
  const { failureThreshold, replicas, behavior = '' } = written;
  if (behavior === 'scalingModifiers') {
    blame(['spec', 'fallback', 'behavior'], 'scalingModifiers is not supported here');
    return undefined;
  }
  return { failureThreshold, replicas, behavior: behavior === '' ? 'static' : behavior };
}

function rulesOf(
  direction: 'scaleUp' | 'scaleDown',
  behavior: Behavior | undefined,
  defaults: ScalingRules,
  blame: Blame,
): ScalingRules {
  const path = ['spec', 'advanced', 'horizontalPodAutoscalerConfig', 'behavior', direction];
  const written = behavior?.[direction];
  if (written?.policies?.length === 0) blame([...path, 'policies'], 'must have at least one policy');
  const tolerance = written?.tolerance === undefined ? undefined : fraction(String(written.tolerance));
  if (Number.isNaN(tolerance)) blame([...path, 'tolerance'], 'must be a fraction such as 0.05 or 50m');
  return completeRules({ ...written, tolerance }, defaults);
}

/** A Kubernetes quantity of at least zero, in units or thousandths; NaN if it is none. */
function fraction(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(m?)$/.exec(text);
  return match === null ? NaN : Number(match[1]) / (match[2] === 'm' ? 1000 : 1);
}
