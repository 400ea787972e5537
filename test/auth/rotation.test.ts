import { connect } from 'amqplib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openKubernetes } from '../../src/auth/kubernetes/reader.ts';
import { createResolver } from '../../src/auth/resolver.ts';
import { startRabbit, type RabbitNode } from '../bed/rabbitmq.ts';
import { startScaler, type TestScaler } from '../bed/scaler.ts';
import { until } from '../bed/until.ts';
import { startApiServer, type ApiServer } from './apiServer.ts';
import { authentication, scaledObject, secret } from './objects.ts';
import { BASE_RBAC, rulesIn } from './rbac.ts';

let rabbit: RabbitNode;
let api: ApiServer;
let scaler: TestScaler;

const metadata = { scaler: 'rabbitmq', queueName: 'orders', mode: 'QueueLength', value: '20' };

/** The Secret that the RabbitMQ cluster operator makes. */
function defaultUser(password: string) {
  const { host, amqpPort } = rabbit;
  return secret('shop', 'rabbit-default-user', {
    connection_string: `amqp://app:${password}@${host}:${amqpPort}/`,
    host,
    port: String(amqpPort),
    username: 'app',
    password,
  });
}

beforeAll(async () => {
  rabbit = await startRabbit();
  await rabbit.ctl('add_user', 'app', 'first');
  await rabbit.ctl('set_permissions', 'app', '.*', '.*', '.*');
  const connection = await connect(rabbit.amqpUrl());
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue('orders', { durable: true });
  for (let message = 0; message < 30; message++) channel.sendToQueue('orders', Buffer.from('x'));
  await channel.waitForConfirms();
  await connection.close();
  api = await startApiServer(await rulesIn(BASE_RBAC));
  api.put(
    scaledObject('shop', 'orders', metadata, { name: 'rabbit' }),
    authentication('shop', 'rabbit', {
      secretTargetRef: [{ parameter: 'host', name: 'rabbit-default-user', key: 'connection_string' }],
    }),
    defaultUser('first'),
  );
  scaler = await startScaler({ credentials: createResolver({ reader: await openKubernetes({ kubeconfig: api.kubeconfig }) }) });
});

afterAll(async () => {
  await scaler.close();
  await api.close();
  await rabbit.close();
});

describe('a ScaledObject with the RabbitMQ operator’s Secret', () => {
  const trigger = () => scaler.client.trigger({ namespace: 'shop', name: 'orders', metadata });

  it('is read with parameter host from key connection_string and nothing else', async () => {
    expect(await trigger().poll()).toMatchObject({ active: true, metrics: [{ value: 30, target: 20 }] });
  });

  it('goes on being read when the password is changed in the broker and the Secret, without a restart', async () => {
    await trigger().poll();
    await rabbit.ctl('change_password', 'app', 'second');
    await rabbit.ctl('close_all_connections', 'rotated');
    api.put(defaultUser('second'));
    const polled = await until('a reading with the new password', () => trigger().poll());
    expect(polled).toMatchObject({ active: true, metrics: [{ value: 30 }] });
    expect(scaler.log.join('\n')).not.toMatch(/app:(?:first|second)@/);
  });
});
