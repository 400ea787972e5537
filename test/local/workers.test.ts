import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createLifeline, type Lifeline } from '../../src/local/workers/lifeline.ts';
import type { PodEvent, PodTemplate } from '../../src/local/workers/pod.ts';
import { createReplicaSet, type ReplicaSet } from '../../src/local/workers/replicaSet.ts';
import { restartDelayMs } from '../../src/local/workers/restart.ts';
import { chooseVictims } from '../../src/local/workers/scaleIn.ts';

describe('which replicas go first', () => {
  const old = { name: 'old', ready: true, readyAt: 1, restarts: 0, createdAt: 0 };
  const fresh = { name: 'fresh', ready: true, readyAt: 9, restarts: 0, createdAt: 8 };
  const broken = { name: 'broken', ready: false, readyAt: undefined, restarts: 3, createdAt: 0 };
  const restarted = { name: 'restarted', ready: true, readyAt: 9, restarts: 2, createdAt: 0 };

  test('those that are not ready, then the youngest; of equally young ones the most restarted', () => {
    expect(chooseVictims([old, fresh, broken, restarted], 4).map(({ name }) => name)).toEqual([
      'broken',
      'restarted',
      'fresh',
      'old',
    ]);
  });

  test('as many as asked for, and none for a count below one', () => {
    expect(chooseVictims([old, fresh], 1)).toEqual([fresh]);
    expect(chooseVictims([old, fresh], 0)).toEqual([]);
    expect(chooseVictims([old, fresh], -3)).toEqual([]);
  });
});

test('the first restart is at once, then the wait doubles from 10 s to 300 s', () => {
  expect([0, 1, 2, 3, 4, 5, 6, 7, 50].map(restartDelayMs)).toEqual([0, 10, 20, 40, 80, 160, 300, 300, 300].map((s) => s * 1000));
});

