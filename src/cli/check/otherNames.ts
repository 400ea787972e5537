/**
 * What people write instead of a key or field because another version, another scaler or common sense calls it so; a nearest name by
 * spelling would miss these.
 */
import type { Advice, OtherName } from '../../scalers/advice.ts';
import type { Path } from '../../yaml/objects.ts';

/** Names that no scaler reads, in lower case. */
const OF_ANY_SCALER: Readonly<Record<string, OtherName>> = {
  metricname: { advice: 'leave it out: KEDA makes the name itself since 2.10' },
};

/** The right key for a name that a person may have from elsewhere. */
export function otherNameOfKey({ otherNames = {} }: Advice, key: string): OtherName | undefined {
  const word = key.toLowerCase();
  return [otherNames, OF_ANY_SCALER].find((names) => Object.hasOwn(names, word))?.[word];
}

const SCALED_OBJECT_ONLY: ReadonlySet<string> = new Set([
  'cooldownPeriod',
  'idleReplicaCount',
  'fallback',
  'advanced',
  'scaleTargetRef',
]);

/** What to do about a field of an object that stands in the wrong place or is called otherwise. */
export function otherNameOfField(kind: string, path: Path, field: string): string | undefined {
  const parent = path.at(-1);
  if (kind === 'ScaledJob' && path.length === 1 && SCALED_OBJECT_ONLY.has(field))
    return 'that is a field of ScaledObject, not of ScaledJob';
  if (
    kind === 'ScaledObject' &&
    path.length === 1 &&
    (field === 'jobTargetRef' || field === 'scalingStrategy' || field === 'rollout')
  )
    return 'that is a field of ScaledJob, not of ScaledObject';
  if (parent === 'scaleTargetRef' && (field === 'deploymentName' || field === 'containerName'))
    return field === 'deploymentName' ? 'write name, as since KEDA 2' : 'write envSourceContainerName, as since KEDA 2';
  if (path.length === 1 && field === 'behavior') return 'it belongs to spec.advanced.horizontalPodAutoscalerConfig';
  if (parent === 'advanced' && field === 'behavior') return 'it belongs to advanced.horizontalPodAutoscalerConfig';
  if (path.length === 1 && (field === 'minReplicas' || field === 'maxReplicas'))
    return `write ${field}Count`.replace('ReplicasCount', 'ReplicaCount');
  if (typeof parent === 'number' && path.at(-2) === 'triggers') {
    if (field === 'authRef' || field === 'auth') return 'write authenticationRef';
    if (field === 'pollingInterval' || field === 'cooldownPeriod') return 'it belongs to spec';
    if (field === 'triggerMetadata') return 'write metadata';
  }
  if (parent === 'metadata' && path.includes('triggers') && (field === 'authenticationRef' || field === 'metricType'))
    return 'it belongs beside metadata';
  return undefined;
}
