/**
 * From manifests to what is to be run: each ScaledObject with its loop's settings, its triggers as KEDA forwards them, and its
 * worker. It must find all faults at once, and must never pass over a setting in silence.
 */
import type { ReadValues } from '../auth/environment.ts';
import { containerOf, environmentOf } from '../auth/environment.ts';
import type { Manifest, ManifestFault, Manifests } from '../auth/files.ts';
import { secretValues, type Behavior, type ScaledObject, type Trigger } from '../auth/objects.ts';
import { QueueScalerError } from '../errors.ts';
import { completeRules, DEFAULT_SCALE_DOWN, DEFAULT_SCALE_UP, type ScalingRules } from './hpa/behavior.ts';
import type { MetricTargetType } from './hpa/metrics.ts';
import type { Fallback } from './keda/fallback.ts';
import type { LoopSpec } from './keda/loop.ts';
import {
  DEFAULT_COOLDOWN_SECONDS,
  DEFAULT_MAX_REPLICAS,
  DEFAULT_MIN_REPLICAS,
  DEFAULT_POLLING_INTERVAL_SECONDS,
} from './keda/scaling.ts';
import { podTemplates } from './podTemplate.ts';
import { unhonouredFields } from './unhonoured.ts';
import type { PodTemplate } from './workers/pod.ts';

/** What the command line sets for all ScaledObjects, as kube-controller-manager's flags do. */
export interface HpaSettings {
  readonly syncPeriodMs: number;
  readonly tolerance: number;
}

export interface PlannedTrigger {
  readonly index: number;
  readonly type: 'external' | 'external-push';
  readonly targetType: MetricTargetType;
  readonly useCachedMetrics: boolean;
  /** As KEDA forwards it: `…FromEnv` keys hold the variable's value, or are gone where there is none. */
  readonly metadata: Readonly<Record<string, string>>;
}

export interface Workload {
  readonly namespace: string;
  /** Of the ScaledObject. */
  readonly name: string;
  readonly deployment: string;
  readonly initialReplicas: number;
  readonly loop: LoopSpec;
  /** True while the annotation `autoscaling.keda.sh/paused` or `…/paused-replicas` keeps KEDA away. */
  readonly paused: boolean;
  readonly triggers: readonly PlannedTrigger[];
  readonly template: (pod: string) => PodTemplate;
  readonly graceMs: number;
}

export interface Notice {
  readonly object: string;
  readonly message: string;
}

export interface Plan {
  readonly workloads: readonly Workload[];
  /** Where any is, nothing may be run. */
  readonly faults: readonly ManifestFault[];
  readonly notices: readonly Notice[];
}

type ScaledObjectManifest = Manifest<'ScaledObject'>;
type Blame = (path: readonly PropertyKey[], message: string) => void;

