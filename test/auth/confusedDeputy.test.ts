import { createServer, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openKubernetes } from '../../src/auth/kubernetes/reader.ts';
import { createResolver } from '../../src/auth/resolver.ts';
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

beforeAll(async () => {
  [broker, evil] = await Promise.all([listener(), listener()]);
  api = await startApiServer(await rulesIn(BASE_RBAC));
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
    scaledObject('attacker', 'own-variable', metadata({ hostFromEnv: 'MINE' }), cluster),
    scaledObject('attacker', 'own-management', metadata({ management: `http://127.0.0.1:${evil.port}` }), {
      ...cluster,
      name: 'whole',
    }),
    scaledObject('attacker', 'own-statistics', metadata({ prometheus: `http://127.0.0.1:${evil.port}` }), {
      ...cluster,
      name: 'whole',
    }),
    scaledObject('attacker', 'not-for-him', metadata(), { ...cluster, name: 'kept' }),
    scaledObject('attacker', 'two-readings', metadata({ host: `amqp://u:x@shared.example/y@127.0.0.1:${evil.port}` }), cluster),
  );
  const resolver = createResolver({ reader: await openKubernetes({ kubeconfig: api.kubeconfig }) });
  scaler = await startScaler({ credentials: resolver });
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

  it('is no hindrance to the victim, whose broker is spoken to', async () => {
    const answer = await ask('GetMetrics', 'victim', 'orders', metadata());
    expect(answer.code).toBeDefined();
    expect(broker.connections).toBeGreaterThan(0);
    expect(evil.connections).toBe(0);
  });

  it('finds no secret in any answer, log line, metric or page', async () => {
    const page = async (path: string): Promise<string> => (await fetch(`http://${scaler.http}${path}`)).text();
    const pages = await Promise.all(
      ['/metrics', '/readyz', '/livez', '/', '/debug', '/debug/triggers', '/status', '/api/status'].map(page),
    );
    const everything = [...outputs, ...scaler.log, ...pages].join('\n');
    expect(outputs.length).toBeGreaterThan(rows.length);
    expect(pages[0]).toContain('queue_scaler_kubernetes_watch_age_seconds{kind="ScaledObject"}');
    for (const hidden of [
      PASSWORD,
      Buffer.from(PASSWORD).toString('base64'),
      encodeURIComponent(PASSWORD),
      'token-of-the-scaler',
    ]) {
      expect(everything).not.toContain(hidden);
    }
  });
});
