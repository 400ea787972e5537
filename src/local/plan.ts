/**
 * From manifests to what is to be run: each ScaledObject with its loop's settings, its triggers as KEDA forwards them, and its worker.
 */
import { valuesReader } from '../auth/environment.ts';
import type { Manifest, ManifestFault, Manifests } from '../auth/files.ts';
import type { ScaledObject } from '../auth/objects.ts';
import { isQueueScalerError } from '../errors.ts';
import { isResource } from '../keda.ts';
import { checkTrigger, forwardedTriggers, type PlannedTrigger } from './forwardedTriggers.ts';
import type { LoopSpec } from './keda/loop.ts';
import { loopSpec, type Blame, type ClusterSettings } from './loopSettings.ts';
import { podTemplates } from './podTemplate.ts';
import { unhonouredFields } from './unhonoured.ts';
import type { PodTemplate } from './workers/pod.ts';

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
export async function planRun(manifests: Manifests, settings: ClusterSettings): Promise<Plan> {
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
    const { triggers: written } = manifest.object.spec;
    const resources = written.flatMap(({ type }, index) => (isResource(type) ? [`trigger ${index} (${type})`] : []));
    if (resources.length === written.length)
      blame(['spec', 'triggers'], 'are of types cpu and memory only, whose metrics only a cluster knows');
    else if (resources.length > 0) tell(`no effect on this machine: ${resources.join(', ')}, as only a cluster knows its metric`);
    tellOfAnnotations(manifest.object, tell);
    tellOfSettings(manifest.object, tell);
    if (target === undefined) continue;

    const deployment = `${target.namespace}/${target.name}`;
    const owner = owners.get(deployment);
    if (owner !== undefined)
      blame(['spec', 'scaleTargetRef'], `Deployment ${deployment} is scaled by ScaledObject ${owner} already`);
    owners.set(deployment, object);

    const before = faults.length;
    const read = valuesReader(manifests.reader, target.namespace, { signal: new AbortController().signal });
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
  if (faults.length === 0 && workloads.length === 0) {
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
    if (!isQueueScalerError(thrown)) throw thrown;
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
