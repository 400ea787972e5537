/**
 * Rewrites the triggers of a manifest text between KEDA's own scalers and this one, by the least change to the text. Pure; what it
 * cannot rewrite it leaves alone and says so.
 */
import { isAlias, isMap, isScalar, type Node, type Pair } from 'yaml';
import { isExternal } from '../../keda.ts';
import { SCALER_KEY } from '../../scalers/metadata.ts';
import { labelOf } from '../check/finding.ts';
import { recordsOf } from '../check/inventory.ts';
import type { KnownScaler } from '../knownScalers.ts';
import { scaledBy } from '../scaledBy.ts';
import { isMerge, isRecord, parseObjects, recordIn, textOf, type Path, type YamlObject } from '../../yaml/objects.ts';
import { applyEdits, type Edit } from './edits.ts';
import { toBuiltIn, toExternal, type EntryChange } from './keys.ts';
import { applyChange, insertion, replace, spelled, takenUp } from './rewrite.ts';

/** What begins the comment that a key becomes which only the other side knows; the way back takes it up by these words. */
const IGNORED = '# ignored by KEDA: ';
const EXTERNAL_ONLY = '# for keda-queue-scaler only: ';

export interface ConvertOptions {
  /** From this scaler to KEDA's own. */
  readonly back?: boolean;
  /** `host:port` of this scaler's Service, as KEDA reaches it. */
  readonly scalerAddress: string;
  readonly scalers: readonly KnownScaler[];
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
    for (const [index, trigger] of recordsOf(object.spec['triggers']).entries()) {
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
  const metadata = recordIn(trigger, 'metadata');
  const back = options.back === true;
  const type = back ? textOf(metadata[SCALER_KEY]).trim() : written;
  const known = options.scalers.find(({ scaler }) => scaler.type === type);
  if (known === undefined || (back && !isExternal(written))) return undefined;

  const by = scaledBy(object);
  const jobWantsActive = by.jobCount === 'active';
  const changeOf = (key: string, value: string): EntryChange => {
    if (!back) return toExternal(known, key, value);
    // The way there writes it again.
    if (key === 'inProgress' && value === 'active' && jobWantsActive) return { kind: 'aside', why: '' };
    return toBuiltIn(known, key, value);
  };
  const typeNode = object.nodeAt([...path, 'type']);
  const map = object.nodeAt([...path, 'metadata']);
  if (!isScalar(typeNode) || !isMap(map) || map.items.length === 0) return untouched('its metadata is empty or no mapping');
  if (map.anchor !== undefined) return untouched('its metadata has an anchor, so others may share it');
  const values = Object.fromEntries(Object.entries(metadata).map(([key, value]) => [key, textOf(value)]));
  const own = map.items.filter((item) => !isMerge(item)) as Pair<Node, Node | null>[];
  if (own.length === 0) return untouched('its metadata is that of another (<<)');
  const ownKeys = new Set(own.map(({ key }) => (isScalar(key) ? key.value : undefined)));
  for (const [key, value] of Object.entries(values)) {
    if (ownKeys.has(key)) continue;
    if (changeOf(key, value).kind !== 'keep')
      return untouched(`${key} has to change, and comes from a mapping that others share (<<)`);
  }

  const edits: Edit[] = [];
  const remarks: string[] = [];
  const marker = back ? EXTERNAL_ONLY : IGNORED;
  for (const pair of own) {
    const key = isScalar(pair.key) ? String(pair.key.value) : '';
    const value = values[key] ?? '';
    const change = changeOf(key, value);
    if (change.kind !== 'keep' && isShared(pair.value))
      return untouched(`the value of ${key} has to change, and its anchor or alias shares it with others`);
    applyChange(change, pair, map, work.text, marker, edits);
    if (change.kind !== 'keep' && change.why !== '') remarks.push(remarkOf(change, key, map.flow === true));
    if (change.kind === 'change' && !back) {
      const returned = toBuiltIn(known, change.key, change.value ?? value);
      if (returned.kind === 'change' && (returned.value ?? value) !== value)
        remarks.push(`--back will write ${key}: "${returned.value ?? ''}"`);
    }
  }
  for (const [name, from] of takenUp(object, path, map, work.text, back ? IGNORED : EXTERNAL_ONLY, edits))
    remarks.push(`${name} ${from}`);
  const target = back ? type : object.kind === 'ScaledJob' ? 'external' : 'external-push';
  edits.push(replace(typeNode, spelled(target, typeNode)));
  if (!back) {
    const lines = [`scalerAddress: ${options.scalerAddress}`, `scaler: ${type}`];
    if (jobWantsActive && known.advice.countsInProgress?.(values) === true) lines.push('inProgress: active');
    edits.push(insertion(object, path, map, work.text, lines));
    remarks.push(
      ...(known.advice.differences?.(values, by) ?? []),
      object.kind === 'ScaledJob'
        ? 'KEDA polls a ScaledJob: work is noticed at the next poll, as before'
        : 'the first message wakes a worker at once, not at the next poll',
      'what cannot be read is an error, on which KEDA scales nothing as a rule; it was a zero at times',
    );
    if (isRecord(trigger['authenticationRef']))
      remarks.push('its TriggerAuthentication stays; this scaler reads it itself and must be allowed to');
  }
  work.edits.push(...edits);
  return { converted: true, remarks };
}

function untouched(why: string): { readonly converted: boolean; readonly remarks: readonly string[] } {
  return { converted: false, remarks: [`left alone: ${why}`] };
}

/** Whether the value is another's as well, or may be. */
function isShared(value: Node | null): boolean {
  return isAlias(value) || (isScalar(value) && value.anchor !== undefined);
}

function remarkOf(change: Exclude<EntryChange, { kind: 'keep' }>, key: string, inBraces: boolean): string {
  if (change.kind === 'change') return change.key === key ? change.why : `${key} becomes ${change.key}: ${change.why}`;
  return `${change.why}; ${inBraces ? 'it is left out, as a mapping in braces has no line for a comment' : 'it is a comment now'}`;
}