export async function planRun(manifests: Manifests, settings: HpaSettings): Promise<Plan> {
  const faults = [...manifests.faults];
  const notices: Notice[] = [];
  const workloads: Workload[] = [];
  const owners = new Map<string, string>();

  for (const manifest of manifests.of('ScaledObject')) {
    const object = `${manifest.namespace}/${manifest.name}`;
    const blame: Blame = (path, message) => {
      faults.push({ position: manifest.positionOf(path), object: `ScaledObject ${object}`, path, message });
    };
    const tell = (message: string): void => void notices.push({ object, message });
    const target = targetOf(manifest, manifests, blame);
    const loop = loopSpec(manifest.object, settings, blame);
    manifest.object.spec.triggers.forEach((trigger, index) => {
      checkTrigger(trigger, index, blame);
    });
    tellOfAnnotations(manifest.object, tell);
    tellOfSettings(manifest.object, tell);
    if (target === undefined) continue;

    const deployment = `${target.namespace}/${target.name}`;
    const owner = owners.get(deployment);
    if (owner !== undefined)
      blame(['spec', 'scaleTargetRef'], `Deployment ${deployment} is scaled by ScaledObject ${owner} already`);
    owners.set(deployment, object);

    const before = faults.length;
    const read = valuesReader(manifests, target.namespace);
    const pods = await attempt(
      () => podTemplates(target, read),
      (message) => {
        faults.push({
          position: target.positionOf(['spec', 'template', 'spec', 'containers']),
          object: `Deployment ${deployment}`,
          path: [],
          message,
        });
      },
    );
    const triggers = await attempt(
      () => forwardedTriggers(manifest.object, target, read),
      (message) => {
        blame(['spec', 'triggers'], message);
      },
    );
    if (pods === undefined || 'fault' in pods || triggers === undefined || faults.length > before) continue;

    const unhonoured = unhonouredFields(target.written);
    if (unhonoured.length > 0) tell(`no effect on this machine: ${unhonoured.join(', ')} of Deployment ${deployment}`);
    if (pods.unset.length > 0) tell(`not set on this machine: variables ${pods.unset.join(', ')} of Deployment ${deployment}`);
    const paused = pausedReplicas(manifest.object);
    const replicas = target.object.spec.replicas ?? 1;
    workloads.push({
      namespace: manifest.namespace,
      name: manifest.name,
      deployment: target.name,
      initialReplicas: paused?.replicas ?? replicas,
      paused: paused !== undefined,
      loop,
      triggers,
      template: pods.template,
      graceMs: pods.graceMs,
    });
  }

  for (const { namespace, name } of manifests.of('ScaledJob')) {
    notices.push({ object: `${namespace}/${name}`, message: 'is a ScaledJob, which is not run here' });
  }
  if (manifests.of('ScaledObject').length === 0) {
    faults.push({ position: { file: '(all files)', line: 1, column: 1 }, path: [], message: 'there is no ScaledObject to run' });
  }
  return { workloads, faults, notices };
}

/** Runs what may throw one of our errors or return a fault, and tells of it. */
async function attempt<T>(
  run: () => Promise<T | { readonly fault: string }>,
  tell: (message: string) => void,
): Promise<T | undefined> {
  try {
    const result = await run();
    if (result !== null && typeof result === 'object' && 'fault' in result) {
      tell(result.fault);
      return undefined;
    }
    return result;
  } catch (thrown) {
    if (!(thrown instanceof QueueScalerError)) throw thrown;
    tell(thrown.message);
    return undefined;
  }
}

function targetOf(
  { object, namespace }: ScaledObjectManifest,
  manifests: Manifests,
  blame: Blame,
): Manifest<'Deployment'> | undefined {
  const { kind = 'Deployment', name } = object.spec.scaleTargetRef;
  if (kind !== 'Deployment') {
    blame(['spec', 'scaleTargetRef', 'kind'], `is ${kind}: only a Deployment can be run here`);
    return undefined;
  }
  const target = manifests.of('Deployment').find((each) => each.namespace === namespace && each.name === name);
  if (target === undefined) blame(['spec', 'scaleTargetRef'], `Deployment ${namespace}/${name} is in none of the files`);
  return target;
}

function loopSpec({ spec }: ScaledObject, { syncPeriodMs, tolerance }: HpaSettings, blame: Blame): LoopSpec {
  const minReplicas = spec.minReplicaCount ?? DEFAULT_MIN_REPLICAS;
  const maxReplicas = spec.maxReplicaCount ?? DEFAULT_MAX_REPLICAS;
  if (minReplicas > maxReplicas) blame(['spec', 'minReplicaCount'], `is ${minReplicas}, above maxReplicaCount ${maxReplicas}`);
  const idle = spec.idleReplicaCount;
  if (idle !== undefined && idle >= minReplicas)
    blame(['spec', 'idleReplicaCount'], `is ${idle}, not below minReplicaCount ${minReplicas}`);
  if (spec.advanced?.scalingModifiers !== undefined) {
    blame(['spec', 'advanced', 'scalingModifiers'], 'is not supported here: formulas over metrics are evaluated by KEDA only');
  }
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
    hpa: {
      minReplicas: Math.max(1, minReplicas),
      maxReplicas,
      scaleUp: rulesOf('scaleUp', behavior, { ...DEFAULT_SCALE_UP, tolerance }, blame),
      scaleDown: rulesOf('scaleDown', behavior, { ...DEFAULT_SCALE_DOWN, tolerance }, blame),
    },
  };
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

