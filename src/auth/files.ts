/**
 * Kubernetes objects of YAML manifest files that keep to their schemas, with the place of everything in them. Kinds that this program
 * does not know are passed over.
 */
import type { z } from 'zod';
import { readYamlFiles } from '../yaml/files.ts';
import {
  DEFAULT_NAMESPACE,
  NO_OBJECT,
  recordIn,
  type Path,
  type Position,
  type YamlFile,
  type YamlObject,
} from '../yaml/objects.ts';
import type { ObjectReader } from './objectReader.ts';
import { apiVersionOf, CLUSTER_KINDS, KINDS, WRITTEN, type Kind, type ObjectOf } from './objects.ts';

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
  return manifestsIn(await readYamlFiles(paths));
}

export function manifestsIn(files: readonly YamlFile[]): Manifests {
  const faults: ManifestFault[] = [];
  const read: Manifest[] = [];
  for (const file of files) {
    for (const { position, message } of file.faults)
      faults.push({ position, path: [], message: message === NO_OBJECT ? 'must be a Kubernetes object' : message });
    for (const object of file.objects) {
      const result = readObject(object);
      if (Array.isArray(result)) faults.push(...result);
      else if (result !== undefined) read.push(result);
    }
  }
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
      custom: ({ apiVersion, kind, name }, namespace) =>
        Promise.resolve(
          files
            .flatMap(({ objects }) => objects)
            .find(
              (object) =>
                object.kind === kind &&
                object.namespace === namespace &&
                object.name === name &&
                groupOf(object.apiVersion) === groupOf(apiVersion),
            )?.data,
        ),
      close: () => Promise.resolve(),
    },
  };
}

/** Its faults where it breaks its schema, undefined where its kind is not known. */
function readObject(yaml: YamlObject): Manifest | ManifestFault[] | undefined {
  const { data } = yaml;
  const kind = KINDS.find((known) => known === data['kind']);
  if (kind === undefined || groupOf(data['apiVersion']) !== groupOf(apiVersionOf(kind))) return undefined;

  const positionOf = (path: readonly PropertyKey[]): Position => {
    let there = path as Path;
    while (there.length > 0 && yaml.nodeAt(there) === undefined) there = there.slice(0, -1);
    return yaml.positionOf(there);
  };
  const result = (WRITTEN[kind] as z.ZodType<ObjectOf<Kind>>).safeParse(data);
  if (result.success) {
    const { name, namespace = DEFAULT_NAMESPACE } = result.data.metadata;
    return { kind, namespace: CLUSTER_KINDS.has(kind) ? '' : namespace, name, object: result.data, written: data, positionOf };
  }
  const object = `${kind} ${nameIn(data)}`;
  return result.error.issues.flatMap((issue) => {
    if (issue.code !== 'unrecognized_keys')
      return [{ position: positionOf(issue.path), object, path: issue.path, message: issue.message }];
    return issue.keys.map((key) => {
      const path = [...issue.path, key];
      return { position: positionOf(path), object, path, message: 'is not a field of this object' };
    });
  });
}

function groupOf(apiVersion: unknown): string | undefined {
  if (typeof apiVersion !== 'string') return undefined;
  return apiVersion.includes('/') ? apiVersion.slice(0, apiVersion.indexOf('/')) : '';
}

function nameIn(input: YamlObject['data']): string {
  const { name, namespace } = recordIn(input, 'metadata');
  if (typeof name !== 'string') return '(no name)';
  return typeof namespace === 'string' ? `${namespace}/${name}` : name;
}
