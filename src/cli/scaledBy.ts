/**
 * What a ScaledObject or ScaledJob makes of its triggers' metrics and activity, read from the object as it was written.
 */
import { DEFAULT_MIN_REPLICAS } from '../keda.ts';
import type { ScaledBy } from '../scalers/advice.ts';
import { recordIn, textOf, type YamlObject } from '../yaml/objects.ts';
import { inProgressFor, strategyOf } from './jobStrategy.ts';

type Spec = YamlObject['spec'];

export function scaledBy(object: YamlObject): ScaledBy {
  const { kind, spec } = object;
  const isJob = kind === 'ScaledJob';
  const scalesToZero = minReplicas(object) === 0 || (!isJob && spec['idleReplicaCount'] === 0);
  return {
    scalesToZero,
    stopsWorkers: scalesToZero && !isJob,
    hasFormula: formulaOf(spec) !== undefined,
    jobCount: isJob ? inProgressFor(strategyOf(recordIn(spec, 'scalingStrategy'))) : undefined,
    triggers: Array.isArray(spec['triggers']) ? spec['triggers'].length : 1,
  };
}

/** The least number of replicas. */
export function minReplicas({ spec }: YamlObject): number {
  return numberIn(spec, 'minReplicaCount') ?? DEFAULT_MIN_REPLICAS;
}

/** `spec.advanced.scalingModifiers`, empty where there are none. */
export function modifiersOf(spec: Spec): Readonly<Record<string, unknown>> {
  return recordIn(recordIn(spec, 'advanced'), 'scalingModifiers');
}

/** The same, where there is a formula, which then decides on metric and activity instead of the triggers. */
export function formulaOf(spec: Spec): Readonly<Record<string, unknown>> | undefined {
  const modifiers = modifiersOf(spec);
  return textOf(modifiers['formula']) === '' ? undefined : modifiers;
}

export function numberIn(record: Spec, key: string): number | undefined {
  const value = record[key];
  return typeof value === 'number' ? value : undefined;
}
