import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { bundle } from '../bed/bundle.ts';
import { startRedis, type RedisServer } from '../bed/redis.ts';
import { get, startScalerProcess, type ScalerProcess } from '../bed/scaler.ts';
import { until } from '../bed/until.ts';
import { createKedaClient, type KedaClient } from '../keda/client.ts';

const ATTACKER = fileURLToPath(new URL('./attacker.ts', import.meta.url));
const ATTACK_MS = 8_000;
const CALL_GAP_MS = 10;
/** Of others’ calls while an attack goes on, against those before. */
const P99_FACTOR = 3;
/** Below this a ratio of latencies tells of the machine and not of the scaler. */
const P99_FLOOR_MS = 250;
/** Twenty thousand streams of an attacker cost some 20 KB each, and what they cost is given back only in part. */
const RSS_BOUND_MB = 650;

/** A connection that HTTP/2 has given up on is closed by the unanswered keepalive ping at the latest: 10 s + 10 s. */
const GONE_MS = 30_000;

/** Streams that an attack has open at once, if it is one of streams. */
const STREAMS: Readonly<Record<string, number>> = { '20 000 streams': 20_000, 'streams never read': 2_000 };

const ATTACKS = [
  'random bytes',
  'HTTP/1',
  'huge frames',
  'headers without end',
  'reset streams',
  '20 000 streams',
  'half-open sockets',
  'streams never read',
];

let redis: RedisServer;
let scaler: ScalerProcess;
let keda: KedaClient;

beforeAll(async () => {
  redis = await startRedis();
  // From the bundle, which is what users run.
  scaler = await startScalerProcess(['--kubernetes', 'off'], {}, await bundle());
  keda = createKedaClient(scaler.grpc);
}, 120_000);
afterAll(async () => {
  keda.close();
  await scaler.close();
  await redis.close();
});

/** Calls at a steady rate until told to stop; resolves to the p99 of their latencies in ms. A call that fails rejects. */
async function p99While(ended: Promise<unknown>): Promise<number> {
  const metadata = { scaler: 'redis', address: `127.0.0.1:${redis.port}`, listName: 'calm' };
  const { reference } = keda.trigger({ metadata });
  const latencies: number[] = [];
  const state = { over: false };
  void ended.finally(() => {
    state.over = true;
  });
  while (!state.over) {
    const startedAt = performance.now();
    await keda.call('IsActive', reference);
    latencies.push(performance.now() - startedAt);
    await new Promise((resolve) => setTimeout(resolve, CALL_GAP_MS));
  }
  latencies.sort((left, right) => left - right);
  return latencies[Math.floor(latencies.length * 0.99)] ?? NaN;
}

async function attack(name: string): Promise<void> {
  const args = ['--import', 'tsx', ATTACKER, name, scaler.grpc, String(ATTACK_MS), String(redis.port)];
  const child = spawn(process.execPath, args, { stdio: 'inherit' });
  const [, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
  // It ends by its own SIGKILL; anything else is a fault of the test.
  expect(signal).toBe('SIGKILL');
}

function rssMb(): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${scaler.pid}/status`, 'utf8'))?.[1]) / 1024;
}

async function gauge(name: string): Promise<number> {
  const { text } = await get(scaler.http, '/metrics');
  return Number(new RegExp(`^${name} (\\d+)`, 'm').exec(text)?.[1]);
}

it.each(ATTACKS)(
  'bears %s: others are answered, memory stays bounded, and nothing is left of it',
  async (name) => {
    const calm = await p99While(new Promise((resolve) => setTimeout(resolve, 3_000)));
    const attacking = attack(name);
    const opened = until(
      'the attack has all its streams open',
      async () => (await gauge('queue_scaler_grpc_streams')) >= (STREAMS[name] ?? 0),
      { deadlineMs: ATTACK_MS, everyMs: 500 },
    );
    const [under] = await Promise.all([p99While(attacking), opened]);
    const rss = rssMb();
    process.stdout.write(
      `${name}: p99 ${calm.toFixed(1)} ms before, ${under.toFixed(1)} ms under attack; RSS ${rss.toFixed(0)} MB\n`,
    );
    expect(under).toBeLessThan(Math.max(calm * P99_FACTOR, P99_FLOOR_MS));
    expect(rss).toBeLessThan(RSS_BOUND_MB);
    const gone = { deadlineMs: GONE_MS, everyMs: 500 };
    await until('the attacker’s connections are closed', async () => (await gauge('queue_scaler_grpc_connections')) === 1, gone);
    await until('the attacker’s streams are closed', async () => (await gauge('queue_scaler_grpc_streams')) === 0, gone);
  },
  60_000,
);
