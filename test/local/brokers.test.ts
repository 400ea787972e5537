/**
 * From zero to many and back to zero on real brokers, with workers that are stopped while they hold messages: nothing may be lost
 * and nothing done twice.
 */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { connect } from 'amqplib';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readManifests } from '../../src/auth/files.ts';
import type { LocalEvent } from '../../src/local/events.ts';
import { planRun } from '../../src/local/plan.ts';
import { run, type RunEnd } from '../../src/local/run.ts';
import { startRabbit, type RabbitNode } from '../bed/rabbitmq.ts';
import { startRedis, type RedisServer } from '../bed/redis.ts';
import { until } from '../bed/until.ts';

const DEMO = resolve(import.meta.dirname, '../../examples/demo');
const MESSAGES = 200;
/** A message in ten takes long, so that there is one in hand whenever a worker is stopped. */
const workMs = (id: number): number => (id % 10 === 0 ? 400 : 20);
const messages = Array.from({ length: MESSAGES }, (_, id) => JSON.stringify({ id, workMs: workMs(id) }));

interface Outcome {
  readonly end: RunEnd;
  readonly events: readonly LocalEvent[];
  /** Ids in the order in which workers took, and had done, them. */
  readonly taken: readonly number[];
  readonly done: readonly number[];
}

/** Runs until idle; publishes once the trigger is polled, so that the start is from zero. */
async function runThrough(
  worker: string,
  env: Readonly<Record<string, string>>,
  trigger: Readonly<Record<string, string>>,
  publish: () => Promise<void>,
): Promise<Outcome> {
  const folder = await mkdtemp(join(tmpdir(), 'local-brokers-'));
  try {
    const record = join(folder, 'record.txt');
    await writeFile(record, '');
    const file = join(folder, 'all.yaml');
    await writeFile(file, manifests(join(DEMO, worker), { ...env, RECORD_FILE: record }, trigger));
    const read = await readManifests([file]);
    const plan = await planRun(read, { syncPeriodMs: 200, tolerance: 0.1 });
    expect(plan.faults).toEqual([]);
    const events: LocalEvent[] = [];
    const running = run({
      manifests: read,
      plan,
      logger: pino({ level: 'silent' }),
      tell: (event) => void events.push(event),
      workerOutput: () => undefined,
      untilIdle: true,
      durationMs: 90_000,
      stop: new AbortController().signal,
      kill: new AbortController().signal,
    });
    await until('a first poll', () => events.some(({ event }) => event === 'poll'));
    await publish();
    const end = await running;
    const lines = readFileSync(record, 'utf8').split('\n');
    const idsOf = (word: string): number[] =>
      lines.flatMap((line) => (line.startsWith(`${word} `) ? [Number(line.slice(word.length))] : []));
    return { end, events, taken: idsOf('taken'), done: idsOf('done') };
  } finally {
    await rm(folder, { recursive: true });
  }
}

function manifests(script: string, env: Readonly<Record<string, string>>, trigger: Readonly<Record<string, string>>): string {
  // JSON is YAML.
  const scaledObject = {
    apiVersion: 'keda.sh/v1alpha1',
    kind: 'ScaledObject',
    metadata: { name: 'orders' },
    spec: {
      scaleTargetRef: { name: 'worker' },
      pollingInterval: 1,
      cooldownPeriod: 1,
      maxReplicaCount: 5,
      advanced: {
        horizontalPodAutoscalerConfig: {
          behavior: {
            scaleUp: { policies: [{ type: 'Pods', value: 5, periodSeconds: 1 }] },
            scaleDown: { stabilizationWindowSeconds: 0, policies: [{ type: 'Pods', value: 1, periodSeconds: 1 }] },
          },
        },
      },
      triggers: [{ type: 'external-push', metadata: { scalerAddress: 'keda-queue-scaler.keda:6000', ...trigger } }],
    },
  };
  const deployment = {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'worker' },
    spec: {
      replicas: 0,
      template: {
        spec: {
          terminationGracePeriodSeconds: 20,
          containers: [
            {
              name: 'worker',
              command: [process.execPath, script],
              env: Object.entries(env).map(([name, value]) => ({ name, value })),
            },
          ],
        },
      },
    },
  };
  return `${JSON.stringify(scaledObject)}\n---\n${JSON.stringify(deployment)}\n`;
}

function expectNothingLost({ end, events, taken, done }: Outcome): void {
  const byId = (left: number, right: number): number => left - right;
  expect(end).toBe('idle');
  expect([...done].sort(byId)).toEqual(messages.map((_, id) => id));
  expect([...taken].sort(byId)).toEqual(messages.map((_, id) => id));
  const workers = events.filter((event) => event.event === 'worker');
  expect(workers.at(-1)).toMatchObject({ state: 'stopped', replicas: 0, ready: 0, stopping: 0 });
  expect(Math.max(...workers.map(({ ready }) => ready))).toBe(5);
  // The HPA took replicas away while there still was work.
  const scaleIns = events.filter((event) => event.event === 'scale' && event.by === 'hpa' && event.desired < event.from);
  expect(scaleIns.length).toBeGreaterThan(0);
  expect(workers.filter(({ state }) => state === 'killed' || state === 'exited')).toEqual([]);
}

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
      'redisWorker.mjs',
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
    expectNothingLost(outcome);
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
      'rabbitmqWorker.mjs',
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
    expectNothingLost(outcome);
    expect(await channel.checkQueue('orders')).toMatchObject({ messageCount: 0, consumerCount: 0 });
    await connection.close();
  }, 120_000);
});
