/**
 * A broker's outage takes no workload to zero, on the KEDA that closes its scalers under a poll (2.20): fifty workloads with work
 * waiting on each road to a broker, through all that can happen to it. What KEDA may do wrong, it does where an answer takes long.
 */
import { connect } from 'amqplib';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startRabbit, type RabbitNode } from '../bed/rabbitmq.ts';
import { startRedis, type RedisServer } from '../bed/redis.ts';
import { startScalerProcess, type ScalerProcess } from '../bed/scaler.ts';
import { until } from '../bed/until.ts';
import { createKedaClient, type CallRecord, type KedaClient } from '../keda/client.ts';
import { runScaledObject, type ScaledObject } from '../keda/scaledObject.ts';
import { startAwakeClock, type AwakeClock } from './awakeClock.ts';

const WORKLOADS = 50;
const REPLICAS = 4;
/** Of the trigger: what one replica is to have. */
const TARGET_EACH = 5;
const COOLDOWN_MS = 5_000;
const HPA_SYNC_MS = 2_000;
/** Of an outage, once its first call has come back. */
const LATE_MS = 250;
/** The last known reading stands in for 15 s; then there are errors for several cooldowns. */
const DOWN_MS = 32_000;
const HANG_MS = 75_000;
const BACK_MS = 60_000;

const ROADS = ['amqp', 'http', 'redis'] as const;
type Road = (typeof ROADS)[number];

interface Fleet {
  readonly road: Road;
  readonly client: KedaClient;
  readonly objects: readonly ScaledObject[];
}

interface Course {
  readonly road: Road;
  /** Workloads that were taken to zero. */
  readonly zero: readonly string[];
  readonly calls: number;
  /** Calls that took longer than allowed, begun after the first of them had come back, each with its ms. */
  readonly late: readonly string[];
  readonly slowestMs: number;
  readonly failing: number;
  readonly closed: number;
  /** Workloads that were not told rightly again in time. */
  readonly unwell: readonly string[];
}

let clock: AwakeClock;
let rabbit: RabbitNode;
let redis: RedisServer;
let scaler: ScalerProcess;
let fleets: readonly Fleet[] = [];

const nameOf = (index: number): string => `jobs-${index}`;
/** Every other queue is replicated, as far as one node does that. */
const typeOf = (index: number): string => (index % 2 === 0 ? 'classic' : 'quorum');

beforeAll(async () => {
  [rabbit, redis, scaler] = await Promise.all([
    startRabbit(),
    startRedis({ persistent: true }),
    startScalerProcess(['--kubernetes', 'off']),
  ]);
  clock = startAwakeClock(scaler.pid);
  const connection = await connect(rabbit.amqpUrl(), { noDelay: true });
  const channel = await connection.createConfirmChannel();
  const messages = Array.from({ length: REPLICAS * TARGET_EACH }, () => 'waiting');
  for (let index = 0; index < WORKLOADS; index++) {
    await channel.assertQueue(nameOf(index), { durable: true, arguments: { 'x-queue-type': typeOf(index) } });
    for (const message of messages) channel.sendToQueue(nameOf(index), Buffer.from(message), { persistent: true });
    await redis.call('RPUSH', nameOf(index), ...messages);
  }
  await channel.waitForConfirms();
  await connection.close();
  await rabbit.flush();
  fleets = ROADS.map(startFleet);
  await until('every workload is told rightly', () => fleets.every(({ objects }) => objects.every((object) => isWell(object))), {
    deadlineMs: BACK_MS,
    everyMs: 100,
  });
}, 120_000);

afterAll(async () => {
  await Promise.all(fleets.flatMap(({ objects }) => objects.map((object) => object.close())));
  for (const { client } of fleets) client.close();
  clock.close();
  await Promise.all([scaler.close(), rabbit.close(), redis.close()]);
});

function metadataOf(road: Road, index: number): Record<string, string> {
  if (road === 'redis')
    return { scaler: 'redis', address: `127.0.0.1:${redis.port}`, listName: nameOf(index), listLength: `${TARGET_EACH}` };
  const queue = { scaler: 'rabbitmq', queueName: nameOf(index), mode: 'QueueLength', value: `${TARGET_EACH}` };
  const prometheus = `http://127.0.0.1:${rabbit.prometheusPort}`;
  return road === 'http'
    ? { ...queue, host: rabbit.httpUrl('/'), prometheus }
    : { ...queue, host: rabbit.amqpUrl('/'), management: rabbit.httpUrl().replace('guest:guest@', ''), prometheus };
}

