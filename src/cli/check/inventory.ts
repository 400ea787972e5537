/**
 * All objects of the files that were given, by what they are looked up with. What is not among them may still exist in a cluster, so
 * absence alone is never an error.
 */
import { isRecord, recordIn, type YamlObject } from '../../yaml/objects.ts';

/** A text that may be known, may only be known in a cluster, or is certainly absent. */
export type Lookup =
  | { readonly state: 'known'; readonly value: string }
  | { readonly state: 'elsewhere' }
  /** `names` are the ones there are. */
  | { readonly state: 'absent'; readonly owner: string; readonly names: readonly string[] };

export interface Inventory {
  readonly objects: readonly YamlObject[];
  find(kind: string, namespace: string, name: string): YamlObject | undefined;
  /** Names of the objects of a kind, in one namespace. */
  names(kind: string, namespace: string): readonly string[];
  /** A key of a Secret or ConfigMap. */
  value(kind: 'Secret' | 'ConfigMap', namespace: string, name: string, key: string): Lookup;
  /** A variable of a container: of the named one, or else of the first. */
  variable(pod: unknown, container: string | undefined, namespace: string, variable: string): Lookup;
}

export const ELSEWHERE = { state: 'elsewhere' } as const;

export function takeInventory(objects: readonly YamlObject[]): Inventory {
  function find(kind: string, namespace: string, name: string): YamlObject | undefined {
    return objects.find((object) => object.kind === kind && object.namespace === namespace && object.name === name);
  }

  function value(kind: 'Secret' | 'ConfigMap', namespace: string, name: string, key: string): Lookup {
    const object = find(kind, namespace, name);
    if (object === undefined) return ELSEWHERE;
    const values = valuesOf(object);
    const found = values.get(key);
    if (found !== undefined) return { state: 'known', value: found };
    return { state: 'absent', owner: `${kind} ${namespace}/${name}`, names: [...values.keys()] };
  }

  function variable(pod: unknown, containerName: string | undefined, namespace: string, name: string): Lookup {
    const container = containerOf(pod, containerName);
    if (container === undefined) return ELSEWHERE;
    const names: string[] = [];
    let found: Lookup | undefined;
    let whole = true;
    for (const source of recordsOf(container['envFrom'])) {
      for (const [field, kind] of [
        ['secretRef', 'Secret'],
        ['configMapRef', 'ConfigMap'],
      ] as const) {
        const reference = source[field];
        if (!isRecord(reference)) continue;
        const object = find(kind, namespace, String(reference['name']));
        if (object === undefined) whole = false;
        else {
          const prefix = typeof source['prefix'] === 'string' ? source['prefix'] : '';
          for (const [key, text] of valuesOf(object)) {
            names.push(`${prefix}${key}`);
            if (`${prefix}${key}` === name) found = { state: 'known', value: text };
          }
        }
      }
    }
    for (const entry of recordsOf(container['env'])) {
      if (typeof entry['name'] === 'string') names.push(entry['name']);
      if (entry['name'] === name) found = entryValue(entry, namespace);
    }
    if (found !== undefined) return found;
    return whole ? { state: 'absent', owner: `container ${String(container['name'])}`, names } : ELSEWHERE;
  }

  function entryValue(entry: Record<string, unknown>, namespace: string): Lookup {
    const text = entry['value'];
    // Other variables may stand in it; whoever needs them resolved asks the resolver.
    if (typeof text === 'string') return text.includes('$(') ? ELSEWHERE : { state: 'known', value: text };
    const from = entry['valueFrom'];
    if (!isRecord(from)) return { state: 'known', value: '' };
    for (const [field, kind] of [
      ['secretKeyRef', 'Secret'],
      ['configMapKeyRef', 'ConfigMap'],
    ] as const) {
      const reference = from[field];
      if (isRecord(reference)) return value(kind, namespace, String(reference['name']), String(reference['key']));
    }
    return ELSEWHERE;
  }

  return {
    objects,
    find,
    value,
    variable,
    names: (kind, namespace) =>
      objects.filter((object) => object.kind === kind && object.namespace === namespace).map(({ name }) => name),
  };
}

/** The container of that name, or the first. */
export function containerOf(pod: unknown, name: string | undefined): Record<string, unknown> | undefined {
  const containers = isRecord(pod) ? recordsOf(pod['containers']) : [];
  return name === undefined || name === '' ? containers[0] : containers.find((container) => container['name'] === name);
}

/** The pod spec of a workload or a ScaledJob, if it has one where it should. */
export function podOf(object: YamlObject): unknown {
  const holder = object.kind === 'ScaledJob' ? recordIn(object.spec, 'jobTargetRef') : object.spec;
  return recordIn(holder, 'template')['spec'];
}

export function recordsOf(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter(isRecord) : [];
}

function valuesOf(object: YamlObject): Map<string, string> {
  const values = new Map<string, string>();
  for (const [key, value] of Object.entries(recordIn(object.data, 'data'))) {
    values.set(key, object.kind === 'Secret' ? Buffer.from(String(value), 'base64').toString('utf8') : String(value));
  }
  for (const [key, value] of Object.entries(recordIn(object.data, 'stringData'))) values.set(key, String(value));
  return values;
}
