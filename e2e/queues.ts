/**
 * The two queues of the end-to-end test, on brokers that it starts itself: publish, take, rotate the password, hang.
 */
import { connect, type ChannelModel } from 'amqplib';
import { startRabbit } from '../test/bed/rabbitmq.ts';
import { startRedis } from '../test/bed/redis.ts';

export interface Queue {
  readonly scaler: 'rabbitmq' | 'redis';
  readonly metadata: Readonly<Record<string, string>>;
  /** What the Secret holds now; all of it are authentication parameters. */
  secret(): Readonly<Record<string, string>>;
  publish(messages: number): Promise<void>;
  /** Takes and finishes up to so many. */
  take(messages: number): Promise<void>;
  /** Published and not taken yet. */
  waiting(): number;
  /** A new password in the broker; the Secret follows when the test puts it. */
  rotate(): Promise<void>;
  pause(): void;
  resume(): void;
  close(): Promise<void>;
}

const QUEUE = 'e2e';
/** Short, so that an outage is told before the test has to be long. */
const STALE_AFTER = '3s';

/** `address` is the host by which the scaler reaches the broker. */
export async function rabbitQueue(address: string): Promise<Queue> {
  const node = await startRabbit();
  let password = 'password-0';
  let rotations = 0;
  let waiting = 0;
  await node.ctl('add_user', 'e2e', password);
  await node.ctl('set_permissions', 'e2e', '.*', '.*', '.*');
  const withChannel = async <T>(use: (connection: ChannelModel) => Promise<T>): Promise<T> => {
    const connection = await connect(node.amqpUrl());
    try {
      return await use(connection);
    } finally {
      await connection.close();
    }
  };
  await withChannel(async (connection) => (await connection.createChannel()).assertQueue(QUEUE, { durable: true }));
  return {
    scaler: 'rabbitmq',
    metadata: { queueName: QUEUE, mode: 'QueueLength', value: '5', staleAfter: STALE_AFTER },
    secret: () => ({ host: `amqp://e2e:${password}@${address}:${node.amqpPort}/` }),
    publish: (messages) =>
      withChannel(async (connection) => {
        const channel = await connection.createConfirmChannel();
        for (let message = 0; message < messages; message++) channel.sendToQueue(QUEUE, Buffer.from('x'));
        await channel.waitForConfirms();
        waiting += messages;
      }),
    take: (messages) =>
      withChannel(async (connection) => {
        const channel = await connection.createChannel();
        for (let taken = 0; taken < messages; taken++) {
          if ((await channel.get(QUEUE, { noAck: true })) === false) break;
          waiting--;
        }
      }),
    waiting: () => waiting,
    async rotate() {
      password = `password-${++rotations}`;
      await node.ctl('change_password', 'e2e', password);
      await node.ctl('close_all_connections', 'rotated');
    },
    pause: () => {
      node.pause();
    },
    resume: () => {
      node.resume();
    },
    close: () => node.close(),
  };
}

export async function redisQueue(address: string): Promise<Queue> {
  const server = await startRedis();
  await server.call('ACL', 'SETUSER', 'e2e', 'on', '~*', '&*', '+@all', '>password-0');
  let password = 'password-0';
  let rotations = 0;
  let waiting = 0;
  return {
    scaler: 'redis',
    metadata: { listName: QUEUE, listLength: '5', staleAfter: STALE_AFTER },
    secret: () => ({ address: `${address}:${server.port}`, username: 'e2e', password }),
    async publish(messages) {
      await server.call('RPUSH', QUEUE, ...Array.from({ length: messages }, (_, index) => index));
      waiting += messages;
    },
    async take(messages) {
      const taken = await server.call('LPOP', QUEUE, messages);
      waiting -= Array.isArray(taken) ? taken.length : 0;
    },
    waiting: () => waiting,
    async rotate() {
      password = `password-${++rotations}`;
      await server.call('ACL', 'SETUSER', 'e2e', 'resetpass', `>${password}`);
      await server.call('CLIENT', 'KILL', 'USER', 'e2e');
    },
    pause: () => {
      server.pause();
    },
    resume: () => {
      server.resume();
    },
    close: () => server.close(),
  };
}
