/**
 * What 10 000 Redis triggers cost their server and this scaler, and how soon a sleeping one is woken: against a client that makes a
 * connection and a command for each trigger, in the same run.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { noCredentialSource } from '../src/auth/credentials.ts';
import { noEvents } from '../src/scalers/brokerEvents.ts';
import { createBrokerPool } from '../src/scalers/brokerPool.ts';
import { redis } from '../src/scalers/redis/keyLengths.ts';
import { createTriggers } from '../src/scalers/triggers.ts';
import { bundle } from '../test/bed/bundle.ts';
import { cpuMsOf } from '../test/bed/process.ts';
import { startRedis, type RedisServer } from '../test/bed/redis.ts';
import { startScalerProcess } from '../test/bed/scaler.ts';
import { until } from '../test/bed/until.ts';
import { createKedaClient } from '../test/keda/client.ts';
import { median, quantile, type Benchmark } from './report.ts';

const LISTS = 10_000;
const ROUNDS = 5;
const NAIVE_IN_FLIGHT = 50;
const WAKES = 1_000;
const BUSY_MS = 4_000;
/** Older than a reading that answers again. */
const STALE_MS = 700;

const bench: Benchmark = async (report) => {
  const main = await bundle();
  const server = await startRedis();
  try {
    await sweeps(server, report);
    await wakes(main, server, report);
    await busyList(main, server, report);
  } finally {
    await server.close();
  }
};
export default bench;

const address = (server: RedisServer): string => `127.0.0.1:${server.port}`;
const listName = (index: number): string => `list:${index}`;

async function sweeps(server: RedisServer, report: Parameters<Benchmark>[0]): Promise<void> {
  const client = new Redis(server.url, { protocol: 2 });
  const pipeline = client.pipeline();
  for (let index = 0; index < LISTS; index++) pipeline.rpush(listName(index), 'a', 'b', 'c');
  await pipeline.exec();
  client.disconnect();
  const brokers = createBrokerPool(noEvents);
  const triggers = createTriggers(noCredentialSource, brokers);
  const all = Array.from({ length: LISTS }, (_, index) =>
    triggers.find({
      namespace: 'bench',
      name: `worker-${index}`,
      metadata: { scaler: 'redis', address: address(server), listName: listName(index) },
    }),
  );
  const round = async (): Promise<void> => {
    const samples = await Promise.all(all.map((trigger) => trigger.read(AbortSignal.timeout(10_000))));
    const wrong = samples.filter(({ decision }) => decision.value !== 3).length;
    if (wrong > 0) throw new Error(`${wrong} of ${LISTS} lists were not read as 3`);
  };
  const naive = async (): Promise<void> => {
    let next = 0;
    const work = async (): Promise<void> => {
      for (let index = next++; index < LISTS; index = next++) {
        const each = new Redis(server.port, '127.0.0.1', { protocol: 2, enableReadyCheck: false, disableClientInfo: true });
        if ((await each.llen(listName(index))) !== 3) throw new Error('the baseline read wrongly');
        each.disconnect();
      }
    };
    await Promise.all(Array.from({ length: NAIVE_IN_FLIGHT }, work));
  };
  await round();
  const ours: number[] = [];
  const ourWall: number[] = [];
  const ourOwn: number[] = [];
  const theirs: number[] = [];
  for (let turn = 0; turn < ROUNDS; turn++) {
    await sleep(STALE_MS);
    const own = process.cpuUsage();
    const startedAt = performance.now();
    ours.push(await cpuOf(server, round));
    ourWall.push(performance.now() - startedAt);
    const spent = process.cpuUsage(own);
    ourOwn.push((spent.user + spent.system) / 1000);
    theirs.push(await cpuOf(server, naive));
  }
  await brokers.close();
  report.figure('longest turn of the event loop in a batch of them', await longestTurn(server), 'ms', 10);
  report.ratio(`Redis CPU of reading ${LISTS} lists`, median(ours), median(theirs), 'ms', 1 / 100);
  report.figure('time of a round', median(ourWall), 'ms');
  report.figure('this scaler’s CPU of a round, from trigger to decision', median(ourOwn), 'ms');
}

