/**
 * `spec.advanced.scalingModifiers` as KEDA applies them: one formula over the values of the named triggers is the only metric, and says
 * alone whether the object is active. Pure.
 *
 * Source: https://keda.sh/docs/latest/reference/scaledobject-spec/#scalingmodifiers
 */
import type { ScaledObject } from '../../auth/objects.ts';
import { isResource } from '../../keda.ts';
import { parseFormula, type Formula } from '../../formula/formula.ts';
import type { MetricTargetType } from '../hpa/hpaMetrics.ts';

/** KEDA's name for the formula's value. */
export const COMPOSITE_METRIC = 'composite-metric';

export interface Modifiers {
  readonly text: string;
  readonly formula: Formula;
  readonly target: number;
  readonly targetType: MetricTargetType;
  readonly activationTarget: number;
  /** Names of the triggers whose values the formula may use, by their indices. */
  readonly names: ReadonlyMap<number, string>;
}

/** Where to, below `scalingModifiers`, and what is wrong there. */
export type ModifierFault = readonly [field: 'formula' | 'target' | 'activationTarget', message: string];

/** Undefined where there is no formula. */
export function parseModifiers({ spec }: ScaledObject): Modifiers | readonly ModifierFault[] | undefined {
  const {
    formula: text = '',
    target: targetText = '',
    activationTarget = '',
    metricType,
  } = spec.advanced?.scalingModifiers ?? {};
  if (text === '') return undefined;
  const faults: ModifierFault[] = [];
  const parsed = parseFormula(text);
  const names = new Map<number, string>();
  for (const [index, { name = '', type }] of spec.triggers.entries())
    if (name !== '' && !isResource(type)) names.set(index, name);
  if ('fault' in parsed) faults.push(['formula', parsed.fault.message]);
  else {
    const known = new Set(names.values());
    for (const name of parsed.formula.names)
      if (!known.has(name)) faults.push(['formula', `no trigger of which a formula may know the value is called ${name}`]);
  }
  const target = Number(targetText);
  if (!(target > 0)) faults.push(['target', 'must be a number above 0']);
  const activation = Number(activationTarget);
  if (Number.isNaN(activation)) faults.push(['activationTarget', 'must be a number']);
  if ('fault' in parsed || faults.length > 0) return faults;
  const targetType = metricType === 'Value' ? 'Value' : 'AverageValue';
  return { text, formula: parsed.formula, target, targetType, activationTarget: activation, names };
}

/** The metric by the values that are known, in thousandths as the HPA gets it, or why there is none. */
export function compose(
  { formula, activationTarget, names }: Modifiers,
  valueOf: (index: number) => number | undefined,
): { readonly value: number; readonly active: boolean } | { readonly error: string } {
  const values = new Map<string, number>();
  for (const [index, name] of names) {
    const value = valueOf(index);
    if (value === undefined) return { error: `the value of ${name} is unknown` };
    values.set(name, value);
  }
  const result = formula.evaluate(values);
  if ('error' in result) return result;
  const value = Math.trunc(result.value * 1000) / 1000;
  return { value, active: value > activationTarget };
}
