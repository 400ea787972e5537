/**
 * The triggers of the files as KEDA would forward them, and the formulas over them, with what the HPA would get to know. What a file
 * does not hold is looked up in a cluster if there is one, and variables in this process's environment.
 */
import { containerOf, environmentOf, valuesReader } from '../../auth/environment.ts';
import type { ObjectReader } from '../../auth/objectReader.ts';
import type { Container, ObjectOf, PodSpec, ScaledJob, ScaledObject, Trigger } from '../../auth/objects.ts';
import { readScaleTarget, targetReferenceOf, type ScaleTarget } from '../../auth/scaleTarget.ts';
import type { Manifests } from '../../auth/files.ts';
import { DEFAULT_MAX_REPLICAS, DEFAULT_MIN_REPLICAS, FROM_ENV, isExternal, isResource } from '../../keda.ts';
import { parseModifiers } from '../../local/keda/modifiers.ts';
import { strategyOf, type JobStrategy } from '../jobStrategy.ts';

/** The container that stands in for a workload that is neither in the files nor in a cluster. */
const STAND_IN = 'this process';

/** What has a metric, or would have one in a cluster. */
export interface Subject {
  /** Of the trigger, or `formula`. */
  readonly type: string;
  /** `ScaledObject shop/orders trigger 0`, or `… formula`. */
  readonly label: string;
  /** Of the ScaledObject or ScaledJob. */
  readonly object: string;
  readonly namespace: string;
  readonly name: string;
  /** Of the trigger; none of a formula. */
  readonly index: number | undefined;
  readonly metadata: Readonly<Record<string, string>>;
  /** Variables that nobody sets. */
  readonly unset: readonly string[];
  /** Whether the scale target's own template was read, so that KEDA leaves the keys of those out; else this process stood in for it. */
  readonly isTargetKnown: boolean;
  readonly targetType: 'AverageValue' | 'Value' | 'Utilization';
  /** Of a ScaledJob. */
  readonly strategy: JobStrategy | undefined;
  /** A formula decides, of which a trigger is a part at most. */
  readonly modifiers: ReturnType<typeof parseModifiers>;
  readonly minReplicas: number;
  readonly maxReplicas: number;
  /** Replicas of the workload, where its object is known. */
  readonly replicas: number | undefined;
}

/** Objects of the files first, then those of the cluster; a workload that neither has is one with this process's environment. */
export function layeredReader(
  manifests: Manifests,
  cluster: ObjectReader | undefined,
  environment: Readonly<Record<string, string | undefined>>,
): ObjectReader {
  const env = Object.entries(environment).flatMap(([name, value]) =>
    value === undefined ? [] : [{ name, value: value.replaceAll('$', '$$$$') }],
  );
  return {
    async get(kind, namespace, name, options) {
      const written = await manifests.reader.get(kind, namespace, name, options);
      if (written !== undefined) return written;
      if (cluster !== undefined) return cluster.get(kind, namespace, name, options);
      if (kind !== 'Deployment' && kind !== 'StatefulSet') return undefined;
      const stand: ObjectOf<'Deployment'> = {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name },
        spec: { template: { spec: { containers: [{ name: STAND_IN, env }] } } },
      };
      return stand as ObjectOf<typeof kind>;
    },
    async custom(target, namespace, options) {
      const written = await manifests.reader.custom?.(target, namespace, options);
      if (written !== undefined || cluster !== undefined) return written ?? cluster?.custom?.(target, namespace, options);
      return { spec: { template: { spec: { containers: [{ name: STAND_IN, env }] } } } };
    },
    ...(cluster?.serviceAccountToken === undefined ? {} : { serviceAccountToken: cluster.serviceAccountToken.bind(cluster) }),
    close: async () => {
      await cluster?.close();
    },
  };
}

/** Rejects with a `TriggerError` where a variable's source is missing. */
export async function subjectsOf(manifests: Manifests, reader: ObjectReader, signal: AbortSignal): Promise<Subject[]> {
  const subjects: Subject[] = [];
  for (const manifest of [...manifests.of('ScaledObject'), ...manifests.of('ScaledJob')]) {
    const { kind, namespace, name, object } = manifest;
    const target =
      kind === 'ScaledJob' ? undefined : await readScaleTarget(reader, targetReferenceOf(object), namespace, { signal });
    const container = containerFor(object, podOf(object, target));
    const label = `${kind} ${namespace}/${name}`;
    const modifiers = object.kind === 'ScaledObject' ? parseModifiers(object) : undefined;
    const common = {
      object: label,
      namespace,
      name,
      minReplicas: object.spec.minReplicaCount ?? DEFAULT_MIN_REPLICAS,
      maxReplicas: object.spec.maxReplicaCount ?? DEFAULT_MAX_REPLICAS,
      replicas: target?.replicas,
      isTargetKnown: container !== undefined && container.name !== STAND_IN,
      strategy: object.kind === 'ScaledJob' ? strategyOf(object.spec.scalingStrategy ?? {}) : undefined,
      modifiers,
    };
    for (const [index, trigger] of object.spec.triggers.entries()) {
      if (!isExternal(trigger.type) && trigger.type !== 'cron' && !isResource(trigger.type)) continue;
      subjects.push({
        ...common,
        ...(await forwarded(trigger, container, namespace, reader, signal)),
        type: trigger.type,
        label: `${label} trigger ${index}`,
        index,
        targetType:
          trigger.metricType === 'Value' || (isResource(trigger.type) && trigger.metricType === 'Utilization')
            ? trigger.metricType
            : 'AverageValue',
      });
    }
    if (modifiers !== undefined)
      subjects.push({
        ...common,
        type: 'formula',
        label: `${label} formula`,
        index: undefined,
        metadata: {},
        unset: [],
        targetType: 'formula' in modifiers ? modifiers.targetType : 'AverageValue',
      });
  }
  return subjects;
}

function podOf(object: ScaledObject | ScaledJob, target: ScaleTarget | undefined): PodSpec | undefined {
  return object.kind === 'ScaledJob' ? object.spec.jobTargetRef.template.spec : target?.pod;
}

function containerFor(object: ScaledObject | ScaledJob, pod: PodSpec | undefined): Container | undefined {
  if (pod === undefined || pod.containers[0]?.name === STAND_IN) return pod?.containers[0];
  if (object.kind === 'ScaledJob')
    return containerOf(pod, object.spec.envSourceContainerName, `ScaledJob ${object.metadata.name}`);
  const { kind, name } = targetReferenceOf(object);
  return containerOf(pod, object.spec.scaleTargetRef.envSourceContainerName, `${kind} ${name}`);
}

async function forwarded(
  { metadata }: Trigger,
  container: Container | undefined,
  namespace: string,
  reader: ObjectReader,
  signal: AbortSignal,
): Promise<Pick<Subject, 'metadata' | 'unset'>> {
  const read = valuesReader(reader, namespace, { signal });
  const environment = container === undefined ? undefined : environmentOf(container, `container ${container.name}`, read);
  const values: Record<string, string> = {};
  const unset: string[] = [];
  for (const [key, value] of Object.entries(metadata)) {
    if (!key.endsWith(FROM_ENV)) values[key] = value;
    else {
      const resolved = (await environment?.get(value)) ?? '';
      if (resolved === '') unset.push(value);
      else values[key] = resolved;
    }
  }
  return { metadata: values, unset };
}
