/**
 * Kubernetes objects out of YAML manifest files, with the place of everything in them; it must never take a document that breaks
 * its schema for a good one, and passes over kinds that this program does not know.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isMap, isSeq, LineCounter, parseAllDocuments, type Document } from 'yaml';
import type { z } from 'zod';
import type { ObjectReader } from './objectReader.ts';
import { apiVersionOf, CLUSTER_KINDS, KINDS, WRITTEN, type Kind, type ObjectOf } from './objects.ts';

const DEFAULT_NAMESPACE = 'default';

/** Where something stands; line and column count from 1. */
export interface Position {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** A known object with the places of its fields. */
export interface Manifest<K extends Kind = Kind> {
  readonly kind: K;
  readonly namespace: string;
  readonly name: string;
  readonly object: ObjectOf<K>;
  /** The same as it was written, with the fields that this program does not read. */
  readonly written: unknown;
  /** Where the field of that path stands, such as `['spec', 'triggers', 0, 'metadata', 'value']`; the nearest parent where it is absent. */
  positionOf(path: readonly PropertyKey[]): Position;
}

/** What is wrong with a file, or at one place in it. */
export interface ManifestFault {
  readonly position: Position;
  /** The object, as `ScaledObject default/orders`, where it is known. */
  readonly object?: string;
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

export interface Manifests {
  readonly manifests: readonly Manifest[];
  readonly faults: readonly ManifestFault[];
  readonly of: <K extends Kind>(kind: K) => readonly Manifest<K>[];
  readonly reader: ObjectReader;
}

/** Reads files, and all `.yaml` and `.yml` files of folders; what cannot be read is a fault and ends nothing. */
export async function readManifests(paths: readonly string[]): Promise<Manifests> {
  const manifests: Manifest[] = [];
  const faults: ManifestFault[] = [];
  for (const path of paths) {
    try {
      for (const file of await filesAt(path)) {
        const read = parseFile(file, await readFile(file, 'utf8'));
        manifests.push(...read.manifests);
        faults.push(...read.faults);
      }
    } catch (thrown) {
      const message = `cannot be read: ${thrown instanceof Error ? thrown.message : 'unknown reason'}`;
      faults.push({ position: { file: path, line: 1, column: 1 }, path: [], message });
    }
  }
  return collect(manifests, faults);
}

async function filesAt(path: string): Promise<string[]> {
  if (!(await stat(path)).isDirectory()) return [path];
  const entries = await readdir(path);
  const files = entries.filter((entry) => /\.ya?ml$/.test(entry)).sort();
  return files.map((entry) => join(path, entry));
}

/** Reads the documents of a text that stands for a file of that name. */
export function parseManifests(file: string, text: string): Manifests {
  const { manifests, faults } = parseFile(file, text);
  return collect(manifests, faults);
}

function parseFile(file: string, text: string): Pick<Manifests, 'manifests' | 'faults'> {
  const manifests: Manifest[] = [];
  const faults: ManifestFault[] = [];
  const lines = new LineCounter();
  const at = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { file, line: Math.max(1, line), column: Math.max(1, col) };
  };
  // The reporter of syntax errors prints the source line, which may hold a secret: only its place is told.
  for (const document of parseAllDocuments(text, { lineCounter: lines, prettyErrors: false })) {
    if (document.errors.length > 0) {
      for (const error of document.errors) faults.push({ position: at(error.pos[0]), path: [], message: error.message });
      continue;
    }
    for (const path of objectPaths(document)) {
      const positionOf = (inner: readonly PropertyKey[]): Position => at(offsetOf(document, [...path, ...inner]));
      try {
        const read = parseObject(document, path, positionOf);
        if (read === undefined) continue;
        if ('faults' in read) faults.push(...read.faults);
        else manifests.push(read);
      } catch (thrown) {
        // An alias without anchor, or one that multiplies without end.
        faults.push({ position: positionOf([]), path: [], message: thrown instanceof Error ? thrown.message : 'cannot be read' });
      }
    }
  }
  return { manifests, faults };
}

/** Paths of a document's objects: the document itself, or the items of a `List`. */
function objectPaths(document: Document): (string | number)[][] {
  if (document.get('kind') !== 'List') return [[]];
  const items = document.get('items');
  return isSeq(items) ? items.items.map((_, index) => ['items', index]) : [];
}

function offsetOf(document: Document, path: readonly PropertyKey[]): number {
  for (let length = path.length; length >= 0; length--) {
    const node: unknown = document.getIn(path.slice(0, length), true);
    const range = node !== null && typeof node === 'object' && 'range' in node ? (node.range as readonly number[] | null) : null;
    if (range?.[0] !== undefined) return range[0];
  }
  return 0;
}

function parseObject(
  document: Document,
  at: readonly (string | number)[],
  positionOf: (path: readonly PropertyKey[]) => Position,
): Manifest | { readonly faults: readonly ManifestFault[] } | undefined {
  const node = document.getIn(at);
  if (node === null || node === undefined) return undefined;
  if (!isMap(node)) return { faults: [{ position: positionOf([]), path: [], message: 'must be a Kubernetes object' }] };
  const input = node.toJS(document) as Record<string, unknown>;
  const kind = KINDS.find((known) => known === input['kind']);
  if (kind === undefined || groupOf(input['apiVersion']) !== groupOf(apiVersionOf(kind))) return undefined;

  const result = (WRITTEN[kind] as z.ZodType<ObjectOf<Kind>>).safeParse(input);
  const name = nameIn(input);
  if (!result.success) return { faults: result.error.issues.flatMap((issue) => faultsOf(issue, `${kind} ${name}`)) };
  const { metadata } = result.data;
  return {
    kind,
    namespace: CLUSTER_KINDS.has(kind) ? '' : (metadata.namespace ?? DEFAULT_NAMESPACE),
    name: metadata.name,
    object: result.data,
    written: input,
    positionOf,
  };

  function faultsOf(issue: z.core.$ZodIssue, object: string): ManifestFault[] {
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) => {
        const path = [...issue.path, key];
        return { position: positionOf(path), object, path, message: 'is not a field of this object' };
      });
    }
    return [{ position: positionOf(issue.path), object, path: issue.path, message: issue.message }];
  }
}

