/** The command as a user starts it, on the example of the documentation, with a real Redis. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { LocalEvent } from '../../src/local/events.ts';
import { startRedis, type RedisServer } from '../bed/redis.ts';
import { until } from '../bed/until.ts';

const ROOT = resolve(import.meta.dirname, '../..');

let redis: RedisServer;
let folder: string;
let manifest: string;
let child: ChildProcess | undefined;
let events: LocalEvent[];
let errors: string[];

beforeAll(async () => {
  redis = await startRedis();
});

afterAll(async () => {
  await redis.close();
});

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'local-cli-'));
  await cp(join(ROOT, 'examples/local'), folder, { recursive: true });
  manifest = join(folder, 'redis.yaml');
  const text = await readFile(manifest, 'utf8');
  // Its own Redis, and no patience.
  await writeFile(
    manifest,
    text
      .replace('redis://127.0.0.1:6379', redis.url)
      .replace('pollingInterval: 5', 'pollingInterval: 1')
      .replace('cooldownPeriod: 10', 'cooldownPeriod: 1')
      .replace('stabilizationWindowSeconds: 15', 'stabilizationWindowSeconds: 0'),
  );
  events = [];
  errors = [];
  await redis.call('FLUSHALL');
});

afterEach(async () => {
  if (child?.exitCode === null && child.signalCode === null) {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  await until('no worker', () => workerPids().every((pid) => !isAlive(pid)), { deadlineMs: 30_000 });
  child = undefined;
  await rm(folder, { recursive: true });
});

function local(...args: readonly string[]): ChildProcess {
  const process_ = spawn(
    process.execPath,
    ['--import', 'tsx', 'src/main.ts', 'local', manifest, '--json', '--hpa-sync-period', '200ms', ...args],
    {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  createInterface({ input: process_.stdout }).on('line', (line) => events.push(JSON.parse(line) as LocalEvent));
  createInterface({ input: process_.stderr }).on('line', (line) => errors.push(line));
  child = process_;
  return process_;
}

async function exitOf(process_: ChildProcess): Promise<number | NodeJS.Signals | null> {
  const [code, signal] = (await once(process_, 'exit')) as [number | null, NodeJS.Signals | null];
  return code ?? signal;
}

function workerPids(): number[] {
  return events.flatMap((event) => (event.event === 'worker' && event.state === 'started' ? [event.pid] : []));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function push(count: number): Promise<void> {
  await redis.call('RPUSH', 'jobs', ...Array.from({ length: count }, (_, index) => index));
}

describe('queue-scaler local', () => {
  test('runs the documented example from zero to many and back, and loses no job', async () => {
    const process_ = local('--until-idle', '--duration', '60s');
    await until('the first poll', () => events.some(({ event }) => event === 'poll'), { deadlineMs: 20_000 });
    await push(40);
    expect(await exitOf(process_)).toBe(0);
    expect(await redis.call('LLEN', 'jobs')).toBe(0);
    expect(await redis.call('LLEN', 'jobs:processing')).toBe(0);
    const done = errors.flatMap((line) => /\] job (\d+)$/.exec(line)?.[1] ?? []).map(Number);
    expect(done.sort((left, right) => left - right)).toEqual(Array.from({ length: 40 }, (_, index) => index));
    expect(Math.max(...events.map((event) => (event.event === 'worker' ? event.ready : 0)))).toBeGreaterThan(1);
    expect(events.at(0)).toMatchObject({ event: 'serving' });
    expect(events.at(-1)).toMatchObject({ event: 'end', reason: 'idle' });
  });

  test('on Ctrl-C stops its workers in order and ends', async () => {
    await push(40);
    const process_ = local();
    await until('a worker', () => workerPids().length > 0, { deadlineMs: 20_000 });
    process_.kill('SIGINT');
    expect(await exitOf(process_)).toBe(0);
    expect(events.filter((event) => event.event === 'worker' && event.state === 'stopped')).toHaveLength(workerPids().length);
    expect(await redis.call('LLEN', 'jobs:processing')).toBe(0);
  });

  test('stops its workers when nobody reads its output any more', async () => {
    await push(40);
    const process_ = local();
    await until('a worker', () => workerPids().length > 0, { deadlineMs: 20_000 });
    process_.stdout?.destroy();
    expect(await exitOf(process_)).toBe(0);
    expect(await redis.call('LLEN', 'jobs:processing')).toBe(0);
  });

  test('leaves no worker behind when it is killed itself, and lets them finish', async () => {
    await writeFile(
      join(folder, 'worker.sh'),
      `trap 'sleep 1; touch "finished-$HOSTNAME"; exit 0' TERM; touch "up-$HOSTNAME"; while :; do sleep 0.1; done`,
    );
    await push(40);
    const process_ = local();
    const filesOf = async (word: string): Promise<number> =>
      (await readdir(folder)).filter((name) => name.startsWith(word)).length;
    await until('all workers', async () => (await filesOf('up-')) === 4, { deadlineMs: 20_000 });
    process_.kill('SIGKILL');
    expect(await exitOf(process_)).toBe('SIGKILL');
    await until('no worker', () => workerPids().every((pid) => !isAlive(pid)));
    expect(await filesOf('finished-')).toBe(4);
  });

  test('tells all faults of its files by place, and starts nothing', async () => {
    const text = await readFile(manifest, 'utf8');
    await writeFile(manifest, text.replace('cooldownPeriod', 'coolDownPeriod').replace(/ +command:.*\n/, ''));
    const process_ = local();
    expect(await exitOf(process_)).toBe(1);
    expect(events).toEqual([]);
    expect(errors).toEqual([expect.stringMatching(/redis\.yaml:\d+:\d+: .*coolDownPeriod/)]);
  });

  test('tells wrong flags', async () => {
    const process_ = local('--hpa-tolerance', '7');
    expect(await exitOf(process_)).toBe(2);
    expect(errors.join('\n')).toContain('--hpa-tolerance must be a number');
  });
});
