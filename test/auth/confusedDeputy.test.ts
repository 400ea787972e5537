import { createServer, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { openKubernetes } from '../../src/auth/kubernetes/reader.ts';
import { createResolver } from '../../src/auth/resolver.ts';
import { endpointKeysOf } from '../../src/scalers/registry.ts';
import { startScaler, type TestScaler } from '../bed/scaler.ts';
import { until } from '../bed/until.ts';
import { startApiServer, type ApiServer } from './apiServer.ts';
import { authentication, deployment, fromSecret, scaledObject, secret } from './objects.ts';
import { BASE_RBAC, rulesIn } from './rbac.ts';

const PASSWORD = 'correct-horse-battery';

/** A host that takes connections and keeps what it is sent. */
interface Listener {
  readonly port: number;
  connections: number;
  close(): void;
}

function listener(): Promise<Listener> {
  const sockets = new Set<Socket>();
  return new Promise((resolve) => {
    const server: Server = createServer((socket) => {
      sockets.add(socket);
      kept.connections++;
      socket.on('error', () => undefined);
    });
    const kept: Listener = {
      port: 0,
      connections: 0,
      close() {
        server.close();
        for (const socket of sockets) socket.destroy();
      },
    };
    server.listen(0, '127.0.0.1', () => {
      resolve(Object.assign(kept, { port: (server.address() as AddressInfo).port }));
    });
  });
}

let api: ApiServer;
let scaler: TestScaler;
/** The broker that the credentials are for, and the caller's own host. */
let broker: Listener;
let evil: Listener;
const outputs: string[] = [];

const metadata = (more: Readonly<Record<string, string>> = {}) => ({
  scaler: 'rabbitmq',
  queueName: 'orders',
  mode: 'QueueLength',
  value: '5',
  ...more,
});

/** Triggers that are refused for a key of theirs: name, metadata, ClusterTriggerAuthentication. */
const places = (): readonly (readonly [string, Record<string, string>, string])[] => {
  const place = `127.0.0.1:${evil.port}`;
  const redis = (type: string, more: Record<string, string>) => ({ scaler: type, listName: 'orders', listLength: '5', ...more });
  return [
    ['own-more-hosts', metadata({ hosts: place }), 'whole'],
    ['own-address', redis('redis', { address: place }), 'shared'],
    ['own-host-and-port', redis('redis', { host: '127.0.0.1', port: String(evil.port) }), 'shared'],
    ['own-login', redis('redis', { address: `redis://shared.example@${place}` }), 'shared'],
    ['own-sentinels', redis('redis-sentinel', { addresses: place, sentinelMaster: 'm' }), 'shared'],
    ['own-nodes', redis('redis-cluster', { addresses: place }), 'shared'],
    ['own-detour', redis('redis-cluster', { natMap: `10.0.0.1:6379=${place}` }), 'redis'],
  ];
};

beforeAll(async () => {
  [broker, evil] = await Promise.all([listener(), listener()]);
  api = await startApiServer([
    ...(await rulesIn(BASE_RBAC)),
    // So that it is not for want of a right that a token is kept.
    { apiGroups: [''], resources: ['serviceaccounts/token'], verbs: ['create'] },
  ]);
  const host = `amqp://127.0.0.1:${broker.port}`;
  const evilHost = `amqp://127.0.0.1:${evil.port}`;
  const cluster = { name: 'shared', kind: 'ClusterTriggerAuthentication' };
  api.put(
    // What the victim has: a trigger of its own, with a host and a password.
    scaledObject('victim', 'orders', metadata(), { name: 'rabbit' }),
    authentication('victim', 'rabbit', fromSecret('login', 'host', 'username', 'password')),
    secret('victim', 'login', { host, username: 'app', password: PASSWORD }),
    // What is shared with all, and what is kept for one.
    authentication(undefined, 'shared', fromSecret('shared', 'username', 'password')),
    authentication(undefined, 'whole', fromSecret('shared', 'host', 'username', 'password')),
    authentication(undefined, 'redis', fromSecret('redis', 'addresses', 'password')),
    secret('keda', 'redis', { addresses: `127.0.0.1:${broker.port}`, password: PASSWORD }),
    authentication(undefined, 'kept', fromSecret('shared', 'host', 'username', 'password'), {
      'keda-queue-scaler/allowed-namespaces': 'victim',
    }),
    secret('keda', 'shared', { host, username: 'app', password: PASSWORD }),
    // What the attacker may write: anything in his own namespace.
    deployment('attacker', 'worker', [{ name: 'MINE', value: evilHost }]),
    scaledObject('attacker', 'other-authentication', metadata({ host: evilHost }), { name: 'rabbit' }),
    scaledObject('attacker', 'other-secret', metadata({ host: evilHost }), { name: 'reach' }),
    authentication('attacker', 'reach', fromSecret('login', 'username', 'password')),
    scaledObject('attacker', 'own-host', metadata({ host: evilHost }), cluster),
    scaledObject('attacker', 'own-stream', metadata({ host: evilHost }), cluster),
    scaledObject('attacker', 'own-variable', metadata({ hostFromEnv: 'MINE' }), cluster),
    scaledObject('attacker', 'own-management', metadata({ management: `http://127.0.0.1:${evil.port}` }), {
      ...cluster,
      name: 'whole',
    }),
    scaledObject('attacker', 'own-statistics', metadata({ prometheus: `http://127.0.0.1:${evil.port}` }), {
      ...cluster,
      name: 'whole',
    }),
    // A trigger names one place beside the shared credentials, and another by a key of its own.
    ...places().map(([name, given, by]) => scaledObject('attacker', name, given, { ...cluster, name: by })),
    // Everything that is not a Secret and belongs to another namespace all the same.
    authentication(undefined, 'token', { boundServiceAccountToken: [{ parameter: 'password', serviceAccountName: 'keda' }] }),
    scaledObject('attacker', 'token', metadata({ host: evilHost }), { ...cluster, name: 'token' }),
    authentication(undefined, 'configured', { configMapTargetRef: [{ parameter: 'password', name: 'shared', key: 'password' }] }),
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace: 'keda', name: 'shared' }, data: { password: PASSWORD } },
    scaledObject('attacker', 'configured', metadata({ host: evilHost }), { ...cluster, name: 'configured' }),
    authentication(undefined, 'client', {
      oauth2: {
        type: 'clientCredentials',
        clientId: 'scaler',
        clientSecret: { valueFrom: { secretKeyRef: { name: 'shared', key: 'password' } } },
        tokenUrl: `http://127.0.0.1:${broker.port}/token`,
      },
    }),
    scaledObject('attacker', 'client', metadata({ host: `http://127.0.0.1:${evil.port}` }), { ...cluster, name: 'client' }),
    // A Vault of his, which would be shown who the scaler is.
    authentication('attacker', 'own-vault', {
      hashiCorpVault: {
        address: `http://127.0.0.1:${evil.port}`,
        authentication: 'kubernetes',
        role: 'scaler',
        secrets: [{ parameter: 'password', path: 'kv/x', key: 'password' }],
      },
    }),
    scaledObject('attacker', 'own-vault', metadata({ host: evilHost }), { name: 'own-vault' }),
    authentication('attacker', 'own-file', { filePath: '../secret.json' }),
    scaledObject('attacker', 'own-file', metadata({ host: evilHost }), { name: 'own-file' }),
    scaledObject('attacker', 'not-for-him', metadata(), { ...cluster, name: 'kept' }),
    scaledObject('attacker', 'two-readings', metadata({ host: `amqp://u:x@shared.example/y@127.0.0.1:${evil.port}` }), cluster),
  );
  const resolver = createResolver({ reader: await openKubernetes({ kubeconfig: api.kubeconfig }), endpointKeysOf });
  scaler = await startScaler({ credentials: resolver, page: true });
  await until('the API server is watched', () => api.openWatches() === 4);
});