function startFleet(road: Road): Fleet {
  const client = createKedaClient(scaler.grpc, { version: '2.20', clock: () => clock.now() });
  const objects = Array.from({ length: WORKLOADS }, (_, index) => {
    const poll = index * 40;
    return runScaledObject(client, {
      triggers: [
        {
          name: `${road}-${nameOf(index)}`,
          type: index % 4 < 2 ? 'external' : 'external-push',
          metadata: metadataOf(road, index),
        },
      ],
      pollingIntervalMs: index % 4 === 0 || index % 4 === 3 ? 1_000 : 5_000,
      cooldownMs: COOLDOWN_MS,
      hpaSyncMs: HPA_SYNC_MS,
      // Apart as far as a quick scaler needs, and not as far as a slow one does.
      phases: { poll, hpa: poll + 400 },
      maxReplicas: 10,
      replicas: REPLICAS,
    });
  });
  return { road, client, objects };
}

/** Whether it has its replicas, and polls have been good since there were so many good ones. */
function isWell({ replicas, polls }: ScaledObject, since = 0): boolean {
  return replicas === REPLICAS && polls.good > since;
}

/** What each road made of what `happen` does, until all are told rightly again. */
async function courseOf(happen: () => Promise<void>): Promise<readonly Course[]> {
  const since = performance.now();
  const before = fleets.map(({ client, objects }) => ({ calls: client.calls.length, polls: pollsOf(objects) }));
  await happen();
  const good = new Map(fleets.flatMap(({ objects }) => objects.map((object) => [object, object.polls.good] as const)));
  // The poll that is under way may have asked before.
  const isBack = (object: ScaledObject): boolean => isWell(object, (good.get(object) ?? 0) + 1);
  await until('all are told rightly again', () => fleets.every(({ objects }) => objects.every(isBack)), {
    deadlineMs: BACK_MS,
    everyMs: 100,
  }).catch(() => undefined);
  return fleets.map(({ road, client, objects }, at): Course => {
    const calls = client.calls.slice(before[at]?.calls).filter(({ method }) => !method.startsWith('Stream'));
    const polls = pollsOf(objects);
    const isLate = (call: CallRecord): boolean => tookMs(call) > LATE_MS;
    const firstBackAt = Math.min(...calls.filter(isLate).map(({ answeredAt }) => answeredAt ?? Infinity));
    return {
      road,
      zero: objects
        .filter(({ decisions }) => decisions.some(({ at: when, to }) => when > since && to === 0))
        .map(({ name }) => name),
      calls: calls.length,
      late: calls
        .filter((call) => call.startedAt > firstBackAt && isLate(call))
        .map((call) => `${call.method} of ${call.trigger} took ${tookMs(call).toFixed(0)} ms`),
      slowestMs: Math.max(...calls.map(tookMs)),
      failing: polls.failing - (before[at]?.polls.failing ?? 0),
      closed: polls.closed - (before[at]?.polls.closed ?? 0),
      unwell: objects
        .filter((object) => !isBack(object))
        .map(({ name, replicas, polls: { good: had } }) => `${name}: ${replicas} replicas, ${had} good polls`),
    };
  });
}

function tookMs({ startedAt, answeredAt = clock.now() }: CallRecord): number {
  return answeredAt - startedAt;
}

function pollsOf(objects: readonly ScaledObject[]): { readonly failing: number; readonly closed: number } {
  const sum = (of: (object: ScaledObject) => number): number => objects.reduce((total, object) => total + of(object), 0);
  return { failing: sum(({ polls }) => polls.failing), closed: sum(({ polls }) => polls.closed) };
}

const brokers = (): readonly [RabbitNode, RedisServer] => [rabbit, redis];

async function down(how: 'kill' | 'stop', forMs: number): Promise<void> {
  await Promise.all(brokers().map((broker) => broker[how]()));
  await delay(forMs);
  await Promise.all(brokers().map((broker) => broker.start()));
}

async function hang(): Promise<void> {
  for (const broker of brokers()) broker.pause();
  await delay(HANG_MS);
  for (const broker of brokers()) broker.resume();
}

test.each([
  ['killed', () => down('kill', DOWN_MS), true],
  ['stopped', () => down('stop', DOWN_MS), true],
  ['restarted', () => down('stop', 0), false],
  ['hung', hang, true],
] as const)(
  'a broker that is %s takes no workload to zero and makes nobody wait',
  async (how, happen, outlastsReadings) => {
    const courses = await courseOf(happen);
    for (const { road, zero, calls, late, slowestMs, failing, closed, unwell } of courses)
      process.stdout.write(
        `${how.padEnd(10)}${road.padEnd(6)} ${zero.length} of ${WORKLOADS} to zero; ${calls} calls, ${late.length} late, ` +
          `slowest ${slowestMs.toFixed(0)} ms; ${failing} polls failing, ${closed} in a closed cache; ${unwell.length} not back\n`,
      );
    for (const { road, zero, late, failing, unwell } of courses) {
      expect.soft(unwell, road).toEqual([]);
      expect.soft(zero, road).toEqual([]);
      expect.soft(late.slice(0, 10), road).toEqual([]);
      if (outlastsReadings) expect.soft(failing, road).toBeGreaterThan(0);
    }
  },
  240_000,
);
