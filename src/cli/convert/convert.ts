/**
 * Rewrites the triggers of a manifest text between KEDA's own scalers and this one, by the least change to the text. Pure; what it
 * cannot rewrite it leaves alone and says so.
 */
import { isMap, isScalar, type Node, type Pair, type YAMLMap } from 'yaml';
import { BUILT_IN } from '../check/builtInKeys.ts';
import { labelOf } from '../check/finding.ts';
import { recordsOf } from '../check/inventory.ts';
import { isRecord, parseObjects, textOf, type Path, type YamlObject } from '../yaml/objects.ts';
import { differencesOf } from './differences.ts';
import { applyEdits, endOfLine, lineEnd, lineStart, type Edit } from './edits.ts';
import { toBuiltIn, toOurs, type KeyChange } from './keys.ts';

export interface ConvertOptions {
  /** From this scaler to KEDA's own. */
  readonly back?: boolean;
  /** `host:port` of this scaler's Service, as KEDA reaches it. */
  readonly scalerAddress: string;
}

/** What was done about one trigger, or why nothing was. */
export interface Conversion {
  readonly file: string;
  readonly line: number;
  /** `ScaledObject default/orders trigger 0`. */
  readonly trigger: string;
  readonly converted: boolean;
  /** How it will behave differently, and what became of single keys. */
  readonly remarks: readonly string[];
}

export interface Converted {
  readonly text: string;
  readonly conversions: readonly Conversion[];
  /** The text is no YAML. */
  readonly faults: readonly string[];
}

export function convertText(file: string, text: string, options: ConvertOptions): Converted {
  const { objects, faults } = parseObjects(file, text);
  const edits: Edit[] = [];
  const conversions: Conversion[] = [];
  for (const object of objects) {
    if (object.kind !== 'ScaledObject' && object.kind !== 'ScaledJob') continue;
    const spec = object.data['spec'];
    for (const [index, trigger] of recordsOf(isRecord(spec) ? spec['triggers'] : undefined).entries()) {
      const conversion = convertTrigger({ object, text, trigger, path: ['spec', 'triggers', index], options, edits });
      if (conversion === undefined) continue;
      const { line } = object.positionOf(['spec', 'triggers', index, 'type']);
      conversions.push({ file, line, trigger: `${labelOf(object)} trigger ${index}`, ...conversion });
    }
  }
  return {
    text: applyEdits(text, edits),
    conversions,
    faults: faults.map(({ position, message }) => `${position.file}:${position.line}:${position.column}: ${message}`),
  };
}

interface Work {
  readonly object: YamlObject;
  readonly text: string;
  readonly trigger: Readonly<Record<string, unknown>>;
  readonly path: Path;
  readonly options: ConvertOptions;
  readonly edits: Edit[];
}

function convertTrigger(work: Work): { readonly converted: boolean; readonly remarks: readonly string[] } | undefined {
  const { object, trigger, path, options } = work;
  const written = textOf(trigger['type']);
  const metadata = isRecord(trigger['metadata']) ? trigger['metadata'] : {};
  const back = options.back === true;
  const type = back ? textOf(metadata['scaler']).trim() : written;
  if (BUILT_IN[type] === undefined || (back && written !== 'external' && written !== 'external-push')) return undefined;

  const typeNode = object.nodeAt([...path, 'type']);
  const map = object.nodeAt([...path, 'metadata']);
  if (!isScalar(typeNode) || !isMap(map) || map.items.length === 0) return untouched('its metadata is empty or no mapping');
  if (map.anchor !== undefined || hasAlias(work.text, map))
    return untouched('its metadata holds an anchor or an alias, which others may share');
  const values = Object.fromEntries(Object.entries(metadata).map(([key, value]) => [key, textOf(value)]));

  const edits: Edit[] = [];
  const remarks: string[] = [];
  for (const item of map.items) {
    const pair = item as Pair<Node, Node | null>;
    const key = isScalar(pair.key) ? String(pair.key.value) : '';
    const value = values[key] ?? '';
    const change =
      options.back === true ? toBuiltIn(type, key, value, (name) => isKeyOfKeda(type, name)) : toOurs(type, key, value);
    applyChange(change, pair, map, work.text, edits);
    if (change.kind !== 'keep' && change.why !== '')
      remarks.push(change.kind === 'change' && change.key !== key ? `${key} becomes ${change.key}: ${change.why}` : change.why);
  }
  const target = back ? type : object.kind === 'ScaledJob' ? 'external' : 'external-push';
  edits.push(replace(typeNode, target));
  if (!back) {
    edits.push(insertion(object, path, map, work.text, [`scalerAddress: ${options.scalerAddress}`, `scaler: ${type}`]));
    remarks.push(...differencesOf(type, values, values['host'], object.kind === 'ScaledJob'));
    if (isRecord(trigger['authenticationRef']))
      remarks.push('its TriggerAuthentication stays; this scaler reads it itself and must be allowed to');
  }
  work.edits.push(...edits);
  return { converted: true, remarks };
}