afterAll(async () => {
  await scaler.close();
  await api.close();
  broker.close();
  evil.close();
});

beforeEach(() => {
  broker.connections = evil.connections = 0;
});

interface Answer {
  readonly code: number | undefined;
  readonly message: string;
}

async function ask(
  method: 'GetMetrics' | 'IsActive',
  namespace: string,
  name: string,
  given: Readonly<Record<string, string>>,
): Promise<Answer> {
  const reference = { namespace, name, scalerMetadata: given };
  const request = method === 'IsActive' ? reference : { scaledObjectRef: reference, metricName: 'rabbitmq-orders' };
  const answer = await scaler.client.call(method, request).then(
    (reply) => ({ code: undefined, message: JSON.stringify(reply) }),
    (error: unknown) => ({ code: (error as { code: number }).code, message: (error as Error).message }),
  );
  outputs.push(answer.message);
  return answer;
}

const NOT_FOUND = 5;
const PERMISSION_DENIED = 7;
const FAILED_PRECONDITION = 9;

describe('a caller who may speak to the scaler and write objects in his own namespace', () => {
  const evilHost = () => `amqp://127.0.0.1:${evil.port}`;
  const placeOf = (wanted: string): readonly [string, Record<string, string>] => {
    const [name, given] = places().find(([each]) => each === wanted) ?? ['', {}];
    return [name, given];
  };
  const rows: readonly (readonly [string, () => readonly [string, string, Record<string, string>], number])[] = [
    ['names an object that does not exist', () => ['attacker', 'none', metadata()], NOT_FOUND],
    ['names another’s object in his own namespace', () => ['attacker', 'orders', metadata()], NOT_FOUND],
    [
      'names another’s object with a host of his',
      () => ['victim', 'orders', metadata({ host: evilHost() })],
      FAILED_PRECONDITION,
    ],
    [
      'names another’s object with a variable of his',
      () => ['victim', 'orders', metadata({ hostFromEnv: evilHost() })],
      FAILED_PRECONDITION,
    ],
    [
      'names another’s object and another queue',
      () => ['victim', 'orders', metadata({ queueName: 'salaries' })],
      FAILED_PRECONDITION,
    ],
    [
      'names another’s TriggerAuthentication from his trigger',
      () => ['attacker', 'other-authentication', metadata({ host: evilHost() })],
      FAILED_PRECONDITION,
    ],
    [
      'names another’s Secret from his TriggerAuthentication',
      () => ['attacker', 'other-secret', metadata({ host: evilHost() })],
      FAILED_PRECONDITION,
    ],
    [
      'puts a host of his beside a ClusterTriggerAuthentication',
      () => ['attacker', 'own-host', metadata({ host: evilHost() })],
      PERMISSION_DENIED,
    ],
    [
      'puts a variable of his beside a ClusterTriggerAuthentication',
      () => ['attacker', 'own-variable', metadata({ hostFromEnv: evilHost() })],
      PERMISSION_DENIED,
    ],
    [
      'puts a management API of his beside it',
      () => ['attacker', 'own-management', metadata({ management: `http://127.0.0.1:${evil.port}` })],
      PERMISSION_DENIED,
    ],
    [
      'puts statistics of his beside it',
      () => ['attacker', 'own-statistics', metadata({ prometheus: `http://127.0.0.1:${evil.port}` })],
      PERMISSION_DENIED,
    ],
    [
      'puts a host beside it that can be read in two ways',
      () => ['attacker', 'two-readings', metadata({ host: `amqp://u:x@shared.example/y@127.0.0.1:${evil.port}` })],
      PERMISSION_DENIED,
    ],
    ['names more hosts of his beside it', () => ['attacker', ...placeOf('own-more-hosts')], PERMISSION_DENIED],
    ['names an address of his beside it', () => ['attacker', ...placeOf('own-address')], PERMISSION_DENIED],
    ['names a host and a port of his beside it', () => ['attacker', ...placeOf('own-host-and-port')], PERMISSION_DENIED],
    ['hides his host behind a login', () => ['attacker', ...placeOf('own-login')], PERMISSION_DENIED],
    ['names sentinels of his beside it', () => ['attacker', ...placeOf('own-sentinels')], PERMISSION_DENIED],
    ['names cluster nodes of his beside it', () => ['attacker', ...placeOf('own-nodes')], PERMISSION_DENIED],
    ['maps the addresses of its nodes to his', () => ['attacker', ...placeOf('own-detour')], PERMISSION_DENIED],
    [
      'puts a host of his beside a service account’s token of the shared namespace',
      () => ['attacker', 'token', metadata({ host: evilHost() })],
      PERMISSION_DENIED,
    ],
    [
      'puts a host of his beside a ConfigMap of the shared namespace',
      () => ['attacker', 'configured', metadata({ host: evilHost() })],
      PERMISSION_DENIED,
    ],
    [
      'puts a host of his beside an OAuth client, whose tokens it would get',
      () => ['attacker', 'client', metadata({ host: `http://127.0.0.1:${evil.port}` })],
      PERMISSION_DENIED,
    ],
    [
      'names a Vault of his, to be shown the scaler’s own token',
      () => ['attacker', 'own-vault', metadata({ host: evilHost() })],
      PERMISSION_DENIED,
    ],
    ['names a file of the scaler’s', () => ['attacker', 'own-file', metadata({ host: evilHost() })], FAILED_PRECONDITION],
    [
      'names a ClusterTriggerAuthentication that is not for his namespace',
      () => ['attacker', 'not-for-him', metadata()],
      PERMISSION_DENIED,
    ],
  ];

  it.each(rows)('is refused where he %s, and no host hears of it', async (_, row, code) => {
    const [namespace, name, given] = row();
    for (const method of ['GetMetrics', 'IsActive'] as const)
      expect(await ask(method, namespace, name, given)).toMatchObject({ code });
    expect([broker.connections, evil.connections]).toEqual([0, 0]);
  });

  it('is refused on a push stream too, which tells him nothing', async () => {
    const trigger = scaler.client.trigger({
      namespace: 'attacker',
      name: 'own-stream',
      metadata: metadata({ host: evilHost() }),
    });
    const stream = trigger.push();
    const rows = z.array(z.object({ name: z.string(), error: z.object({ code: z.string() }).optional() }));
    await until('the refusal', async () => {
      const listed = rows.parse(await (await fetch(`http://${scaler.http}/api/triggers`)).json());
      return listed.some(({ name, error }) => name === 'own-stream' && error?.code === 'NOT_ALLOWED');
    });
    expect(stream.states).toEqual([]);
    expect([broker.connections, evil.connections]).toEqual([0, 0]);
    stream.close();
  });

  it('is no hindrance to the victim, whose broker is spoken to', async () => {
    const answer = await ask('GetMetrics', 'victim', 'orders', metadata());
    expect(answer.code).toBeDefined();
    expect(broker.connections).toBeGreaterThan(0);
    expect(evil.connections).toBe(0);
  });

  it('finds no secret in any answer, log line, metric or page', async () => {
    const page = async (path: string): Promise<string> => (await fetch(`http://${scaler.http}${path}`)).text();
    const listed = await page('/api/triggers');
    const ids = z.array(z.object({ id: z.string() })).parse(JSON.parse(listed));
    const paths = ['/metrics', '/readyz', '/livez', '/', '/debug', ...ids.map(({ id }) => `/api/trigger?id=${id}`)];
    const pages = [listed, ...(await Promise.all(paths.map(page)))];
    const everything = [...outputs, ...scaler.log, ...pages].join('\n');
    expect(outputs.length).toBeGreaterThan(rows.length);
    expect(ids.length).toBeGreaterThan(rows.length / 2);
    expect(pages[1]).toContain('queue_scaler_kubernetes_watch_age_seconds{kind="ScaledObject"}');
    for (const hidden of [
      PASSWORD,
      Buffer.from(PASSWORD).toString('base64'),
      encodeURIComponent(PASSWORD),
      'token-of-the-scaler',
      'token-of-keda-keda',
    ]) {
      expect(everything).not.toContain(hidden);
    }
  });
});
