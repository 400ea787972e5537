/**
 * Queues and lists that are drained and filled again, and when a stream tells of each fill; for tests and benchmarks of waking.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ChannelModel, Message } from 'amqplib';
import type { Redis } from 'ioredis';
import type { PushStream } from '../keda/client.ts';

export interface Backlog {
  fill(messages: number): Promise<void>;
  /** Takes and acknowledges that many, as a worker that leaves then. */
  drain(messages: number): Promise<void>;
}

/** Longest time from the `true` to the worker's start; in a cluster it takes a second and more. */
const START_MS = 500;
const LOOK_MS = 5;

/** Declares the queue. */
export async function queueBacklog(connection: ChannelModel, queue: string, type: string): Promise<Backlog> {
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': type } });
  return {
    async fill(messages) {
      for (let count = 0; count < messages; count++) channel.sendToQueue(queue, Buffer.from('work'));
      await channel.waitForConfirms();
    },
    async drain(messages) {
      const worker = await connection.createChannel();
      let left = messages;
      await new Promise<void>((taken, fail) => {
        const take = (message: Message | null): void => {
          if (message === null) return;
          worker.ack(message);
          if (--left === 0) taken();
        };
        worker.consume(queue, take).catch(fail);
      });
      await worker.close();
    },
  };
}

export function listBacklog(client: Redis, key: string): Backlog {
  return {
    async fill(messages) {
      await client.rpush(key, ...Array.from({ length: messages }, () => 'work'));
    },
    async drain(messages) {
      await client.lpop(key, messages);
    },
  };
}

export interface Refill {
  /** By `performance.now()`. */
  readonly filledAt: number;
  /** From before the fill to the `true`, in ms; Infinity if none came within `patienceMs`. */
  readonly toldMs: number;
}

/** Fills, waits for the `true`, and drains. */
export async function refill(backlog: Backlog, push: PushStream, patienceMs: number): Promise<Refill> {
  const messages = 1 + Math.floor(Math.random() * 3);
  const filledAt = performance.now();
  await backlog.fill(messages);
  const toldAt = await trueAfter(push, filledAt, patienceMs);
  await sleep(Math.random() * START_MS);
  await backlog.drain(messages);
  return { filledAt, toldMs: toldAt - filledAt };
}

async function trueAfter({ states }: PushStream, from: number, patienceMs: number): Promise<number> {
  while (performance.now() < from + patienceMs) {
    const found = states.find(({ active, at }) => active && at >= from);
    if (found !== undefined) return found.at;
    await sleep(LOOK_MS);
  }
  return Infinity;
}
