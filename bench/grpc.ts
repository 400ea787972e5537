/**
 * What the gRPC side costs: GetMetrics against an empty grpc-js handler, ten thousand triggers polled as KEDA does with a stream open
 * for each, and the time from start to serving. All servers are processes of their own, from the bundle, before a real Redis.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { bundle, NODE_FLAGS } from '../test/bed/bundle.ts';
import { cpuMsOf } from '../test/bed/process.ts';
import { startRedis, type RedisServer } from '../test/bed/redis.ts';
import { GetMetricsRequest } from '../src/server/grpc/gen/externalscaler.ts';
import { connectFrames } from './callers/frames.ts';
import { pathOf, startKedaLoops } from './callers/kedaLoops.ts';
import { median, quantile, type Benchmark } from './report.ts';

const EMPTY = join(import.meta.dirname, 'servers/empty.ts');

const STARTS = 5;
const START_GOAL_MS = 500;
const TURNS = 3;
const TURN_MS = 4_000;
const IN_FLIGHT = 32;
/** Of the throughput of an empty handler. */
const THROUGHPUT_GOAL = 0.7;

const TRIGGERS = 10_000;
const WARM_UP_MS = 30_000;
const MEASURED_MS = 30_000;
const P99_GOAL_MS = 25;
const RSS_GOAL_MB = 300;

const bench: Benchmark = async (report) => {
  const main = await bundle();
  const redis = await startRedis();
  try {
    const starts: number[] = [];
    for (let start = 0; start < STARTS; start++) {
      const server = await startProcess([main, 'serve']);
      starts.push(server.startMs);
      await server.stop();
    }
    report.figure('from start to serving, from the bundle (median)', median(starts), 'ms', START_GOAL_MS);

    await throughput(main, redis, report);
    await tenThousand(main, redis, report);
  } finally {
    await redis.close();
  }
};
export default bench;

async function throughput(main: string, redis: RedisServer, report: Parameters<Benchmark>[0]): Promise<void> {
  const scaler = await startProcess([main, 'serve']);
  const empty = await startProcess(['--import', 'tsx', EMPTY]);
  try {
    const ours: Cost[] = [];
    const baseline: Cost[] = [];
    for (let turn = 0; turn <= TURNS; turn++) {
      const costs = [await load(scaler, redis), await load(empty, redis)] as const;
      // The first turn is for the compiler.
      if (turn === 0) continue;
      ours.push(costs[0]);
      baseline.push(costs[1]);
    }
    const of = (costs: readonly Cost[], what: keyof Cost): number => median(costs.map((cost) => cost[what]));
    const share = of(ours, 'perSecond') / of(baseline, 'perSecond');
    report.figure('GetMetrics a second', of(ours, 'perSecond'), '/s');
    report.figure('the same of an empty grpc-js handler', of(baseline, 'perSecond'), '/s');
    report.figure('the share of it', share, '', THROUGHPUT_GOAL, { atLeast: true });
    report.ratio(
      'CPU of a GetMetrics against the empty handler',
      of(ours, 'cpuUs'),
      of(baseline, 'cpuUs'),
      'µs',
      1 / THROUGHPUT_GOAL,
    );
  } finally {
    await scaler.stop();
    await empty.stop();
  }
}

interface Cost {
  readonly cpuUs: number;
  readonly perSecond: number;
}

/** Keeps calls under way for a while, by bare frames so that the server is what limits them; they must all succeed. */
async function load(server: Started, redis: RedisServer): Promise<Cost> {
  const connection = await connectFrames(server.grpc);
  try {
    const scaledObjectRef = { name: 'worker', namespace: 'default', scalerMetadata: metadata(redis, 'throughput') };
    const request = Buffer.from(GetMetricsRequest.encode({ scaledObjectRef, metricName: 'm' }).finish());
    const cpuBefore = cpuMsOf(server.pid);
    const startedAt = performance.now();
    let calls = 0;
    const call = (): Promise<void> =>
      new Promise((resolve, reject) => {
        connection.send(pathOf('GetMetrics'), request, (ok) => {
          if (ok) resolve();
          else reject(new Error('a GetMetrics failed'));
        });
      });
    const caller = async (): Promise<void> => {
      while (performance.now() - startedAt < TURN_MS) {
        await call();
        calls++;
      }
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, caller));
    return {
      cpuUs: ((cpuMsOf(server.pid) - cpuBefore) * 1000) / calls,
      perSecond: (calls * 1000) / (performance.now() - startedAt),
    };
  } finally {
    connection.close();
  }
}

async function tenThousand(main: string, redis: RedisServer, report: Parameters<Benchmark>[0]): Promise<void> {
  const scaler = await startProcess([main, 'serve']);
  try {
    const triggers = Array.from({ length: TRIGGERS }, (_, number) => ({
      name: `worker-${number}`,
      metadata: metadata(redis, `list-${number}`),
    }));
    const loops = await startKedaLoops(scaler.grpc, triggers);
    await loops.run(WARM_UP_MS);

    const cpuBefore = cpuMsOf(scaler.pid);
    const callerBefore = process.cpuUsage();
    const { latencies, seconds, failed, streamsEnded } = await loops.run(MEASURED_MS);
    const { user, system } = process.cpuUsage(callerBefore);
    report.figure(`calls a second for ${TRIGGERS} triggers with a stream each`, latencies.length / seconds, '/s');
    report.figure('p50 of these calls, at the caller', quantile(latencies, 0.5), 'ms');
    report.figure('p99 of these calls, at the caller', quantile(latencies, 0.99), 'ms', P99_GOAL_MS);
    report.figure('calls that failed', failed, '', 0);
    report.figure('streams that ended', streamsEnded, '', 0);
    report.figure('CPU of the scaler', (cpuMsOf(scaler.pid) - cpuBefore) / 10 / seconds, '% of a core');
    report.figure('CPU of the caller', (user + system) / 10_000 / seconds, '% of a core');
    report.figure('RSS of the scaler', rssMb(scaler.pid), 'MB', RSS_GOAL_MB);
    loops.close();
  } finally {
    await scaler.stop();
  }
}

function metadata(redis: RedisServer, listName: string): Record<string, string> {
  return { scaler: 'redis', address: `127.0.0.1:${redis.port}`, listName };
}

function rssMb(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}

export interface Started {
  readonly grpc: string;
  readonly pid: number;
  readonly startMs: number;
  stop(): Promise<void>;
}

/** A server as a process of its own, with the flags that users start Node with, the baseline too. */
export async function startProcess(args: readonly string[]): Promise<Started> {
  const startedAt = performance.now();
  const child = spawn(process.execPath, [...NODE_FLAGS, ...args], {
    env: {
      ...process.env,
      QUEUE_SCALER_GRPC_ADDRESS: '127.0.0.1:0',
      QUEUE_SCALER_HTTP_ADDRESS: '127.0.0.1:0',
      QUEUE_SCALER_KUBERNETES: 'off',
    },
    stdio: ['ignore', 'inherit', 'pipe'],
  });
  const exited = once(child, 'exit');
  for await (const line of createInterface({ input: child.stderr })) {
    if (!line.includes('"msg":"serving"')) continue;
    const { grpc } = JSON.parse(line) as { grpc: string };
    // Leaving the loop pauses the stream, and a full pipe would hold up the process.
    setImmediate(() => child.stderr.resume());
    return {
      grpc,
      pid: child.pid ?? 0,
      startMs: performance.now() - startedAt,
      stop: async () => {
        child.kill('SIGTERM');
        await exited;
      },
    };
  }
  throw new Error(`${args.join(' ')} ended before it served`);
}
