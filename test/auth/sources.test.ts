import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CredentialSource } from '../../src/auth/credentials.ts';
import { openKubernetes } from '../../src/auth/kubernetes/reader.ts';
import { createResolver } from '../../src/auth/resolver.ts';
import { endpointKeysOf } from '../../src/scalers/registry.ts';
import { startApiServer, type ApiServer, type KubernetesObject } from './apiServer.ts';
import { authentication, scaledObject, secret } from './objects.ts';
import { BASE_RBAC, rulesIn } from './rbac.ts';

const metadata = { scaler: 'rabbitmq', queueName: 'orders' };

/** A Vault with one secret, for whoever shows a token of a service account named `reader`. */
const logins: string[] = [];
const vault = createServer((request, response) => {
  const answer = async (): Promise<object> => {
    const body = await text(request);
    if (request.url === '/v1/auth/kubernetes/login') {
      logins.push((JSON.parse(body) as { readonly jwt: string }).jwt);
      return { auth: { client_token: 'login', lease_duration: 3600 } };
    }
    return { data: { data: { value: 'vault' }, metadata: { version: 1 } } };
  };
  void answer().then((body) => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body)));
});

let api: ApiServer;
let resolver: CredentialSource;
let address = '';

const configMap = (namespace: string, value: string): KubernetesObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { namespace, name: 'settings' },
  data: { value },
});
const statefulSet = (namespace: string): KubernetesObject => ({
  apiVersion: 'apps/v1',
  kind: 'StatefulSet',
  metadata: { namespace, name: 'worker' },
  spec: { template: { spec: { containers: [{ name: 'worker', env: [{ name: 'VALUE', value: 'env' }] }] } } },
});

/** Each source gives its own parameter and that of the next one, which has the last word on it. */
const everything = () => ({
  env: ['p1', 'p2'].map((parameter) => ({ parameter, name: 'VALUE' })),
  configMapTargetRef: ['p2', 'p3'].map((parameter) => ({ parameter, name: 'settings', key: 'value' })),
  secretTargetRef: ['p3', 'p4'].map((parameter) => ({ parameter, name: 'login', key: 'value' })),
  hashiCorpVault: {
    address,
    authentication: 'kubernetes',
    role: 'scaler',
    credential: { serviceAccountName: 'reader' },
    secrets: ['p4', 'p5'].map((parameter) => ({ parameter, path: 'kv/data/login', key: 'value', type: 'secretV2' })),
  },
  boundServiceAccountToken: ['p5', 'clientID'].map((parameter) => ({ parameter, serviceAccountName: 'reader' })),
  oauth2: {
    type: 'clientCredentials',
    clientId: 'oauth',
    clientSecret: { valueFrom: { secretKeyRef: { name: 'login', key: 'value' } } },
    tokenUrl: 'https://login.example/token',
  },
});

beforeAll(async () => {
  await new Promise<void>((resolve) => vault.listen(0, '127.0.0.1', resolve));
  address = `http://127.0.0.1:${(vault.address() as AddressInfo).port}`;
  api = await startApiServer([
    ...(await rulesIn(BASE_RBAC)),
    { apiGroups: [''], resources: ['serviceaccounts/token'], verbs: ['create'], resourceNames: ['reader'] },
  ]);
  const cluster = { name: 'everything', kind: 'ClusterTriggerAuthentication' };
  for (const [name, reference] of [
    ['own', { name: 'everything' }],
    ['shared', cluster],
    ['astray', { name: 'astray', kind: 'ClusterTriggerAuthentication' }],
  ] as const) {
    const object = scaledObject('shop', name, metadata, reference);
    const spec = object['spec'] as object;
    api.put({ ...object, spec: { ...spec, scaleTargetRef: { kind: 'StatefulSet', name: 'worker' } } });
  }
  api.put(
    statefulSet('shop'),
    authentication('shop', 'everything', everything()),
    authentication(undefined, 'everything', everything()),
    authentication(undefined, 'astray', { secretTargetRef: [{ parameter: 'p', name: 'only-in-shop', key: 'value' }] }),
    configMap('shop', 'config'),
    configMap('keda', 'config of keda'),
    secret('shop', 'login', { value: 'secret' }),
    secret('keda', 'login', { value: 'secret of keda' }),
    secret('shop', 'only-in-shop', { value: 'secret' }),
  );
  const reader = await openKubernetes({ kubeconfig: api.kubeconfig });
  await reader.synced;
  resolver = createResolver({ reader, endpointKeysOf });
});
afterAll(async () => {
  await resolver.close();
  await api.close();
  vault.close();
  vault.closeAllConnections();
});

const parametersOf = async (name: string) =>
  (await resolver.resolve({ namespace: 'shop', name, metadata }, AbortSignal.timeout(5_000))).parameters;

describe('all sources of one authentication', () => {
  it('are read in KEDA’s order, the later over the earlier, from the trigger’s namespace', async () => {
    expect(await parametersOf('own')).toEqual({
      p1: 'env',
      p2: 'config',
      p3: 'secret',
      p4: 'vault',
      p5: 'token-of-shop-reader',
      clientID: 'oauth',
      clientSecret: 'secret',
      oauthTokenURI: 'https://login.example/token',
      scopes: '',
      endpointParams: '',
    });
    expect(logins).toEqual(['token-of-shop-reader']);
  });

  it('of a ClusterTriggerAuthentication are read from KEDA’s namespace, the environment alone from the trigger’s', async () => {
    logins.length = 0;
    expect(await parametersOf('shared')).toMatchObject({
      p1: 'env',
      p2: 'config of keda',
      p3: 'secret of keda',
      p4: 'vault',
      p5: 'token-of-keda-reader',
      clientSecret: 'secret of keda',
    });
    expect(logins).toEqual(['token-of-keda-reader']);
  });

  it('of a ClusterTriggerAuthentication are not looked for in the trigger’s namespace', async () => {
    await expect(parametersOf('astray')).rejects.toThrow('Secret keda/only-in-shop does not exist');
  });
});
