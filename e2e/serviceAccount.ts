/**
 * The scaler's service account as `manifests/base/rbac.yaml` makes it, under names of the test's own, so that the scaler under test has
 * the rights that the manifests ask for and no other.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KubeConfig } from '@kubernetes/client-node';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import type { Cluster } from './cluster.ts';

const RBAC = new URL('../manifests/base/rbac.yaml', import.meta.url);
const GROUP = '/apis/rbac.authorization.k8s.io/v1';
const COLLECTIONS = { ClusterRole: 'clusterroles', ClusterRoleBinding: 'clusterrolebindings' } as const;
const TOKEN_LIFETIME_S = 7200;

const object = z.discriminatedUnion('kind', [
  z.looseObject({ kind: z.literal('ServiceAccount'), metadata: z.object({ name: z.string() }) }),
  z.looseObject({ kind: z.literal('ClusterRole'), metadata: z.object({ name: z.string() }) }),
  z.looseObject({
    kind: z.literal('ClusterRoleBinding'),
    metadata: z.object({ name: z.string() }),
    roleRef: z.looseObject({ name: z.string() }),
    subjects: z.array(z.looseObject({ namespace: z.string() })),
  }),
]);
const tokenAnswer = z.object({ status: z.object({ token: z.string() }) });

export interface ScalerAccount {
  /** A kubeconfig file that logs in as the service account. */
  readonly kubeconfig: string;
  /** Takes back what is not in the namespace, and the file. */
  remove(): Promise<void>;
}

/** The namespace must exist; it goes into the names of what has none. */
export async function createScalerAccount(cluster: Cluster, namespace: string): Promise<ScalerAccount> {
  const documents = parseAllDocuments(await readFile(RBAC, 'utf8')).map((document) => object.parse(document.toJS()));
  const made: string[] = [];
  const folder = await mkdtemp(join(tmpdir(), 'queue-scaler-e2e-'));
  const kubeconfig = join(folder, 'kubeconfig');
  const remove = async (): Promise<void> => {
    for (const path of made.splice(0)) await cluster.remove(path);
    await rm(folder, { recursive: true, force: true });
  };
  try {
    let account = '';
    for (const document of documents) {
      if (document.kind === 'ServiceAccount') {
        account = document.metadata.name;
        await cluster.create(`/api/v1/namespaces/${namespace}/serviceaccounts`, {
          ...document,
          metadata: { name: account, namespace },
        });
        continue;
      }
      const own = (name: string): string => `${name}-${namespace}`;
      const collection = `${GROUP}/${COLLECTIONS[document.kind]}`;
      const renamed =
        document.kind === 'ClusterRole'
          ? document
          : {
              ...document,
              roleRef: { ...document.roleRef, name: own(document.roleRef.name) },
              subjects: document.subjects.map((subject) => ({ ...subject, namespace })),
            };
      await cluster.create(collection, { ...renamed, metadata: { name: own(document.metadata.name) } });
      made.push(`${collection}/${own(document.metadata.name)}`);
    }
    const answer = await cluster.create(`/api/v1/namespaces/${namespace}/serviceaccounts/${account}/token`, {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec: { expirationSeconds: TOKEN_LIFETIME_S },
    });
    await writeFile(kubeconfig, kubeconfigWith(tokenAnswer.parse(answer).status.token), { mode: 0o600 });
    return { kubeconfig, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** The test's own kubeconfig, with the token in place of its user. */
function kubeconfigWith(token: string): string {
  const own = new KubeConfig();
  own.loadFromDefault();
  const cluster = own.getCurrentCluster();
  if (cluster === null) throw new Error('the kubeconfig has no current cluster');
  const config = new KubeConfig();
  config.loadFromClusterAndUser(cluster, { name: 'scaler', token });
  return config.exportConfig();
}
