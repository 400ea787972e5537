/**
 * The edits by which one trigger's text changes: entries renamed, set aside as comments and taken up again, new ones put in front. So
 * that the way back gives the same bytes, quotes, line ends and indentation stay.
 */
import { isScalar, parse, type Node, type Pair, type YAMLMap } from 'yaml';
import type { Path, YamlObject } from '../../yaml/objects.ts';
import { endOfLine, lineEnd, lineStart, type Edit } from './edits.ts';
import type { EntryChange } from './keys.ts';

function rangeOf(node: Node): readonly [number, number] {
  const [start, end] = node.range ?? [0, 0];
  return [start, end];
}

export function replace(node: Node, text: string): Edit {
  const [start, end] = rangeOf(node);
  return { start, end, text };
}

/** What becomes of one entry of the metadata; `marker` begins the comment of one that is set aside. */
export function applyChange(
  change: EntryChange,
  pair: Pair<Node, Node | null>,
  map: YAMLMap,
  text: string,
  marker: string,
  edits: Edit[],
): void {
  if (change.kind === 'keep') return;
  const [keyStart, keyEnd] = rangeOf(pair.key);
  if (change.kind === 'change') {
    if (isScalar(pair.key) && pair.key.value !== change.key) edits.push(replace(pair.key, spelled(change.key, pair.key)));
    if (change.value !== undefined && isScalar(pair.value)) edits.push(replace(pair.value, spelled(change.value, pair.value)));
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
    // Within a block scalar a line may be shorter than the indentation.
    const indent = Math.min(keyStart - first, /[^ ]|$/.exec(text.slice(at, last))?.index ?? 0);
    edits.push({ start: at + indent, end: at + indent, text: marker });
  }
}

/**
 * Takes up again what the way there set aside: comments that begin with the marker lose it. Gives the names and what happened.
 */
export function takenUp(
  object: YamlObject,
  path: Path,
  map: YAMLMap,
  text: string,
  marker: string,
  edits: Edit[],
): [string, string][] {
  const key = object.entryAt([...path, 'metadata'])?.key;
  if (map.flow === true || key === undefined) return [];
  const found: [string, string][] = [];
  const [, end] = rangeOf(map);
  for (let at = lineEnd(text, rangeOf(key)[1]); at < text.length; at = lineEnd(text, at)) {
    const line = text.slice(at, lineEnd(text, at));
    const indent = /[^ ]|$/.exec(line)?.index ?? 0;
    const isMarked = line.startsWith(marker, indent);
    // Comments behind the last entry may lie outside the mapping's range.
    if (at >= end && !isMarked) break;
    if (!isMarked) continue;
    edits.push({ start: at + indent, end: at + indent + marker.length, text: '' });
    const [, name] = /^([\w-]+)\s*:/.exec(line.slice(indent + marker.length)) ?? [];
    if (name !== undefined) found.push([name, 'is no comment any more']);
  }
  return found;
}

/** The value in the quotes of what it replaces, so that the way back gives the same bytes; others where it would not be read as text. */
export function spelled(value: string, old: Node): string {
  const style = isScalar(old) ? old.type : undefined;
  if (style === 'QUOTE_DOUBLE') return JSON.stringify(value);
  if (style === 'PLAIN' && !/: | #|[\n{}[\],]/.test(value) && parse(value) === value) return value;
  if (style === 'PLAIN' && /^(?:true|false)$/.test(value)) return `"${value}"`;
  return `'${value.replaceAll("'", "''")}'`;
}

/** New entries in front of the others: on lines of their own right below `metadata:`, or inside the braces. */
export function insertion(object: YamlObject, path: Path, map: YAMLMap, text: string, lines: readonly string[]): Edit {
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
