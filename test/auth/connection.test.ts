import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createApiClient, type ApiClient } from '../../src/auth/kubernetes/apiClient.ts';
import { makeCertificates, type Certificates } from '../bed/certificates.ts';
import { until } from '../bed/until.ts';
import { SCALER_TOKEN, startApiServer, type ApiServer } from './apiServer.ts';
import { kubeconfigOf } from './kubeconfig.ts';
import { secret } from './objects.ts';
import { BASE_RBAC, rulesIn } from './rbac.ts';

let folder: string;
let certificates: Certificates;
let api: ApiServer;
const clients: ApiClient[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'connection-'));
  certificates = makeCertificates(join(folder, 'pki'));
  const { server, ca } = certificates;
  api = await startApiServer(await rulesIn(BASE_RBAC), {
    tls: { cert: readFileSync(server.cert, 'utf8'), key: readFileSync(server.key, 'utf8'), clientCa: readFileSync(ca, 'utf8') },
  });
  api.put(secret('shop', 'login', { password: 'first' }));
});
afterEach(async () => {
  for (const client of clients.splice(0)) await client.close();
  api.requests.length = 0;
});
afterAll(async () => {
  await api.close();
  rmSync(folder, { recursive: true });
});

/** A client by a kubeconfig that trusts the server by its authority and logs in as `user` says. */
async function clientOf(user: object, cluster: object = { 'certificate-authority': certificates.ca }): Promise<ApiClient> {
  const kubeconfig = join(folder, `config-${clients.length}`);
  writeFileSync(kubeconfig, JSON.stringify(kubeconfigOf({ server: api.url, ...cluster }, user)), { mode: 0o600 });
  const client = await createApiClient({ kubeconfig });
  clients.push(client);
  return client;
}

const get = (client: ApiClient): Promise<unknown> => client.get('Secret', 'shop', 'login', AbortSignal.timeout(5_000));
const base64 = (file: string): string => readFileSync(file).toString('base64');

describe('a kubeconfig', () => {
  it('logs in by a client certificate, in files or in the kubeconfig itself', async () => {
    const { cert, key } = certificates.client;
    const inFiles = await clientOf({ 'client-certificate': cert, 'client-key': key });
    const inside = await clientOf(
      { 'client-certificate-data': base64(cert), 'client-key-data': base64(key) },
      { 'certificate-authority-data': base64(certificates.ca) },
    );
    for (const client of [inFiles, inside]) expect(await get(client)).toMatchObject({ kind: 'Secret' });
    expect(api.requests.map(({ certificate }) => certificate)).toEqual(['guest', 'guest']);
  });

  it('logs in by a token, or by what an exec plugin gives', async () => {
    const script = `console.log(JSON.stringify({ apiVersion: 'client.authentication.k8s.io/v1', kind: 'ExecCredential', status: { token: '${SCALER_TOKEN}' } }))`;
    const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: process.execPath, args: ['-e', script] };
    for (const user of [{ token: SCALER_TOKEN }, { exec }]) {
      const client = await clientOf(user);
      expect(await until('the Secret', () => get(client))).toMatchObject({ kind: 'Secret' });
    }
    expect(api.requests.map(({ status }) => status)).toEqual([200, 200]);
  });

  it('whose exec plugin hangs holds nobody up', async () => {
    const exec = {
      apiVersion: 'client.authentication.k8s.io/v1',
      command: process.execPath,
      args: ['-e', 'setTimeout(() => undefined, 6000)'],
    };
    const startedAt = performance.now();
    await expect(get(await clientOf({ exec }))).rejects.toThrow('the API server did not answer in time');
    expect(performance.now() - startedAt).toBeLessThan(4_000);
    expect(api.requests).toEqual([]);
  });

  it('is told as such where its login is refused, without the login', async () => {
    const asked = get(await clientOf({ token: 'somebody-else' }));
    await expect(asked).rejects.toMatchObject({ status: 401 });
    await expect(asked).rejects.not.toThrow(/somebody-else/);
  });

  it('sends nothing to a server that its authority has not signed', async () => {
    const asked = get(await clientOf({ token: SCALER_TOKEN }, {}));
    await expect(asked).rejects.toThrow('the API server cannot be reached');
    expect(api.requests).toEqual([]);
  });

  it('uses a renewed client certificate without a restart', async () => {
    const file = { cert: join(folder, 'own.pem'), key: join(folder, 'own.key') };
    const install = ({ cert, key }: { readonly cert: string; readonly key: string }): void => {
      copyFileSync(cert, file.cert);
      copyFileSync(key, file.key);
    };
    install(certificates.client);
    const client = await clientOf({ 'client-certificate': file.cert, 'client-key': file.key });
    await get(client);
    install(certificates.issue('renewed', 'renewed', 'extendedKeyUsage=clientAuth\n'));
    await get(client);
    expect(api.requests.map(({ certificate }) => certificate)).toEqual(['guest', 'renewed']);
  });
});

it('many requests share few connections', async () => {
  const client = await clientOf({ token: SCALER_TOKEN });
  const before = api.connections();
  const IN_FLIGHT = 10;
  for (let round = 0; round < 20; round++) await Promise.all(Array.from({ length: IN_FLIGHT }, () => get(client)));
  expect(api.requests).toHaveLength(20 * IN_FLIGHT);
  expect(api.connections() - before).toBeLessThanOrEqual(4 * IN_FLIGHT);
});

it('watches one after the other share few connections', async () => {
  const client = await clientOf({ token: SCALER_TOKEN });
  const before = api.connections();
  for (let round = 0; round < 20; round++) {
    const listener = {
      opened: () => {
        api.endWatches();
      },
      event: () => undefined,
    };
    await client.watch('ScaledObject', '0', listener, AbortSignal.timeout(5_000));
  }
  expect(api.requests.map(({ verb }) => verb)).toEqual(Array.from({ length: 20 }, () => 'watch'));
  expect(api.connections() - before).toBeLessThanOrEqual(4);
});

it('a watch without an answer ends with its signal', async () => {
  const client = await clientOf({ token: SCALER_TOKEN });
  const listener = { opened: () => undefined, event: () => undefined };
  api.delay(8_000);
  try {
    const startedAt = performance.now();
    await expect(client.watch('ScaledObject', '0', listener, AbortSignal.timeout(200))).rejects.toThrow('timeout');
    await client.close();
    expect(performance.now() - startedAt).toBeLessThan(2_000);
  } finally {
    api.delay(0);
  }
});
