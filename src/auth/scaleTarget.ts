/**
 * What a ScaledObject scales: a Deployment, a StatefulSet, or an object of any other kind, whose pod template KEDA takes from
 * `spec.template` as well.
 */
import { TriggerError } from '../errors.ts';
import type { ObjectReader, ReadOptions, TargetReference } from './objectReader.ts';
import { SCALE_TARGET, type PodSpec, type ScaledObject } from './objects.ts';

export interface ScaleTarget {
  readonly replicas: number | undefined;
  /** Undefined where the object has no pod template: KEDA then resolves no variable. */
  readonly pod: PodSpec | undefined;
}

/** With what KEDA takes where the reference does not say. */
export function targetReferenceOf({ spec }: ScaledObject): TargetReference {
  const { apiVersion = '', kind = '', name } = spec.scaleTargetRef;
  return {
    apiVersion: apiVersion === '' ? 'apps/v1' : apiVersion,
    kind: kind === '' ? 'Deployment' : kind,
    name,
  };
}

/** Undefined where there is certainly none; rejects with a {@link TriggerError} where it could not be read. */
export async function readScaleTarget(
  reader: ObjectReader,
  target: TargetReference,
  namespace: string,
  options: ReadOptions,
): Promise<ScaleTarget | undefined> {
  const { apiVersion, kind, name } = target;
  if (apiVersion.startsWith('apps/') && (kind === 'Deployment' || kind === 'StatefulSet')) {
    const found = await reader.get(kind, namespace, name, options);
    return found && { replicas: found.spec.replicas, pod: found.spec.template.spec };
  }
  const found = await reader.custom?.(target, namespace, options);
  if (found === undefined) return undefined;
  const parsed = SCALE_TARGET.safeParse(found);
  if (!parsed.success) {
    const issues = parsed.error.issues.slice(0, 5).map(({ path, message }) => `${path.join('.')} ${message}`);
    throw new TriggerError('AUTHENTICATION_UNRESOLVED', `${kind} ${namespace}/${name} cannot be used: ${issues.join('; ')}`);
  }
  const { spec } = parsed.data;
  return { replicas: spec?.replicas, pod: spec?.template?.spec };
}