describe('worker processes', () => {
  let folder: string;
  let lifeline: Lifeline;
  let set: ReplicaSet;
  /** Each with the lines that had come by then. */
  let events: (PodEvent & { readonly pod: string; readonly lines: readonly string[] })[];
  let output: string[];
  let heard: (line: string) => void;

  function start(template: Partial<PodTemplate> & Pick<PodTemplate, 'command'>): void {
    set = createReplicaSet(
      'worker',
      (pod) => ({ cwd: folder, env: { PATH: process.env['PATH'] ?? '', POD: pod }, graceMs: 5_000, ...template }),
      lifeline,
      {
        pod: (pod, event) => void events.push({ pod, lines: [...output], ...event }),
        output: (_, __, line) => {
          output.push(line);
          heard(line);
        },
      },
    );
  }

  function states(): string[] {
    return events.map(({ state }) => state);
  }

  /** A shell that ends with SIGTERM as a worker does: after what it holds is done. */
  const POLITE = ['sh', '-c', 'trap "echo done; exit 0" TERM; echo up; while :; do sleep 0.05; done'] as const;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'workers-'));
    lifeline = createLifeline(5);
    events = [];
    output = [];
    heard = () => undefined;
  });

  afterEach(async () => {
    set.kill();
    await set.close();
    await lifeline.close();
    await rm(folder, { recursive: true });
  });

  test('are as many as wanted, and end in order when fewer are wanted', async () => {
    start({ command: [...POLITE] });
    set.scale(3);
    expect(set.existing).toBe(3);
    await vi.waitFor(() => {
      expect(output).toEqual(['up', 'up', 'up']);
    }, 5_000);
    expect(set.ready).toBe(3);

    set.scale(1);
    expect(set).toMatchObject({ wanted: 1, existing: 1, stopping: 2 });
    await vi.waitFor(() => {
      expect(set.stopping).toBe(0);
    }, 5_000);
    expect(events.filter(({ state }) => state === 'stopped')).toEqual([
      expect.objectContaining({ exitCode: 0 }),
      expect.objectContaining({ exitCode: 0 }),
    ]);
    expect(output.filter((line) => line === 'done')).toHaveLength(2);
  });

  test('a replica that is wanted again does not wait for one that is still stopping', async () => {
    start({ command: ['sh', '-c', 'trap "" TERM; echo up; while :; do sleep 0.05; done'], graceMs: 60_000 });
    set.scale(1);
    await vi.waitFor(() => {
      expect(output).toEqual(['up']);
    }, 5_000);
    set.scale(0);
    set.scale(1);
    expect(set).toMatchObject({ existing: 1, stopping: 1 });
  });

  test('one that ignores SIGTERM is killed after its grace period, with all that it started', async () => {
    start({ command: ['sh', '-c', 'trap "" TERM; sleep 300 & echo $!; while :; do sleep 0.05; done'], graceMs: 200 });
    set.scale(1);
    await vi.waitFor(() => {
      expect(output).toHaveLength(1);
    }, 5_000);
    await set.close();
    expect(states()).toEqual(['started', 'stopping', 'killed', 'stopped']);
    await vi.waitFor(() => {
      expect(isAlive(Number(output[0]))).toBe(false);
    }, 5_000);
  });

  test('one that ends by itself starts again at once, and then after a wait', async () => {
    start({ command: ['sh', '-c', 'exit 3'] });
    set.scale(1);
    await vi.waitFor(() => {
      expect(states()).toEqual(['started', 'exited', 'started', 'exited', 'waiting']);
    }, 5_000);
    expect(events[1]).toMatchObject({ exitCode: 3, signal: null });
    expect(events.at(-1)).toMatchObject({ restartMs: 10_000 });
    expect(set).toMatchObject({ existing: 1, ready: 0 });
  });

  test('a program that does not exist is told, and waited for', async () => {
    start({ command: ['no-such-program-anywhere'] });
    set.scale(1);
    await vi.waitFor(() => {
      expect(states()).toEqual(['exited', 'exited', 'waiting']);
    }, 5_000);
    expect(events[0]).toMatchObject({ trouble: expect.stringContaining('no-such-program-anywhere') as string });
  });

  test('what they leave running ends with them', async () => {
    start({ command: ['sh', '-c', 'sleep 300 & echo $!; exit 0'] });
    set.scale(1);
    await vi.waitFor(() => {
      expect(output.length).toBeGreaterThan(0);
    }, 5_000);
    await vi.waitFor(() => {
      expect(isAlive(Number(output[0]))).toBe(false);
    }, 5_000);
  });

  test('are told to have ended after their last line', async () => {
    // The one's end is heard of together with the other's, whose line has only just come.
    start({ command: ['sh', '-c', 'if mkdir first 2>/dev/null; then echo early; else sleep 0.6; echo late; fi'] });
    heard = (line) => {
      if (line === 'early') execFileSync('sleep', ['0.8']);
    };
    set.scale(2);
    execFileSync('sleep', ['0.2']);
    await vi.waitFor(() => {
      expect(states().filter((state) => state === 'exited')).toHaveLength(2);
    }, 5_000);
    expect(events.findLast(({ state }) => state === 'exited')).toMatchObject({ lines: ['early', 'late'] });
  });

  test('have ended though something that left their group still holds their output', async () => {
    start({ command: ['sh', '-c', 'if mkdir first 2>/dev/null; then setsid sleep 300 & echo $!; else sleep 300; fi'] });
    set.scale(1);
    await vi.waitFor(() => {
      expect(states()).toEqual(['started', 'exited', 'started']);
    }, 5_000);
    const left = Number(output[0]);
    expect(isAlive(left)).toBe(true);
    process.kill(left, 'SIGKILL');
  });

  test('hear their own environment and nothing of ours', async () => {
    vi.stubEnv('SECRET_OF_OURS', 'x');
    start({ command: ['sh', '-c', 'env > env.txt; sleep 300'] });
    set.scale(1);
    let env = '';
    await vi.waitFor(async () => {
      env = await readFile(join(folder, 'env.txt'), 'utf8');
      expect(env).toContain('POD=worker-');
    }, 5_000);
    expect(env).not.toContain('SECRET_OF_OURS');
    vi.unstubAllEnvs();
  });
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
