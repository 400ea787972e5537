/**
 * `spec.advanced.scalingModifiers` as KEDA takes it: one formula over the values of the named triggers, which then is the only metric and
 * alone says whether the object is active. KEDA compiles it with the names of all triggers but `cpu` and `memory`, whose values only the HPA
 * knows, and refuses any other word. https://keda.sh/docs/latest/reference/scaledobject-spec/#scalingmodifiersformula, https://expr-lang.org
 */
import { parseFormula } from '../../formula/formula.ts';
import { isResource } from '../../keda.ts';
import { nearestName } from '../../scalers/metadata.ts';
import { isRecord, textOf, type YamlObject } from '../../yaml/objects.ts';
import type { Report } from './finding.ts';
import { minReplicas, modifiersOf } from '../scaledBy.ts';
import { didYouMean } from './structure.ts';
import { keyPath, type TriggerLocation } from './triggerLocation.ts';

const PATH = ['spec', 'advanced', 'scalingModifiers'];

export function checkFormula(object: YamlObject, locations: readonly TriggerLocation[], report: Report): void {
  const modifiers = modifiersOf(object.spec);
  if (Object.keys(modifiers).length === 0) return;
  const formula = textOf(modifiers['formula']);
  if (formula === '') {
    report('bad-field', PATH, 'scalingModifiers must have a formula', { part: 'key' });
    return;
  }
  checkNumbers(object, modifiers, report);
  const triggers = locations.map((location) => ({ ...location, name: nameOf(location) }));
  const used = checkWords(formula, triggers, report);
  for (const location of triggers) {
    const { name, type, path } = location;
    if (isResource(type)) continue;
    if (name === '')
      report('outside-formula', path, 'a trigger without a name has no part in the formula, and no other effect beside it', {
        fix: `name: trigger${location.index}`,
      });
    else if (!used.has(name))
      report('outside-formula', [...path, 'name'], `${name} is not in the formula, and has no other effect beside it`);
    for (const [key, value] of Object.entries(location.metadata)) {
      if (/^activation/i.test(key) && Number(value) > 0)
        report('outside-formula', keyPath(location, key), `beside a formula activationTarget decides, and ${key} has no part`, {
          part: 'key',
          fix: `scalingModifiers.activationTarget: "${value}"`,
        });
    }
  }
}

type Named = TriggerLocation & { readonly name: string };

function nameOf({ object, index }: TriggerLocation): string {
  const trigger = Array.isArray(object.spec['triggers']) ? (object.spec['triggers'][index] as unknown) : undefined;
  return isRecord(trigger) ? textOf(trigger['name']) : '';
}

function checkNumbers(object: YamlObject, { target, activationTarget }: Readonly<Record<string, unknown>>, report: Report): void {
  const targetText = textOf(target);
  if (targetText === '') report('bad-field', PATH, 'scalingModifiers with a formula must have a target', { part: 'key' });
  else if (!(Number(targetText) > 0)) report('bad-field', [...PATH, 'target'], 'target must be a number above 0, in quotes');
  const activation = textOf(activationTarget);
  if (activation === '') return;
  if (Number.isNaN(Number(activation)))
    report('bad-field', [...PATH, 'activationTarget'], 'activationTarget must be a number, in quotes');
  else if (Number(activation) > 0 && minReplicas(object) === 0)
    report(
      'activation-high',
      [...PATH, 'activationTarget'],
      `while the formula gives no more than ${activation}, work waits for ever if there is no worker`,
      { fix: '"0"' },
    );
}

/** Reports what KEDA would refuse; gives the triggers that the formula uses. */
function checkWords(formula: string, triggers: readonly Named[], report: Report): ReadonlySet<string> {
  const used = new Set<string>();
  const path = [...PATH, 'formula'];
  let rest = formula;
  const dashed = triggers.map(({ name }) => name).filter((name) => name !== '' && !/^[A-Za-z_]\w*$/.test(name));
  for (const name of dashed.sort((left, right) => right.length - left.length)) {
    if (!rest.includes(name)) continue;
    used.add(name);
    // Numbers as long as the names, so that positions stay.
    rest = rest.replaceAll(name, '1.'.padEnd(name.length));
    report('trigger-name', path, `in a formula ${name} is no name: KEDA would read its signs as operators`, {
      fix: `call the trigger ${name.replaceAll(/\W/g, '_').replace(/^(?=\d)/, '_')}, here and there`,
    });
  }
  const known = triggers.filter(({ type, name }) => name !== '' && !isResource(type)).map(({ name }) => name);
  const parsed = parseFormula(rest);
  if ('fault' in parsed) {
    // Whatever more of Expr KEDA may know is its own to judge, and any trigger that is named may have a part in it.
    for (const name of known) if (parsed.fault.beyond && rest.includes(name)) used.add(name);
    if (!parsed.fault.beyond) report('bad-field', path, `KEDA cannot read the formula: ${parsed.fault.message}`);
    return parsed.fault.beyond ? used : new Set(triggers.map(({ name }) => name));
  }
  const { names, evaluate } = parsed.formula;
  const unknown = [...names].filter((name) => !known.includes(name));
  for (const name of names) used.add(name);
  for (const name of unknown) reportUnknown(name, known, triggers, report);
  if (unknown.length > 0) return used;
  // A fault that has nothing to do with the values is there for all of them.
  const [one, other] = [1.25, 7.5].map((start) => evaluate(new Map(known.map((name, index) => [name, start + index * start]))));
  if (one !== undefined && 'error' in one && other !== undefined && 'error' in other && one.error === other.error)
    report('bad-field', path, `KEDA cannot use the formula: ${one.error}`);
  return used;
}

function reportUnknown(word: string, known: readonly string[], triggers: readonly Named[], report: Report): void {
  const resource = triggers.find(({ name }) => name === word);
  if (resource !== undefined) {
    report('trigger-name', [...PATH, 'formula'], `${word} is a ${resource.type} trigger, whose value only the HPA knows`, {
      fix: 'leave it out: it scales beside the formula',
    });
    return;
  }
  const nearest = nearestName(word, known);
  report(
    'trigger-name',
    [...PATH, 'formula'],
    `no trigger is called ${word}${known.length === 0 ? ': give the triggers names' : didYouMean(nearest)}`,
    { fix: nearest },
  );
}
