/**
 * What the API server double keeps: objects by resource, namespace and name, with the versions and the history that watches are made
 * from. It knows nothing of HTTP.
 */

/** Any object of Kubernetes, as the test writes it. */
export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly [field: string]: unknown };
  readonly [field: string]: unknown;
}

export type ChangeType = 'ADDED' | 'MODIFIED' | 'DELETED';

/** One change, as watches tell it. */
export interface Change {
  readonly type: ChangeType;
  readonly resource: string;
  readonly version: number;
  readonly object: KubernetesObject;
}

export interface ObjectStore {
  get(resource: string, namespace: string | undefined, name: string): KubernetesObject | undefined;
  /** All of the resource, or those of the namespace. */
  list(resource: string, namespace: string | undefined): readonly KubernetesObject[];
  put(object: KubernetesObject): KubernetesObject;
  /** A namespace goes with all that it holds. */
  delete(resource: string, namespace: string | undefined, name: string): boolean;
  version(): number;
  /** A new version without a change. */
  tick(): number;
  /** The changes of the resource after that version; undefined where these are forgotten. */
  since(resource: string, version: number): readonly Change[] | undefined;
  forgetPast(): void;
  /** Tells every change from now on, until the returned function is called. */
  listen(listener: (change: Change) => void): () => void;
}

/** Kind → its resource; a kind that is not here cannot be put. */
export const RESOURCES: Readonly<Record<string, string>> = {
  ScaledObject: 'scaledobjects',
  ScaledJob: 'scaledjobs',
  TriggerAuthentication: 'triggerauthentications',
  ClusterTriggerAuthentication: 'clustertriggerauthentications',
  Deployment: 'deployments',
  StatefulSet: 'statefulsets',
  Rollout: 'rollouts',
  HorizontalPodAutoscaler: 'horizontalpodautoscalers',
  Namespace: 'namespaces',
  Secret: 'secrets',
  ConfigMap: 'configmaps',
  ServiceAccount: 'serviceaccounts',
  Event: 'events',
  ClusterRole: 'clusterroles',
  ClusterRoleBinding: 'clusterrolebindings',
};

export function createObjectStore(): ObjectStore {
  const objects = new Map<string, KubernetesObject>();
  const listeners = new Set<(change: Change) => void>();
  let history: Change[] = [];
  let version = 1;
  let oldest = 0;

  const keyOf = (resource: string, namespace: string | undefined, name: string): string =>
    `${resource}/${namespace ?? ''}/${name}`;

  function tell(type: ChangeType, resource: string, object: KubernetesObject): void {
    const change = { type, resource, version, object };
    history.push(change);
    for (const listener of listeners) listener(change);
  }

  function stamped(object: KubernetesObject): KubernetesObject {
    return { ...object, metadata: { ...object.metadata, resourceVersion: String(++version), uid: `uid-${version}` } };
  }

  function remove(key: string): void {
    const object = objects.get(key);
    if (object === undefined) return;
    objects.delete(key);
    tell('DELETED', key.slice(0, key.indexOf('/')), stamped(object));
  }

  return {
    get: (resource, namespace, name) => objects.get(keyOf(resource, namespace, name)),
    list(resource, namespace) {
      const prefix = namespace === undefined ? `${resource}/` : `${resource}/${namespace}/`;
      return [...objects].filter(([key]) => key.startsWith(prefix)).map(([, object]) => object);
    },
    put(object) {
      const resource = RESOURCES[object.kind];
      if (resource === undefined) throw new Error(`the double keeps no ${object.kind}`);
      const key = keyOf(resource, object.metadata.namespace, object.metadata.name);
      const type = objects.has(key) ? 'MODIFIED' : 'ADDED';
      const kept = stamped(object);
      objects.set(key, kept);
      tell(type, resource, kept);
      return kept;
    },
    delete(resource, namespace, name) {
      const key = keyOf(resource, namespace, name);
      if (!objects.has(key)) return false;
      remove(key);
      if (resource === 'namespaces')
        for (const [inner, { metadata }] of [...objects]) if (metadata.namespace === name) remove(inner);
      return true;
    },
    version: () => version,
    tick: () => ++version,
    since: (resource, from) =>
      from < oldest ? undefined : history.filter((change) => change.resource === resource && change.version > from),
    forgetPast() {
      history = [];
      oldest = ++version;
    },
    listen(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
