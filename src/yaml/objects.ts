/**
 * The Kubernetes objects of a YAML text with the place of everything in them. An object that is wrong in part is kept, so that its
 * readers can report all its faults at once.
 */
import { isMap, isPair, isScalar, isSeq, LineCounter, parseAllDocuments, visit, type Document, type Node, type Pair } from 'yaml';

/** Where something stands; line and column count from 1. */
export interface Position {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

export type Path = readonly (string | number)[];

/** Which part of a mapping's entry is meant. */
export type Part = 'key' | 'value';

export interface YamlObject {
  readonly file: string;
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly namespace: string;
  /** The whole object as plain data. */
  readonly data: Readonly<Record<string, unknown>>;
  /** Its `spec`; empty where that is missing or no mapping. */
  readonly spec: Readonly<Record<string, unknown>>;
  /** Place of the entry of that path; of its nearest parent's key where it is absent. */
  positionOf(path: Path, part?: Part): Position;
  /** Place of the first character of the object. */
  readonly start: Position;
  /** The node at the path, for whoever needs its spelling or its range in the text. */
  nodeAt(path: Path): Node | undefined;
  /** The entry of that path in its mapping. */
  entryAt(path: Path): Pair<Node, Node | null> | undefined;
}

/** Why a text, or one place in it, cannot be read as YAML. */
export interface YamlFault {
  readonly position: Position;
  readonly message: string;
}

export interface YamlFile {
  readonly file: string;
  readonly text: string;
  readonly objects: readonly YamlObject[];
  readonly faults: readonly YamlFault[];
  /** The text is a template, which becomes YAML once it is rendered: that is its one fault, and nothing is read of it. */
  readonly isTemplate?: true;
}

export const DEFAULT_NAMESPACE = 'default';
/** The fault of a document that is neither empty nor a mapping. */
export const NO_OBJECT = 'this is not a Kubernetes object';
const TEMPLATE = 'this is a template, not YAML: render it first, as helm template does';
/** Kinds of this program's interest that have no namespace. */
const CLUSTER_KIND = 'Cluster';

export function parseObjects(file: string, text: string): YamlFile {
  const objects: YamlObject[] = [];
  const faults: YamlFault[] = [];
  const lines = new LineCounter();
  const at = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { file, line: Math.max(1, line), column: Math.max(1, col) };
  };
  // The parser's own report prints the source line, which may hold a secret. Kubernetes' tools know merge keys (`<<`).
  const documents = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false, keepSourceTokens: true, merge: true });
  const template = templateOffset(text, documents);
  if (template !== undefined) {
    return { file, text, objects, faults: [{ position: at(template), message: TEMPLATE }], isTemplate: true };
  }
  for (const document of documents) {
    for (const error of document.errors) faults.push({ position: at(error.pos[0]), message: firstLine(error.message) });
    if (document.errors.length > 0) continue;
    for (const base of objectPaths(document)) {
      try {
        const object = objectAt(document, base, at);
        if (object === 'other') faults.push({ position: at(offsetOf(document, base)), message: NO_OBJECT });
        else if (object !== undefined) objects.push(object);
      } catch (thrown) {
        // An alias without anchor, or one that multiplies without end.
        const message = thrown instanceof Error ? firstLine(thrown.message) : 'this cannot be read';
        faults.push({ position: at(offsetOf(document, base)), message });
      }
    }
  }
  return { file, text, objects, faults };

  function objectAt(document: Document, base: Path, place: typeof at): YamlObject | 'other' | undefined {
    const node: unknown = document.getIn(base, true);
    if (node === null || node === undefined || (isScalar(node) && (node.value === null || node.value === ''))) return undefined;
    if (!isMap(node)) return 'other';
    const data = node.toJS(document) as Record<string, unknown>;
    const metadata = recordIn(data, 'metadata');
    const kind = textOf(data['kind']);
    return {
      file,
      apiVersion: textOf(data['apiVersion']),
      kind,
      name: textOf(metadata['name']),
      namespace: kind.startsWith(CLUSTER_KIND) ? '' : textOf(metadata['namespace']) || DEFAULT_NAMESPACE,
      data,
      spec: recordIn(data, 'spec'),
      positionOf: (path, part = 'value') => place(offsetOf(document, [...base, ...path], part)),
      start: place(node.range?.[0] ?? 0),
      nodeAt: (path) => nodeAt(document, [...base, ...path]),
      entryAt: (path) => entryAt(document, [...base, ...path]),
    };
  }
}

/**
 * Where a template shows itself: in `{{ … }}` that stands for a value, or for lines, which YAML reads as mappings in one another or not
 * at all. In quotes or in a block of text it is that text.
 */
function templateOffset(text: string, documents: readonly Document[]): number | undefined {
  let found: number | undefined;
  for (const document of documents) {
    if (document.errors.length > 0 && text.includes('{{')) return text.indexOf('{{');
    visit(document, {
      Map(_, map) {
        if (map.flow !== true || map.items.length !== 1 || !isMap(map.items[0]?.key)) return undefined;
        found ??= map.range?.[0];
        return visit.BREAK;
      },
    });
  }
  return found;
}

/** Whether an entry of a mapping takes up another mapping's entries (`<<`). */
export function isMerge(pair: Pair): boolean {
  return isScalar(pair.key) && typeof pair.key.value === 'symbol';
}

/** Paths of a document's objects: the document itself, or the items of a `List`. */
function objectPaths(document: Document): Path[] {
  if (!isMap(document.contents) || document.get('kind') !== 'List') return [[]];
  const items = document.get('items');
  return isSeq(items) ? items.items.map((_, index) => ['items', index]) : [];
}

function nodeAt(document: Document, path: Path): Node | undefined {
  const node: unknown = path.length === 0 ? document.contents : document.getIn(path, true);
  return node === null || node === undefined ? undefined : (node as Node);
}

function entryAt(document: Document, path: Path): Pair<Node, Node | null> | undefined {
  const last = path.at(-1);
  const parent = nodeAt(document, path.slice(0, -1));
  if (last === undefined || !isMap(parent)) return undefined;
  const found = parent.items.find((pair) => isPair(pair) && isScalar(pair.key) && pair.key.value === last);
  return found as Pair<Node, Node | null> | undefined;
}

function offsetOf(document: Document, path: Path, part: Part = 'value'): number {
  for (let length = path.length; length >= 0; length--) {
    const inner = path.slice(0, length);
    const absent = length < path.length;
    const key = entryAt(document, inner)?.key.range?.[0];
    // A mapping's own start says little: its key is what a person looks for.
    if ((part === 'key' || absent) && key !== undefined) return key;
    const start = nodeAt(document, inner)?.range?.[0] ?? key;
    if (start !== undefined) return start;
  }
  return 0;
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

/** The mapping under the key; empty where there is none. */
export function recordIn(record: Readonly<Record<string, unknown>>, key: string): Readonly<Record<string, unknown>> {
  const value = record[key];
  return isRecord(value) ? value : {};
}

/** A text or number as text; anything else as `otherwise`. */
export function textOf(value: unknown, otherwise = ''): string {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : otherwise;
}

function firstLine(message: string): string {
  return message.split('\n', 1)[0] ?? message;
}
