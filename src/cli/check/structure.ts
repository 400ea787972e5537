/**
 * Kinds, versions and fields of KEDA's objects, by the schemas that this program reads them with; and duplicates among objects.
 */
import { z } from 'zod';
import { nearestName } from '../../scalers/metadata.ts';
import { WRITTEN, type Kind } from '../../auth/objects.ts';
import type { Path, YamlObject } from '../../yaml/objects.ts';
import { labelOf, pathText, reportOn, type Finding, type Report } from './finding.ts';
import { otherNameOfField } from './otherNames.ts';

const KEDA_GROUP = 'keda.sh';
const KEDA_VERSION = 'keda.sh/v1alpha1';
const KEDA_KINDS = ['ScaledObject', 'ScaledJob', 'TriggerAuthentication', 'ClusterTriggerAuthentication'] as const;
/** Kinds of KEDA's groups that are none of our concern. */
const OTHER_KINDS: ReadonlySet<string> = new Set(['CloudEventSource', 'ClusterCloudEventSource', 'HTTPScaledObject']);
/** Kinds beside KEDA's that are read for what they hold. */
const BESIDE: ReadonlySet<string> = new Set(['Deployment', 'StatefulSet', 'Secret', 'ConfigMap']);

/** Whether the object is one that KEDA reads, or was meant to be. */
export function isKeda({ apiVersion, kind }: YamlObject): boolean {
  return /^keda\.(?:sh|k8s\.io)(?:\/|$)/.test(apiVersion) || (KEDA_KINDS as readonly string[]).includes(kind);
}

export function checkStructure(object: YamlObject, findings: Finding[]): void {
  const report = reportOn(object, findings);
  if (isKeda(object)) {
    if (!checkKind(object, report)) return;
  } else if (!BESIDE.has(object.kind)) return;
  const schema: z.ZodType = WRITTEN[object.kind as Kind];
  const result = schema.safeParse({ ...object.data, ...(isKeda(object) && { apiVersion: KEDA_VERSION }) });
  for (const issue of result.error?.issues ?? []) reportIssue(issue, object, schema, report);
}

function checkKind({ apiVersion, kind }: YamlObject, report: Report): boolean {
  if (OTHER_KINDS.has(kind)) return false;
  if (!(KEDA_KINDS as readonly string[]).includes(kind)) {
    const nearest = nearestName(kind, KEDA_KINDS);
    report('unknown-kind', ['kind'], `KEDA has no kind ${JSON.stringify(kind)}${didYouMean(nearest)}`, { fix: nearest });
    return false;
  }
  if (apiVersion !== KEDA_VERSION) {
    const group = apiVersion.split('/', 1)[0];
    const why = group === KEDA_GROUP ? 'that version does not exist' : 'that is not KEDA’s group since version 2';
    report('wrong-api-version', ['apiVersion'], `must be ${KEDA_VERSION}: ${why}`, { fix: KEDA_VERSION });
  }
  return true;
}

function reportIssue(issue: z.core.$ZodIssue, object: YamlObject, schema: z.ZodType, report: Report): void {
  const path = issue.path.map((step) => (typeof step === 'symbol' ? String(step) : step));
  if (issue.code === 'unrecognized_keys') {
    const fields = fieldsAt(schema, path);
    for (const key of issue.keys) {
      const other = otherNameOfField(object.kind, path, key);
      const nearest = other === undefined ? nearestName(key, fields) : undefined;
      const hint = other === undefined ? didYouMean(nearest) : `; ${other}`;
      const where = path.length === 0 ? object.kind : pathText(path);
      report('unknown-field', [...path, key], `${key} is not a field of ${where}${hint}`, { part: 'key', fix: nearest });
    }
    return;
  }
  // The rules about triggers report it: they know the keys.
  if (path[0] === 'spec' && path[1] === 'triggers' && path[3] === 'metadata' && path.length === 5) return;
  const value = at(object.data, path);
  if (value === undefined && path.length > 0) {
    const name = String(path.at(-1));
    const parent = path.slice(0, -1);
    report('bad-field', parent, `${pathText(parent) || object.kind} must have ${name}`, { part: 'key' });
    return;
  }
  report('bad-field', path, `${pathText(path) || object.kind}: ${messageOf(issue)}`, { fix: nearestOption(issue, value) });
}

function messageOf(issue: z.core.$ZodIssue): string {
  if (issue.code === 'invalid_type')
    return issue.message.startsWith('Invalid') ? `must be ${typeName(issue.expected)}` : issue.message;
  if (issue.code === 'invalid_value') return `must be one of ${issue.values.filter((value) => value !== '').join(', ')}`;
  return issue.message;
}

function typeName(expected: string): string {
  const words: Readonly<Record<string, string>> = {
    string: 'text: put it in quotes',
    object: 'a mapping',
    record: 'a mapping',
    array: 'a list: begin each item with "- "',
    int: 'a whole number',
    number: 'a number, without quotes',
    boolean: 'true or false, without quotes',
  };
  return words[expected] ?? `of type ${expected}`;
}

function nearestOption(issue: z.core.$ZodIssue, value: unknown): string | undefined {
  if (issue.code !== 'invalid_value' || typeof value !== 'string') return undefined;
  return nearestName(
    value,
    issue.values.filter((option) => typeof option === 'string'),
  );
}

function at(data: unknown, path: Path): unknown {
  return path.reduce<unknown>(
    (value, step) =>
      value !== null && typeof value === 'object' ? (value as Record<string | number, unknown>)[step] : undefined,
    data,
  );
}

/** Names of the fields that the schema has at a path. */
function fieldsAt(schema: z.ZodType, path: Path): readonly string[] {
  let current = unwrap(schema);
  for (const step of path) {
    if (current instanceof z.ZodObject) current = unwrap((current.shape as Record<string, z.ZodType>)[String(step)]);
    else if (current instanceof z.ZodArray) current = unwrap(current.element as z.ZodType);
    else return [];
  }
  return current instanceof z.ZodObject ? Object.keys(current.shape) : [];
}

function unwrap(schema: z.ZodType | undefined): z.ZodType | undefined {
  let current = schema;
  while (current instanceof z.ZodOptional || current instanceof z.ZodNullable) current = current.unwrap() as z.ZodType;
  return current;
}

export function didYouMean(nearest: string | undefined): string {
  return nearest === undefined ? '' : `; did you mean ${nearest}?`;
}

/** Objects that stand twice. */
export function checkDuplicates(objects: readonly YamlObject[], findings: Finding[]): void {
  const first = new Map<string, YamlObject>();
  for (const object of objects) {
    if (object.name === '') continue;
    const label = labelOf(object);
    const earlier = first.get(label);
    if (earlier === undefined) first.set(label, object);
    else {
      const { file, line } = earlier.start;
      reportOn(object, findings)(
        'duplicate-object',
        ['metadata', 'name'],
        `${label} stands a second time; the first is at ${file}:${line}`,
      );
    }
  }
}
