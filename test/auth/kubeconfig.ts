/**
 * Kubeconfigs as the tests of the API server double write them.
 */

/** A kubeconfig with one cluster and one user, of the given fields. */
export function kubeconfigOf(cluster: object, user: object): object {
  return {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'double',
    clusters: [{ name: 'double', cluster }],
    users: [{ name: 'scaler', user }],
    contexts: [{ name: 'double', context: { cluster: 'double', user: 'scaler', namespace: 'keda' } }],
  };
}
