/**
 * `spec.advanced.scalingModifiers` as KEDA takes it: one formula over the values of the named triggers, which then is the only metric and
 * alone says whether the object is active. KEDA compiles it with the names of all triggers but `cpu` and `memory`, whose values only the HPA
 * knows, and refuses any other word. https://keda.sh/docs/latest/reference/scaledobject-spec/#scalingmodifiersformula, https://expr-lang.org
 */
import { nearestName } from '../../scalers/metadata.ts';
import { isRecord, textOf, type YamlObject } from '../../yaml/objects.ts';
import type { Report } from './finding.ts';
import { isResource } from './resourceTrigger.ts';
import { minReplicas, modifiersOf } from '../scaledBy.ts';
import { didYouMean } from './structure.ts';
import { keyPath, type TriggerLocation } from './triggerLocation.ts';

const PATH = ['spec', 'advanced', 'scalingModifiers'];
const KEYWORDS = /^(?:true|false|nil|and|or|not|in|let|if|else|matches|contains|startsWith|endsWith)$/;
const NAME = /[A-Za-z_]\w*/g;

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
  // Texts, and fields of what stands before a dot, are no names.
  let rest = formula.replaceAll(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`|\??\.\s*[A-Za-z_]\w*/g, ' ');
  const dashed = triggers.map(({ name }) => name).filter((name) => name !== '' && !/^[A-Za-z_]\w*$/.test(name));
  for (const name of dashed.sort((left, right) => right.length - left.length)) {
    if (!rest.includes(name)) continue;
    used.add(name);
    rest = rest.replaceAll(name, ' ');
    report('trigger-name', [...PATH, 'formula'], `in a formula ${name} is no name: KEDA would read its signs as operators`, {
      fix: `call the trigger ${name.replaceAll(/\W/g, '_').replace(/^(?=\d)/, '_')}, here and there`,
    });
  }
  const known = triggers.filter(({ type, name }) => name !== '' && !isResource(type)).map(({ name }) => name);
  const calls = new Set([...rest.matchAll(/([A-Za-z_]\w*)\s*\(/g)].map(([, word]) => word));
  const variables = new Set([...rest.matchAll(/\blet\s+([A-Za-z_]\w*)/g)].map(([, word]) => word));
  for (const word of new Set(rest.match(NAME))) {
    if (known.includes(word)) used.add(word);
    else if (!calls.has(word) && !variables.has(word) && !KEYWORDS.test(word)) reportUnknown(word, known, triggers, report);
  }
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
