/** What tests do to queues of a real broker: declare, fill, drain, hold messages unacknowledged. */
import { connect, type Channel, type ConfirmChannel, type Options } from 'amqplib';

export interface Queues {
  declare(queue: string, options?: Options.AssertQueue): Promise<void>;
  put(queue: string, messages: number): Promise<void>;
  /** Takes and acknowledges all ready messages. */
  drain(queue: string): Promise<void>;
  /** Takes messages and keeps them unacknowledged. */
  hold(queue: string, messages: number): Promise<void>;
  /** Acknowledges what {@link hold} took. */
  finish(queue: string): Promise<void>;
  /** Puts what {@link hold} took back. */
  release(queue: string): Promise<void>;
  readonly channel: ConfirmChannel;
  /** Never rejects: the broker may be gone. */
  close(): Promise<void>;
}

export async function connectQueues(url: string): Promise<Queues> {
  const connection = await connect(url, { noDelay: true });
  connection.on('error', () => undefined);
  const channel = await connection.createConfirmChannel();
  channel.on('error', () => undefined);
  const holders = new Map<string, Channel>();

  async function hold(queue: string, messages: number): Promise<void> {
    const holder = holders.get(queue) ?? (await connection.createChannel());
    holder.on('error', () => undefined);
    holders.set(queue, holder);
    for (let taken = 0; taken < messages; taken++) {
      if ((await holder.get(queue, { noAck: false })) === false) throw new Error(`only ${taken} messages to hold in ${queue}`);
    }
  }

  return {
    channel,
    async declare(queue, options = { durable: true }) {
      await channel.assertQueue(queue, options);
    },
    async put(queue, messages) {
      for (let sent = 0; sent < messages; sent++) channel.sendToQueue(queue, Buffer.from('work'), { persistent: true });
      await channel.waitForConfirms();
    },
    async drain(queue) {
      await channel.purgeQueue(queue);
    },
    hold,
    async finish(queue) {
      holders.get(queue)?.ackAll();
      await holders.get(queue)?.close();
      holders.delete(queue);
    },
    async release(queue) {
      await holders.get(queue)?.close();
      holders.delete(queue);
    },
    async close() {
      await connection.close().catch(() => undefined);
    },
  };
}