/** Of a batch of all lists through one client, in ms: the median of the longest turns of the rounds. */
async function longestTurn(server: RedisServer): Promise<number> {
  const bound = Array.from({ length: LISTS }, (_, index) =>
    redis.bind({ address: address(server), listName: listName(index) }, {}),
  );
  const client = bound[0]?.open(noEvents);
  const longest: number[] = [];
  for (let turn = 0; turn <= ROUNDS; turn++) {
    const turns = monitorEventLoopDelay({ resolution: 1 });
    let known = 0;
    turns.enable();
    await client?.readBatch(
      bound.map(({ question }) => question),
      (_, reading) => {
        if (reading.known) known++;
      },
      AbortSignal.timeout(10_000),
    );
    turns.disable();
    if (known !== LISTS) throw new Error(`${LISTS - known} lists were not read`);
    // The first opens the connection and warms the code.
    if (turn > 0) longest.push(turns.max / 1e6);
  }
  await client?.close();
  return median(longest);
}

async function wakes(main: string, server: RedisServer, report: Parameters<Benchmark>[0]): Promise<void> {
  await server.call('FLUSHALL');
  const scaler = await startScalerProcess([], {}, main);
  const keda = createKedaClient(scaler.grpc);
  const client = new Redis(server.url, { protocol: 2 });
  try {
    const streams = Array.from({ length: LISTS }, (_, index) =>
      keda
        .trigger({ name: `worker-${index}`, metadata: { scaler: 'redis', address: address(server), listName: listName(index) } })
        .push(),
    );
    await until('all streams have told their first state', () => streams.every(({ states }) => states.length > 0), {
      deadlineMs: 60_000,
      everyMs: 100,
    });
    await sleep(2_000);
    const fromPush: number[] = [];
    const fromReply: number[] = [];
    for (let count = 0; count < WAKES; count++) {
      const index = Math.floor((count * LISTS) / WAKES);
      const stream = streams[index];
      if (stream === undefined) continue;
      const pushedAt = performance.now();
      const told = stream.next(true);
      await client.rpush(listName(index), 'x');
      const repliedAt = performance.now();
      await told;
      // Both clocks are this process's: `at` was taken when the state came.
      const at = stream.states.at(-1)?.at ?? NaN;
      fromPush.push(at - pushedAt);
      fromReply.push(Math.max(0, at - repliedAt));
      await sleep(2);
    }
    report.figure(`push to true at the gRPC client, ${LISTS} sleeping lists, p50`, median(fromPush), 'ms', 3);
    report.figure('the same, p99', quantile(fromPush, 0.99), 'ms', 10);
    report.figure('from the push’s reply, p50', median(fromReply), 'ms');
    const cpu = cpuMsOf(scaler.pid);
    await sleep(5_000);
    report.figure(
      `this scaler’s CPU with ${LISTS} sleeping lists and nothing to do`,
      (cpuMsOf(scaler.pid) - cpu) / 50,
      '% of a core',
    );
    for (const stream of streams) stream.close();
  } finally {
    client.disconnect();
    keda.close();
    await scaler.close();
  }
}

/** `redis-benchmark` comes with the server's tools. */
async function busyList(main: string, server: RedisServer, report: Parameters<Benchmark>[0]): Promise<void> {
  await server.call('FLUSHALL');
  const scaler = await startScalerProcess([], {}, main);
  const keda = createKedaClient(scaler.grpc);
  try {
    const stream = keda.trigger({ metadata: { scaler: 'redis', address: address(server), listName: 'mylist' } }).push();
    await until('the first state', () => stream.states.length > 0, { deadlineMs: 20_000 });
    const pusher = spawn(
      'redis-benchmark',
      ['-p', String(server.port), '-t', 'lpush', '-P', '20', '-c', '1', '-n', '100000000', '-q'],
      { stdio: 'ignore' },
    );
    try {
      await stream.next(true, 10_000);
      await sleep(500);
      const [cpu, length, startedAt] = [cpuMsOf(scaler.pid), Number(await server.call('LLEN', 'mylist')), performance.now()];
      await sleep(BUSY_MS);
      const elapsed = performance.now() - startedAt;
      const spent = cpuMsOf(scaler.pid) - cpu;
      const pushes = Number(await server.call('LLEN', 'mylist')) - length;
      report.figure('pushes a second into one watched list', (pushes / elapsed) * 1000, '/s', 100_000, { atLeast: true });
      report.figure('this scaler’s CPU meanwhile', (spent / elapsed) * 100, '% of a core', 10);
    } finally {
      pusher.kill('SIGKILL');
      await once(pusher, 'exit');
    }
    stream.close();
  } finally {
    keda.close();
    await scaler.close();
  }
}

async function cpuOf(server: RedisServer, work: () => Promise<void>): Promise<number> {
  const before = server.cpuMs();
  await work();
  return server.cpuMs() - before;
}
