/**
 * Renders a kustomization as far as this project's own go: resources, namespace, labels, images, and strategic merge patches. What it
 * does not know in a kustomization must be an error; where kubectl is at hand, its rendering is the measure of this one.
 */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { kustomization } from './schemas.ts';

type Fields = Readonly<Record<string, unknown>>;

/** A rendered object. */
export interface Rendered extends Fields {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: Fields & { readonly name: string; readonly namespace?: string };
}

const CLUSTER_SCOPED = new Set(['ClusterRole', 'ClusterRoleBinding']);
/** What tells the items of a list apart, by the list's field: Kubernetes' patch merge keys, for the lists that patches here touch. */
const MERGE_KEYS: Readonly<Record<string, string>> = {
  containers: 'name',
  env: 'name',
  volumes: 'name',
  ports: 'containerPort',
  volumeMounts: 'mountPath',
};

export function render(folder: string): Rendered[] {
  const [document] = documentsIn(join(folder, 'kustomization.yaml'));
  const { namespace, labels = [], resources, patches = [], images = [] } = kustomization.parse(document);
  let objects = resources.flatMap((path): Rendered[] => {
    const full = join(folder, path);
    return statSync(full).isDirectory() ? render(full) : (documentsIn(full) as Rendered[]);
  });
  for (const { path } of patches) {
    for (const patch of documentsIn(join(folder, path)) as Rendered[]) {
      const isTarget = ({ kind, metadata }: Rendered): boolean => kind === patch.kind && metadata.name === patch.metadata.name;
      if (objects.filter(isTarget).length !== 1) throw new Error(`${path} patches no one object`);
      objects = objects.map((object) => (isTarget(object) ? (merge(object, patch) as Rendered) : object));
    }
  }
  const pairs = Object.assign({}, ...labels.map((label) => label.pairs)) as Fields;
  const tags = new Map(images.map(({ name, newTag }) => [name, newTag]));
  return objects.map((object) => {
    const { metadata } = object;
    const labelled =
      Object.keys(pairs).length === 0 ? metadata : { ...metadata, labels: { ...(metadata['labels'] as Fields), ...pairs } };
    const placed = CLUSTER_SCOPED.has(object.kind) ? labelled : { ...labelled, namespace };
    return withTags({ ...object, metadata: placed }, tags) as Rendered;
  });
}

function documentsIn(file: string): unknown[] {
  return parseAllDocuments(readFileSync(file, 'utf8')).map((document) => document.toJS() as unknown);
}

function merge(target: unknown, patch: unknown, field = ''): unknown {
  if (Array.isArray(target) && Array.isArray(patch)) return mergeLists(target, patch, field);
  if (!isMap(target) || !isMap(patch)) return patch;
  const merged: Record<string, unknown> = { ...target };
  for (const [key, value] of Object.entries(patch)) merged[key] = key in target ? merge(target[key], value, key) : value;
  return merged;
}

function mergeLists(target: readonly unknown[], patch: readonly unknown[], field: string): unknown[] {
  const key = MERGE_KEYS[field];
  if (key === undefined) throw new Error(`how lists of ${field} are merged is not known`);
  const idOf = (item: unknown): unknown => (item as Fields)[key];
  const known = new Set(target.map(idOf));
  return [
    // As kustomize does it, what is new comes first.
    ...patch.filter((item) => !known.has(idOf(item))),
    ...target.map((item) => {
      const change = patch.find((each) => idOf(each) === idOf(item));
      return change === undefined ? item : merge(item, change);
    }),
  ];
}

/** Every `image` of that name gets the tag. */
function withTags(value: unknown, tags: ReadonlyMap<string, string>): unknown {
  if (Array.isArray(value)) return value.map((item) => withTags(item, tags));
  if (!isMap(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => {
      const tag = key === 'image' && typeof inner === 'string' ? tags.get(inner) : undefined;
      return [key, tag === undefined ? withTags(inner, tags) : `${String(inner)}:${tag}`];
    }),
  );
}

function isMap(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
