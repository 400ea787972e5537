/**
 * Kubernetes objects as tests put them into the API server double.
 */
import type { KubernetesObject } from './objectStore.ts';

const KEDA = 'keda.sh/v1alpha1';

export function scaledObject(
  namespace: string,
  name: string,
  metadata: Readonly<Record<string, string>>,
  authenticationRef?: { readonly name: string; readonly kind?: string },
): KubernetesObject {
  const trigger = { type: 'external-push', metadata, ...(authenticationRef === undefined ? {} : { authenticationRef }) };
  return {
    apiVersion: KEDA,
    kind: 'ScaledObject',
    metadata: { namespace, name },
    spec: { scaleTargetRef: { name: 'worker' }, triggers: [trigger] },
  };
}

export function authentication(
  namespace: string | undefined,
  name: string,
  spec: object,
  annotations?: object,
): KubernetesObject {
  return {
    apiVersion: KEDA,
    kind: namespace === undefined ? 'ClusterTriggerAuthentication' : 'TriggerAuthentication',
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      ...(annotations === undefined ? {} : { annotations }),
    },
    spec,
  };
}

/** `values` in clear; the server keeps them in base64. */
export function secret(namespace: string, name: string, values: Readonly<Record<string, string>>): KubernetesObject {
  const data = Object.entries(values).map(([key, value]) => [key, Buffer.from(value).toString('base64')] as const);
  return { apiVersion: 'v1', kind: 'Secret', metadata: { namespace, name }, data: Object.fromEntries(data) };
}

export function deployment(namespace: string, name: string, env: readonly object[]): KubernetesObject {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { namespace, name },
    spec: { template: { spec: { containers: [{ name: 'worker', env }] } } },
  };
}

/** A TriggerAuthentication's spec that gives each parameter from the Secret's key of the same name. */
export function fromSecret(name: string, ...keys: readonly string[]): object {
  return { secretTargetRef: keys.map((key) => ({ parameter: key, name, key })) };
}
