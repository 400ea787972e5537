import { beforeEach, describe, expect, it } from 'vitest';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expectNothingLost, runThrough } from '../../../bed/localRun.ts';
import { launch, type LaunchedProcess } from '../../../bed/process.ts';
import { until } from '../../../bed/until.ts';
import { redisBed } from '../fixtures.ts';
import { follow } from '../follow.ts';

const PRODUCER = join(import.meta.dirname, 'produce.mjs');
const WORKER = join(import.meta.dirname, 'work.mjs');
const NAMES = {
  'by their names': { listName: 'bull:mail:wait', processingListName: 'bull:mail:active' },
  'by patterns': { listName: 'bull:*:wait', processingListName: 'bull:*:active' },
};

const bed = redisBed();

interface Job {
  readonly id: number;
  readonly workMs?: number;
  /** The key that must exist before the job is done. */
  readonly heldBy?: string;
}

async function produce(jobs: readonly Job[]): Promise<void> {
  const env = { ...process.env, REDIS_URL: bed.server.url, QUEUE: 'mail', JOBS: JSON.stringify(jobs) };
  const producer = launch(process.execPath, [PRODUCER], { env });
  const ended = await producer.ended;
  if (ended !== 'exit code 0') throw new Error(`the producer ended with ${ended}: ${producer.output()}`);
}

describe.each(Object.entries(NAMES))('a BullMQ queue watched %s', (_names, names) => {
  const trigger = (): Record<string, string> => ({
    scaler: 'redis',
    address: bed.address,
    staleAfter: '0s',
    ...names,
  });
  let folder: string;
  let worker: LaunchedProcess;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'queue-scaler-bullmq-'));
    const env = { ...process.env, REDIS_URL: bed.server.url, QUEUE: 'mail', RECORD_FILE: join(folder, 'record') };
    worker = launch(process.execPath, [WORKER], { env });
    return async () => {
      await worker.stop();
      await rm(folder, { recursive: true, force: true });
    };
  });
  const record = async (): Promise<string[]> => (await readFile(join(folder, 'record'), 'utf8')).trim().split('\n');

  it('is active from the first job until the last is done, though nothing waits while the worker holds it', async () => {
    const { samples, stop } = follow(bed.asker, trigger());
    await until('asleep', () => samples.at(-1)?.decision.active === false);
    await produce([
      { id: 0, heldBy: 'first' },
      { id: 1, heldBy: 'second' },
    ]);
    await until('the first job is in progress', async () => (await record()).includes('taken 0'));
    await until('one waits, one is held', () => samples.at(-1)?.reading.measures['processing'] === 1);
    expect((await bed.asker.ask(trigger())).reading.measures).toEqual({ length: 1, processing: 1 });
    await bed.server.call('SET', 'first', 1);
    await until('the second job is in progress', async () => (await record()).includes('taken 1'));
    // A scale to zero now would stop the worker over its job.
    for (let count = 0; count < 5; count++) {
      const { decision, reading } = await bed.asker.ask(trigger());
      expect(decision).toMatchObject({ value: 1, active: true });
      expect(reading.measures).toEqual({ length: 0, processing: 1 });
    }
    await bed.server.call('SET', 'second', 1);
    await until('asleep again', () => samples.at(-1)?.decision.active === false);
    expect(await record()).toEqual(['taken 0', 'done 0', 'taken 1', 'done 1']);
    const told = samples.map(({ decision }) => decision);
    const first = told.findIndex(({ active }) => active);
    const last = told.findLastIndex(({ active }) => active);
    const working = told.slice(first, last + 1);
    expect(working.filter(({ active }) => !active)).toEqual([]);
    expect(working.filter(({ value }) => value > 2)).toEqual([]);
    expect((await bed.asker.ask(trigger())).decision).toMatchObject({ value: 0, active: false });
    stop();
  });
});

it('BullMQ’s workers follow its queue from zero to many and back, with no job lost, done twice or stalled', async () => {
  const jobs = Array.from({ length: 200 }, (_, id) => ({ id, workMs: id % 10 === 0 ? 400 : 20 }));
  const outcome = await runThrough(
    WORKER,
    { REDIS_URL: bed.server.url, QUEUE: 'mail' },
    { scaler: 'redis', addressFromEnv: 'REDIS_URL', ...NAMES['by patterns'], listLength: '30' },
    () => produce(jobs),
  );
  expectNothingLost(outcome, jobs.length);
  expect(await bed.server.call('ZCARD', 'bull:mail:completed')).toBe(jobs.length);
  expect(await bed.server.call('EXISTS', 'bull:mail:wait', 'bull:mail:active', 'bull:mail:failed')).toBe(0);
});
