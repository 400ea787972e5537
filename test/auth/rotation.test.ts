import { connect } from 'amqplib';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { openKubernetes } from '../../src/auth/kubernetes/reader.ts';
import { createResolver } from '../../src/auth/resolver.ts';
import { endpointKeysOf } from '../../src/scalers/registry.ts';
import { startRabbit, type RabbitNode } from '../bed/rabbitmq.ts';
import { startRedis, type RedisServer } from '../bed/redis.ts';
import { startScaler, type TestScaler } from '../bed/scaler.ts';
import { until } from '../bed/until.ts';
import { startApiServer, type ApiServer, type KubernetesObject } from './apiServer.ts';
import { authentication, fromSecret, scaledObject, secret } from './objects.ts';
import { BASE_RBAC, rulesIn } from './rbac.ts';

const TRIGGERS = 5;
const POLL_MS = 50;
/** KEDA polls no more often, so that it meets the trouble once at most. */
const SHORTEST_INTERVAL_MS = 1_000;

let api: ApiServer;
let scaler: TestScaler;

async function startAgainst(objects: readonly KubernetesObject[]): Promise<void> {
  api = await startApiServer(await rulesIn(BASE_RBAC));
  api.put(...objects);
  scaler = await startScaler({
    credentials: createResolver({ reader: await openKubernetes({ kubeconfig: api.kubeconfig }), endpointKeysOf }),
  });
}

afterEach(async () => {
  await scaler.close();
  await api.close();
});

const nameOf = (index: number): string => `orders-${index}`;

/** Several triggers that share an authentication and differ in their target, each polled without pause. */
function pollAll(metadata: Readonly<Record<string, string>>) {
  const triggers = Array.from({ length: TRIGGERS }, (_, index) => ({
    client: scaler.client.trigger({ namespace: 'shop', name: nameOf(index), metadata }),
    values: [] as number[],
    /** When polls failed, in ms of `performance.now()`. */
    failures: [] as number[],
  }));
  const stop = new AbortController();
  const polling = triggers.map(async ({ client, values, failures }) => {
    while (!stop.signal.aborted) {
      await client.poll().then(
        ({ metrics }) => values.push(metrics[0]?.value ?? NaN),
        () => failures.push(performance.now()),
      );
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  });
  return {
    triggers,
    allSay: (value: number) => until(`${value} for all`, () => triggers.every(({ values }) => values.at(-1) === value)),
    async stop() {
      stop.abort();
      await Promise.all(polling);
    },
  };
}

/** Rotates while all triggers are polled, and gives for how long the polls of each failed, in ms. */
async function failuresOf(
  metadata: Readonly<Record<string, string>>,
  [before, after]: readonly [number, number],
  rotate: () => Promise<void>,
): Promise<number[]> {
  const polls = pollAll(metadata);
  try {
    await polls.allSay(before);
    await rotate();
    await polls.allSay(after);
  } finally {
    await polls.stop();
  }
  return polls.triggers.map(({ failures: [first = 0, ...more] }) => (more.at(-1) ?? first) - first);
}

const refusedReadings = async (): Promise<number> =>
  [...(await scaler.metrics()).matchAll(/^queue_scaler_readings_total\{.*outcome="BROKER_REFUSED".*\} (\d+)$/gm)].reduce(
    (sum, [, count]) => sum + Number(count),
    0,
  );

describe('a rotated password in RabbitMQ', () => {
  const metadata = { scaler: 'rabbitmq', queueName: 'orders', mode: 'QueueLength', value: '20', staleAfter: '0s' };
  let rabbit: RabbitNode;

  /** The Secret that the RabbitMQ cluster operator makes. */
  const defaultUser = (password: string) =>
    secret('shop', 'rabbit-default-user', {
      connection_string: `amqp://app:${password}@${rabbit.host}:${rabbit.amqpPort}/`,
      host: rabbit.host,
      port: String(rabbit.amqpPort),
      username: 'app',
      password,
    });
  async function publish(messages: number): Promise<void> {
    const connection = await connect(rabbit.amqpUrl());
    const channel = await connection.createConfirmChannel();
    await channel.assertQueue('orders', { durable: true });
    for (let message = 0; message < messages; message++) channel.sendToQueue('orders', Buffer.from('x'));
    await channel.waitForConfirms();
    await connection.close();
  }

  beforeAll(async () => {
    rabbit = await startRabbit();
    await rabbit.ctl('add_user', 'app', 'first');
    await rabbit.ctl('set_permissions', 'app', '.*', '.*', '.*');
    await publish(30);
  });
  afterAll(() => rabbit.close());

  it('in the operator’s Secret, of which connection_string alone is the host, costs each trigger one reading at most', async () => {
    await startAgainst([
      ...Array.from({ length: TRIGGERS }, (_, index) => scaledObject('shop', nameOf(index), metadata, { name: 'rabbit' })),
      authentication('shop', 'rabbit', {
        secretTargetRef: [{ parameter: 'host', name: 'rabbit-default-user', key: 'connection_string' }],
      }),
      defaultUser('first'),
    ]);
    const failures = await failuresOf(metadata, [30, 31], async () => {
      await rabbit.ctl('change_password', 'app', 'second');
      api.put(defaultUser('second'));
      await rabbit.ctl('close_all_connections', 'rotated');
      await publish(1);
    });
    expect(Math.max(...failures)).toBeLessThan(SHORTEST_INTERVAL_MS);
    expect(await refusedReadings()).toBeLessThanOrEqual(TRIGGERS);
    expect(scaler.log.join('\n')).not.toMatch(/app:(?:first|second)@/);
  });
});

describe('a rotated password in Redis', () => {
  const metadata = { scaler: 'redis', listName: 'orders', listLength: '5', staleAfter: '0s' };
  let redis: RedisServer;
  const login = (password: string) => secret('shop', 'redis', { address: `127.0.0.1:${redis.port}`, username: 'app', password });

  beforeAll(async () => {
    redis = await startRedis();
    await redis.call('ACL', 'SETUSER', 'app', 'on', '~*', '&*', '+@all', '>first');
    await redis.call('RPUSH', 'orders', 'a', 'b', 'c');
  });
  afterAll(() => redis.close());

  it('costs each trigger one reading at most', async () => {
    await startAgainst([
      ...Array.from({ length: TRIGGERS }, (_, index) => scaledObject('shop', nameOf(index), metadata, { name: 'redis' })),
      authentication('shop', 'redis', fromSecret('redis', 'address', 'username', 'password')),
      login('first'),
    ]);
    const failures = await failuresOf(metadata, [3, 4], async () => {
      await redis.call('ACL', 'SETUSER', 'app', 'resetpass', '>second');
      api.put(login('second'));
      await redis.call('CLIENT', 'KILL', 'USER', 'app');
      await redis.call('RPUSH', 'orders', 'd');
    });
    expect(Math.max(...failures)).toBeLessThan(SHORTEST_INTERVAL_MS);
    expect(await refusedReadings()).toBeLessThanOrEqual(TRIGGERS);
  });
});
