import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { startRabbit, type RabbitNode } from '../bed/rabbitmq.ts';
import { startRedis, type RedisServer } from '../bed/redis.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const LAB = join(ROOT, 'manifests/examples/lab');
/** Lines of the CSV file, which the Jobs send in rounds. */
const LINES = 4;
const PATH = [join(import.meta.dirname, '../manifests/bin'), process.env['PATH'] ?? ''].join(delimiter);

let folder: string;
const stops: (() => Promise<unknown>)[] = [];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lab-'));
});
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** The lab's file with each text replaced, all of which must be there: other addresses, and less to wait for. */
function adapted(name: string, changes: Readonly<Record<string, string>>): string {
  let manifest = readFileSync(join(LAB, name), 'utf8');
  for (const [from, to] of Object.entries(changes)) {
    expect(manifest, name).toContain(from);
    manifest = manifest.replaceAll(from, to);
  }
  return manifest;
}

/** What the file's Job does in its container, with the CSV file of the ConfigMap where it is mounted. */
async function runJob(manifest: string, csv: string, env: Readonly<Record<string, string>>): Promise<void> {
  const job = z.object({
    kind: z.literal('Job'),
    spec: z.object({
      template: z.object({
        spec: z.object({ containers: z.array(z.object({ command: z.array(z.string()), args: z.array(z.string()) })) }),
      }),
    }),
  });
  const [container] = parseAllDocuments(manifest).flatMap(
    (document) => job.safeParse(document.toJS()).data?.spec.template.spec.containers ?? [],
  );
  const [command = '', ...args] = [...(container?.command ?? []), ...(container?.args ?? [])];
  const child = spawn(
    command,
    args.map((arg) => arg.replaceAll('/csv/orders.csv', csv)),
    { env: { PATH, ...env }, stdio: ['ignore', 'inherit', 'inherit'] },
  );
  expect(await new Promise((done) => child.once('close', done))).toBe(0);
}

/** The ConfigMap's CSV file, as it is mounted into both Jobs. */
function csvFile(): string {
  const configMap = z.object({ kind: z.literal('ConfigMap'), data: z.object({ 'orders.csv': z.string() }) });
  const [csv = ''] = parseAllDocuments(readFileSync(join(LAB, '2-load-redis.yaml'), 'utf8')).flatMap(
    (document) => configMap.safeParse(document.toJS()).data?.data['orders.csv'] ?? [],
  );
  const path = join(folder, 'orders.csv');
  writeFileSync(path, csv);
  return path;
}

interface LocalRun {
  readonly ended: Promise<number | null>;
  /** What the workers wrote. */
  readonly workers: Promise<string>;
  readonly events: () => readonly { readonly event: string; readonly replicas?: number }[];
}

/** `queue-scaler local` on the manifests, until all ScaledObjects have had work and rest again. */
function runLocal(name: string, manifests: string): LocalRun {
  const file = join(folder, `${name}.yaml`);
  writeFileSync(file, manifests);
  const main = join(ROOT, 'src/main.ts');
  const options = ['--until-idle', '--json', '--duration', '80s', '--hpa-sync-period', '500ms'];
  const child = spawn(process.execPath, ['--import', 'tsx', main, 'local', file, ...options], {
    env: { ...process.env, PATH },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  stops.push(async () => {
    if (child.exitCode !== null) return;
    child.kill('SIGTERM');
    await new Promise((done) => child.once('exit', done));
  });
  let lines = '';
  child.stdout.on('data', (chunk: Buffer) => (lines += chunk.toString()));
  return {
    ended: new Promise((done) => child.once('close', done)),
    workers: text(child.stderr),
    events: () =>
      lines
        .slice(0, lines.lastIndexOf('\n') + 1)
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as { readonly event: string; readonly replicas?: number }),
  };
}

/** The Job is done before the run begins, which otherwise could be at rest before the last message. */
async function upAndDown(run: LocalRun, messages: number): Promise<void> {
  expect(await run.ended, JSON.stringify(run.events().slice(-10), undefined, 1)).toBe(0);
  const replicas = run.events().flatMap((event) => (event.event === 'scale' ? (event.replicas ?? []) : []));
  expect(Math.max(...replicas)).toBeGreaterThan(1);
  expect(replicas.at(-1)).toBe(0);
  const done = new Set((await run.workers).match(/done: \d+,\d+,\w+,\d+/g));
  expect(done.size).toBe(messages);
}

const FASTER = { 'sleep 2; echo': 'sleep 0.2; echo', 'cooldownPeriod: 30': 'pollingInterval: 1\n  cooldownPeriod: 2' };

describe('the lab', { timeout: 120_000 }, () => {
  it('has its files in the order in which its text has them', () => {
    const files = readdirSync(LAB).filter((name) => name.endsWith('.yaml'));
    const named = readFileSync(join(LAB, 'README.md'), 'utf8').match(/\d-[a-z-]+\.yaml/g);
    expect(named).toEqual(files);
  });

  it('takes the lines of a CSV file through a Redis list, by workers from none to many and back', async () => {
    const redis: RedisServer = await startRedis();
    stops.push(() => redis.close());
    const url = `redis://127.0.0.1:${redis.port}`;
    const manifests = adapted('1-redis.yaml', {
      ...FASTER,
      'redis://redis:6379': url,
      'redis.lab:6379': `127.0.0.1:${redis.port}`,
    });
    await runJob(adapted('2-load-redis.yaml', { 'seq 25': 'seq 10' }), csvFile(), { REDIS_URL: url });
    await upAndDown(runLocal('redis', manifests), 10 * LINES);
    expect(await redis.call('EXISTS', 'orders', 'orders:processing')).toBe(0);
  });

  it('takes them through RabbitMQ with the operator’s Secret, and the trigger’s two lines more', async () => {
    const rabbit: RabbitNode = await startRabbit();
    stops.push(() => rabbit.close());
    const url = rabbit.amqpUrl();
    // What the RabbitMQ cluster operator makes of 3-rabbitmq.yaml.
    const secret = {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'lab-default-user', namespace: 'lab' },
      stringData: { connection_string: url },
    };
    // A broker of the operator has it on the usual port, where it is found.
    const management = `management: http://127.0.0.1:${rabbit.managementPort}`;
    // Each message is published by a process of its own, so that few ever wait.
    const changes = {
      ...FASTER,
      "value: '5'": "value: '1'",
      'onMissingQueue: zero': `onMissingQueue: zero\n        ${management}`,
    };
    const manifests = `${adapted('4-orders.yaml', changes)}\n---\n${JSON.stringify(secret)}\n`;
    await runJob(adapted('5-load-rabbitmq.yaml', { 'seq 25': 'seq 4' }), csvFile(), { RABBITMQ_URL: url });
    await upAndDown(runLocal('rabbitmq', manifests), 4 * LINES);
  });
});
