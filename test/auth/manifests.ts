/**
 * What an API server makes of what a client writes: defaults, decoded fields, merge patches (RFC 7396).
 */
import type { KubernetesObject } from './objectStore.ts';

let generated = 0;

/** The object as it is kept. */
export function stored(written: KubernetesObject, namespace: string | undefined): KubernetesObject {
  const { generateName, ...metadata } = written.metadata as KubernetesObject['metadata'] & { readonly generateName?: string };
  const name = generateName === undefined ? metadata.name : `${generateName}${++generated}`;
  const object = {
    ...written,
    metadata: {
      creationTimestamp: new Date().toISOString(),
      ...metadata,
      name,
      ...(namespace === undefined ? {} : { namespace }),
    },
  };
  return object.kind === 'Secret' ? withoutStringData(object) : object;
}

function withoutStringData({ stringData, ...secret }: KubernetesObject): KubernetesObject {
  const encoded = Object.entries((stringData ?? {}) as Record<string, string>).map(
    ([key, value]) => [key, Buffer.from(value).toString('base64')] as const,
  );
  return { ...secret, data: { ...(secret['data'] as object | undefined), ...Object.fromEntries(encoded) } };
}

export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isMap(patch)) return patch;
  const merged: Record<string, unknown> = isMap(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) Reflect.deleteProperty(merged, key);
    else merged[key] = mergePatch(merged[key], value);
  }
  return merged;
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
