/** The two private brokers of the demo, each with one queue named `orders`, behind one interface. */
import { connect } from 'amqplib';
import { Redis } from 'ioredis';
import { startRabbit } from '../../test/bed/rabbitmq.ts';
import { startRedis } from '../../test/bed/redis.ts';

const QUEUE = 'orders';

export interface Broker {
  readonly name: 'rabbitmq' | 'redis';
  /** What the Secret of the manifests holds of this broker. */
  readonly secret: Readonly<Record<string, string>>;
  publish(messages: readonly string[]): Promise<void>;
  /** Messages that nobody has taken. */
  depth(): Promise<number>;
  close(): Promise<void>;
}

export async function openRabbitmq(): Promise<Broker> {
  const node = await startRabbit();
  const connection = await connect(node.amqpUrl(), { noDelay: true });
  connection.on('error', () => undefined);
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue(QUEUE, { durable: true });
  return {
    name: 'rabbitmq',
    secret: { rabbitmq: node.amqpUrl(), rabbitmqManagement: `http://${node.host}:${node.managementPort}` },
    async publish(messages) {
      for (const message of messages) channel.sendToQueue(QUEUE, Buffer.from(message), { persistent: true });
      await channel.waitForConfirms();
    },
    depth: async () => (await channel.checkQueue(QUEUE)).messageCount,
    async close() {
      await connection.close().catch(() => undefined);
      await node.close();
    },
  };
}

export async function openRedis(): Promise<Broker> {
  const server = await startRedis({ persistent: true });
  const client = new Redis(server.url);
  client.on('error', () => undefined);
  return {
    name: 'redis',
    secret: { redis: server.url, redisAddress: `${server.host}:${server.port}` },
    publish: async (messages) => {
      await client.lpush(QUEUE, ...messages);
    },
    depth: () => client.llen(QUEUE),
    async close() {
      client.disconnect();
      await server.close();
    },
  };
}
