/**
 * From zero to many and back to zero on real brokers, with workers that are stopped while they hold messages: nothing may be lost
 * and nothing done twice.
 */
import { resolve } from 'node:path';
import { connect } from 'amqplib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { expectNothingLost, runThrough } from '../bed/localRun.ts';
import { startRabbit, type RabbitNode } from '../bed/rabbitmq.ts';
import { startRedis, type RedisServer } from '../bed/redis.ts';

const DEMO = resolve(import.meta.dirname, '../../examples/demo');
const MESSAGES = 200;
/** A message in ten takes long, so that there is one in hand whenever a worker is stopped. */
const workMs = (id: number): number => (id % 10 === 0 ? 400 : 20);
const messages = Array.from({ length: MESSAGES }, (_, id) => JSON.stringify({ id, workMs: workMs(id) }));

describe('a Redis list', () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(async () => {
    await redis.close();
  });

  test('is worked off from zero to many and back to zero with nothing lost', async () => {
    const outcome = await runThrough(
      resolve(DEMO, 'redisWorker.mjs'),
      { REDIS_URL: redis.url, LIST: 'orders' },
      {
        scaler: 'redis',
        addressFromEnv: 'REDIS_URL',
        listName: 'orders',
        processingListName: 'orders:processing:*',
        listLength: '30',
      },
      async () => {
        await redis.call('LPUSH', 'orders', ...messages);
      },
    );
    expectNothingLost(outcome, MESSAGES);
    expect(await redis.call('KEYS', 'orders*')).toEqual([]);
  }, 120_000);
});

describe('a RabbitMQ queue', () => {
  let rabbit: RabbitNode;
  beforeAll(async () => {
    rabbit = await startRabbit();
  });
  afterAll(async () => {
    await rabbit.close();
  });

  test('is worked off from zero to many and back to zero with nothing lost', async () => {
    const connection = await connect(rabbit.amqpUrl());
    const channel = await connection.createConfirmChannel();
    await channel.assertQueue('orders', { durable: true });
    const outcome = await runThrough(
      resolve(DEMO, 'rabbitmqWorker.mjs'),
      { RABBITMQ_URL: rabbit.amqpUrl(), QUEUE: 'orders' },
      {
        scaler: 'rabbitmq',
        hostFromEnv: 'RABBITMQ_URL',
        queueName: 'orders',
        mode: 'QueueLength',
        value: '30',
        management: `http://127.0.0.1:${rabbit.managementPort}`,
      },
      async () => {
        for (const message of messages) channel.sendToQueue('orders', Buffer.from(message), { persistent: true });
        await channel.waitForConfirms();
      },
    );
    expectNothingLost(outcome, MESSAGES);
    expect(await channel.checkQueue('orders')).toMatchObject({ messageCount: 0, consumerCount: 0 });
    await connection.close();
  }, 120_000);
});
