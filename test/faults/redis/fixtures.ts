/** What a fault test starts, ended after it; the clients that push keep trying, and hold nothing back for later. */
import { afterEach } from 'vitest';
import { setImmediate } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { type Cluster } from 'ioredis';
import { until } from '../../bed/until.ts';
import { createAsker, type Asker } from '../../scalers/redis/ask.ts';

/** Of the clients that push: fail soon, so that the push can be tried again where it belongs. */
export const PUSH_OPTIONS = {
  protocol: 2,
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0,
  commandTimeout: 1_000,
  connectTimeout: 1_000,
  retryStrategy: () => 100,
} as const;

const closers: (() => Promise<void>)[] = [];

/** Ends everything after each test of the file that calls it. */
export function closeAfterEach(): void {
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
  });
}

export function keep<T extends { close(): Promise<void> }>(started: T): T {
  closers.push(() => started.close());
  return started;
}

export function openAsker(): Asker {
  return keep(createAsker());
}

/** Resolves when the client is connected. */
export async function keepClient<T extends Redis | Cluster>(client: T): Promise<T> {
  client.on('error', () => undefined);
  closers.push(async () => {
    client.disconnect();
    await setImmediate();
  });
  await until('the client is connected', () => client.status === 'ready');
  return client;
}