function untouched(why: string): { readonly converted: boolean; readonly remarks: readonly string[] } {
  return { converted: false, remarks: [`left alone: ${why}`] };
}

function isKeyOfKeda(type: string, key: string): boolean {
  const keys = BUILT_IN[type] ?? {};
  if (Object.hasOwn(keys, key)) return keys[key]?.includes('M') === true;
  return key.endsWith('FromEnv') && keys[key.slice(0, -'FromEnv'.length)]?.includes('E') === true;
}

function hasAlias(text: string, map: YAMLMap): boolean {
  return (
    map.items.some(({ value, key }) => isAliasNode(value) || isAliasNode(key)) ||
    (map.range !== undefined && map.range !== null && /^\s*<<:/m.test(text.slice(map.range[0], map.range[1])))
  );
}

function isAliasNode(node: unknown): boolean {
  return node !== null && typeof node === 'object' && 'source' in node && !isScalar(node);
}

function rangeOf(node: Node): readonly [number, number] {
  const [start, end] = node.range ?? [0, 0];
  return [start, end];
}

function replace(node: Node, text: string): Edit {
  const [start, end] = rangeOf(node);
  return { start, end, text };
}

function applyChange(change: KeyChange, pair: Pair<Node, Node | null>, map: YAMLMap, text: string, edits: Edit[]): void {
  if (change.kind === 'keep') return;
  const [keyStart, keyEnd] = rangeOf(pair.key);
  if (change.kind === 'change') {
    if (isScalar(pair.key) && pair.key.value !== change.key) edits.push({ start: keyStart, end: keyEnd, text: change.key });
    if (change.value !== undefined && pair.value !== null) edits.push(replace(pair.value, quoted(change.value)));
    return;
  }
  const dropped = change.why === '';
  const valueEnd = pair.value === null ? keyEnd : Math.max(keyEnd, rangeOf(pair.value)[1]);
  if (map.flow === true) {
    const index = map.items.indexOf(pair);
    const next = map.items[index + 1] as Pair<Node, Node | null> | undefined;
    const previous = map.items[index - 1] as Pair<Node, Node | null> | undefined;
    if (next !== undefined) edits.push({ start: keyStart, end: rangeOf(next.key)[0], text: '' });
    else
      edits.push({
        start: previous === undefined ? keyStart : rangeOf(previous.value ?? previous.key)[1],
        end: valueEnd,
        text: '',
      });
    return;
  }
  const first = lineStart(text, keyStart);
  // A value of several lines is set aside line by line. The scalar of a block ends behind its last line break.
  const last = lineEnd(text, Math.max(keyEnd, valueEnd - 1));
  if (dropped) {
    edits.push({ start: first, end: last, text: '' });
    return;
  }
  for (let at = first; at < last; at = lineEnd(text, at)) {
    const indent = at === first ? keyStart - first : 0;
    edits.push({ start: at + indent, end: at + indent, text: '# ' });
  }
}

/** Plain where YAML reads it back as the same text, single quotes elsewhere. */
function quoted(value: string): string {
  return /^[A-Za-z][\w.-]*$/.test(value) && !/^(?:true|false|null|yes|no|on|off|y|n)$/i.test(value)
    ? value
    : value === 'true' || value === 'false'
      ? `"${value}"`
      : `'${value.replaceAll("'", "''")}'`;
}

/** New entries in front of the others: on lines of their own right below `metadata:`, or inside the braces. */
function insertion(object: YamlObject, path: Path, map: YAMLMap, text: string, lines: readonly string[]): Edit {
  const first = (map.items[0] as Pair<Node, Node | null>).key;
  const [start] = rangeOf(first);
  if (map.flow === true) return { start, end: start, text: lines.map((line) => `${line}, `).join('') };
  const eol = endOfLine(text);
  const column = start - lineStart(text, start);
  const indent = ' '.repeat(column);
  const key = object.entryAt([...path, 'metadata'])?.key;
  const below = key === undefined ? start : lineEnd(text, rangeOf(key)[1]);
  // With the first entry on the line of something else there is no line to put the new ones on.
  if (below > lineStart(text, start)) return { start, end: start, text: lines.map((line) => `${line}${eol}${indent}`).join('') };
  return { start: below, end: below, text: lines.map((line) => `${indent}${line}${eol}`).join('') };
}
