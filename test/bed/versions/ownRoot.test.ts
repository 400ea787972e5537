import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { launch } from '../process.ts';
import { until } from '../until.ts';
import { enteringRoot, refusal } from './ownRoot.ts';

test.skipIf(refusal() !== undefined)(
  'a program in a root of its own is the process that was started, and its mounts are nobody else’s',
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'queue-scaler-root-'));
    const before = readFileSync('/proc/self/mountinfo', 'utf8');
    const report = join(folder, 'report');
    const script = 'cat /proc/self/mountinfo >"$0.new"; mv "$0.new" "$0"; exec sleep 1000';
    const [program, ...args] = enteringRoot('/', '/bin/sh', ['-c', script, report]);
    const started = launch(program, args, { cwd: folder });
    try {
      const mounts = await until('the program runs', () => readFileSync(report, 'utf8'));
      expect(mounts.split('\n').length).toBeGreaterThan(before.split('\n').length);
      await until('it is the process that was started', () => readFileSync(`/proc/${started.pid}/comm`, 'utf8') === 'sleep\n');
      expect(readFileSync('/proc/self/mountinfo', 'utf8')).toBe(before);
      // Read by its own eyes, the folder of the caller is where it was.
      writeFileSync(report, 'still there');
      expect(readFileSync(`/proc/${started.pid}/cwd/report`, 'utf8')).toBe('still there');
    } finally {
      await started.kill();
      rmSync(folder, { recursive: true });
    }
  },
);
