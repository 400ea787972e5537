import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type ChannelModel } from 'amqplib';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startRabbit, type RabbitNode } from '../bed/rabbitmq.ts';
import { startRedis, type RedisServer } from '../bed/redis.ts';
import { listBacklog, queueBacklog, refill, type Backlog } from '../bed/refills.ts';
import { startScaler, type TestScaler } from '../bed/scaler.ts';

/** Long for a wake, and shorter than the time after which a stream repeats what it has told. */
const PATIENCE_MS = 10_000;
const PAUSE_MS = { least: 1_000, most: 3_000 };
const FILLS = 6;
const POLL_MS = 1_000;
/** The first zero of a quorum queue is believed after eleven seconds, and each fill may take the whole patience. */
const TIMEOUT_MS = 120_000;

let rabbit: RabbitNode;
let redis: RedisServer;
let connection: ChannelModel;
let client: Redis;
let scaler: TestScaler;

beforeAll(async () => {
  [rabbit, redis, scaler] = await Promise.all([startRabbit(), startRedis(), startScaler()]);
  connection = await connect(rabbit.amqpUrl(), { noDelay: true });
  client = new Redis(redis.url, { protocol: 2 });
});
afterAll(async () => {
  client.disconnect();
  await connection.close();
  await scaler.close();
  await Promise.all([rabbit.close(), redis.close()]);
});

const amqp = (): Record<string, string> => ({ host: rabbit.amqpUrl(), management: `http://127.0.0.1:${rabbit.managementPort}` });
const http = (): Record<string, string> => ({
  host: `http://${rabbit.user}:${rabbit.password}@127.0.0.1:${rabbit.managementPort}/`,
});

function queue(name: string, type: string, reach: () => Record<string, string>) {
  return {
    name,
    backlog: (): Promise<Backlog> => queueBacklog(connection, name, type),
    metadata: () => ({ scaler: 'rabbitmq', queueName: name, ...reach() }),
  };
}

function list(name: string) {
  return {
    name,
    backlog: () => Promise.resolve(listBacklog(client, name)),
    metadata: () => ({ scaler: 'redis', address: `127.0.0.1:${redis.port}`, listName: name }),
  };
}

it(
  'tells every fill of a queue that was drained a moment before, whether KEDA has asked meanwhile or not',
  async () => {
    const kinds = [
      ...['classic-0', 'classic-1', 'classic-2'].map((name) => ({ ...queue(name, 'classic', amqp), polled: false })),
      ...['polled-0', 'polled-1', 'polled-2'].map((name) => ({ ...queue(name, 'classic', amqp), polled: true })),
      ...['quorum-0', 'quorum-1'].map((name) => ({ ...queue(name, 'quorum', amqp), polled: false })),
      ...['http-0', 'http-1'].map((name) => ({ ...queue(name, 'classic', http), polled: false })),
      ...['list-0', 'list-1'].map((name) => ({ ...list(name), polled: false })),
      { ...list('list-2'), polled: true },
    ];
    const untold = await Promise.all(
      kinds.map(async ({ name, backlog, metadata, polled }) => {
        const filled = await backlog();
        const trigger = scaler.client.trigger({ type: 'external-push', name, metadata: metadata() });
        const push = trigger.push();
        let over = false;
        const poll = async (): Promise<void> => {
          while (polled && !over) {
            await trigger.poll().catch(() => undefined);
            await sleep(POLL_MS);
          }
        };
        const polling = poll();
        await push.next(false, 40_000);
        const missed: string[] = [];
        for (let fill = 0; fill < FILLS; fill++) {
          const pauseMs = PAUSE_MS.least + Math.random() * (PAUSE_MS.most - PAUSE_MS.least);
          await sleep(pauseMs);
          const { toldMs } = await refill(filled, push, PATIENCE_MS);
          if (toldMs > PATIENCE_MS) missed.push(`${name}: fill ${fill}, ${Math.round(pauseMs)} ms after the drain`);
        }
        over = true;
        await polling;
        push.close();
        return missed;
      }),
    );
    expect(untold.flat()).toEqual([]);
  },
  TIMEOUT_MS,
);