function checkTrigger({ type, metadata, metricType }: Trigger, index: number, blame: Blame): void {
  const path = ['spec', 'triggers', index];
  if (type !== 'external' && type !== 'external-push') {
    blame(
      [...path, 'type'],
      `is ${type}, which KEDA itself would serve: only external and external-push triggers can be run here`,
    );
    return;
  }
  if ((metadata['scalerAddress'] ?? '').trim() === '') {
    blame([...path, 'metadata'], 'has no scalerAddress, without which KEDA refuses the trigger (here it is not connected to)');
  }
  if (metricType === 'Utilization') {
    blame([...path, 'metricType'], 'is Utilization, which external metrics cannot have: AverageValue or Value');
  }
}

async function forwardedTriggers(
  { spec }: ScaledObject,
  { object, namespace, name }: Manifest<'Deployment'>,
  read: ReadValues,
): Promise<readonly PlannedTrigger[]> {
  const target = `Deployment ${namespace}/${name}`;
  const container = containerOf(object.spec.template.spec, spec.scaleTargetRef.envSourceContainerName, target);
  const environment = container === undefined ? undefined : environmentOf(container, target, read);
  return Promise.all(
    spec.triggers.map(async ({ type, metadata, metricType, useCachedMetrics }, index): Promise<PlannedTrigger> => {
      const entries = await Promise.all(
        Object.entries(metadata).map(async ([key, value]) => {
          const forwarded = key.endsWith('FromEnv') ? ((await environment?.get(value)) ?? '') : value;
          return key.endsWith('FromEnv') && forwarded === '' ? [] : [[key, forwarded] as const];
        }),
      );
      return {
        index,
        type: type === 'external-push' ? type : 'external',
        targetType: metricType === 'Value' ? 'Value' : 'AverageValue',
        useCachedMetrics: useCachedMetrics === true,
        metadata: Object.fromEntries(entries.flat()),
      };
    }),
  );
}

function valuesReader({ reader }: Manifests, namespace: string): ReadValues {
  const options = { signal: new AbortController().signal };
  return async (kind, name) => {
    if (kind === 'ConfigMap') {
      const configMap = await reader.get('ConfigMap', namespace, name, options);
      return configMap === undefined ? undefined : (configMap.data ?? {});
    }
    const secret = await reader.get('Secret', namespace, name, options);
    return secret === undefined ? undefined : secretValues(secret);
  };
}

const ANNOTATION_PREFIX = 'autoscaling.keda.sh/';

function pausedReplicas({ metadata }: ScaledObject): { readonly replicas?: number } | undefined {
  const replicas = metadata.annotations?.[`${ANNOTATION_PREFIX}paused-replicas`];
  if (replicas !== undefined && /^\d+$/.test(replicas)) return { replicas: Number(replicas) };
  return metadata.annotations?.[`${ANNOTATION_PREFIX}paused`] === 'true' ? {} : undefined;
}

function tellOfAnnotations({ metadata }: ScaledObject, tell: (message: string) => void): void {
  const honoured = ['paused', 'paused-replicas'];
  for (const key of Object.keys(metadata.annotations ?? {})) {
    if (key.startsWith(ANNOTATION_PREFIX) && !honoured.includes(key.slice(ANNOTATION_PREFIX.length))) {
      tell(`no effect on this machine: annotation ${key}`);
    }
  }
}

function tellOfSettings({ spec }: ScaledObject, tell: (message: string) => void): void {
  const { advanced } = spec;
  if (advanced?.horizontalPodAutoscalerConfig?.name !== undefined) {
    tell('no effect on this machine: spec.advanced.horizontalPodAutoscalerConfig.name, as no HPA object is made');
  }
  if (advanced?.restoreToOriginalReplicaCount === true) {
    tell('no effect on this machine: spec.advanced.restoreToOriginalReplicaCount, as all workers end with the run');
  }
}
