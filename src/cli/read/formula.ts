/**
 * The value of a formula for a person: what it was made of, and what KEDA makes of it.
 */
import { TriggerError } from '../../errors.ts';
import { COMPOSITE_METRIC, compose } from '../../local/keda/modifiers.ts';
import { explainComputed, explainError, type Explanation } from '../../scalers/explanation.ts';
import type { Subject } from './subjects.ts';

/** By the explanations of the triggers of the same object, by their indices. */
export function explainFormula({ modifiers }: Subject, triggers: ReadonlyMap<number, Explanation>): Explanation {
  const name = COMPOSITE_METRIC;
  if (modifiers === undefined || !('formula' in modifiers)) {
    const faults = (modifiers ?? []).map(([field, message]) => `${field} ${message}`);
    return explainError({ name, target: 0 }, new TriggerError('INVALID_TRIGGER', `scalingModifiers: ${faults.join('; ')}`));
  }
  const { target, activationTarget, text, names, formula } = modifiers;
  const metric = { name, target };
  const valueOf = (index: number): number | undefined => triggers.get(index)?.reading?.value;
  const result = compose(modifiers, valueOf);
  if ('error' in result) {
    const unknown = [...names.keys()].find((index) => valueOf(index) === undefined);
    const trouble = unknown === undefined ? undefined : triggers.get(unknown)?.trouble;
    if (trouble !== undefined) return { metric, trouble: { ...trouble, message: `${result.error}: ${trouble.message}` } };
    return explainError(metric, new TriggerError('INVALID_TRIGGER', `scalingModifiers.formula: ${result.error}`));
  }
  const { value, active } = result;
  const used = [...names].filter(([, trigger]) => formula.names.has(trigger));
  const is = active ? 'active' : 'not active';
  return explainComputed(metric, 'formula', {
    value,
    active,
    because: [
      ...used.map(([index, trigger]) => `${trigger} is ${valueOf(index)}`),
      `${text.trim()} = ${value}`,
      `${is}: ${value} ${active ? '>' : '≤'} activationTarget ${activationTarget}`,
    ],
  });
}