function groupOf(apiVersion: unknown): string | undefined {
  if (typeof apiVersion !== 'string') return undefined;
  return apiVersion.includes('/') ? apiVersion.slice(0, apiVersion.indexOf('/')) : '';
}

function nameIn(input: Record<string, unknown>): string {
  const metadata = input['metadata'];
  if (metadata === null || typeof metadata !== 'object') return '(no name)';
  const { name, namespace } = metadata as Record<string, unknown>;
  if (typeof name !== 'string') return '(no name)';
  return typeof namespace === 'string' ? `${namespace}/${name}` : name;
}

function collect(read: readonly Manifest[], readFaults: readonly ManifestFault[]): Manifests {
  const faults = [...readFaults];
  const byKey = new Map<string, Manifest>();
  for (const manifest of read) {
    const key = `${manifest.kind} ${manifest.namespace}/${manifest.name}`;
    const first = byKey.get(key);
    if (first === undefined) {
      byKey.set(key, manifest);
      continue;
    }
    const { file, line } = first.positionOf([]);
    const message = `stands a second time; the first is at ${file}:${line}`;
    faults.push({ position: manifest.positionOf([]), object: key, path: [], message });
  }
  const manifests = [...byKey.values()];
  return {
    manifests,
    faults,
    of: <K extends Kind>(kind: K) => manifests.filter((manifest): manifest is Manifest<K> => manifest.kind === kind),
    reader: {
      get: <K extends Kind>(kind: K, namespace: string, name: string) => {
        const found = byKey.get(`${kind} ${CLUSTER_KINDS.has(kind) ? '' : namespace}/${name}`);
        return Promise.resolve(found?.object as ObjectOf<K> | undefined);
      },
      close: () => Promise.resolve(),
    },
  };
}
