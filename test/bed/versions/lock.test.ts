import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { lock } from './lock.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'queue-scaler-lock-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

test('the second waits until the first lets go', async () => {
  const file = join(folder, 'lock');
  const order: string[] = [];
  const unlock = await lock(file);
  const second = lock(file).then((unlockSecond) => {
    order.push('second');
    return unlockSecond;
  });
  // Whoever comes by meanwhile finds it held.
  const [code] = (await once(spawn('flock', ['--nonblock', file, 'true']), 'exit')) as [number];
  expect(code).toBe(1);
  order.push('first lets go');
  await unlock();
  await (
    await second
  )();
  expect(order).toEqual(['first lets go', 'second']);
});

test('a holder that is killed holds it no more', async () => {
  const file = join(folder, 'lock');
  const script = `
    import { lock } from './test/bed/versions/lock.ts';
    await lock(process.argv[1]);
    process.kill(process.pid, 'SIGKILL');`;
  const holder = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script, file], { stdio: 'inherit' });
  expect(await once(holder, 'exit')).toEqual([null, 'SIGKILL']);
  await (
    await lock(file)
  )();
});
