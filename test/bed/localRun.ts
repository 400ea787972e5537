/**
 * A whole run of `local` with real worker processes, which write what they take and have done into a file: from zero, through all the
 * messages, until idle.
 */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { expect } from 'vitest';
import { readManifests } from '../../src/auth/files.ts';
import type { LocalEvent } from '../../src/local/events.ts';
import { planRun } from '../../src/local/plan.ts';
import { run, type RunEnd } from '../../src/local/run.ts';
import { until } from './until.ts';

export interface Outcome {
  readonly end: RunEnd;
  readonly events: readonly LocalEvent[];
  /** Ids in the order in which workers took, and had done, them. */
  readonly taken: readonly number[];
  readonly done: readonly number[];
}

/** Runs the script as worker until idle; publishes once the trigger is polled, so that the start is from zero. */
export async function runThrough(
  script: string,
  env: Readonly<Record<string, string>>,
  trigger: Readonly<Record<string, string>>,
  publish: () => Promise<void>,
): Promise<Outcome> {
  const folder = await mkdtemp(join(tmpdir(), 'local-brokers-'));
  try {
    const record = join(folder, 'record.txt');
    await writeFile(record, '');
    const file = join(folder, 'all.yaml');
    await writeFile(file, manifests(script, { ...env, RECORD_FILE: record }, trigger));
    const read = await readManifests([file]);
    const plan = await planRun(read, { syncPeriodMs: 200, tolerance: 0.1, kedaVersion: '2.20' });
    expect(plan.faults).toEqual([]);
    const events: LocalEvent[] = [];
    const running = run({
      manifests: read,
      plan,
      logger: pino({ level: 'silent' }),
      tell: (event) => void events.push(event),
      workerOutput: () => undefined,
      untilIdle: true,
      durationMs: 90_000,
      stop: new AbortController().signal,
      kill: new AbortController().signal,
    });
    await until('a first poll', () => events.some(({ event }) => event === 'poll'));
    await publish();
    const end = await running;
    const lines = readFileSync(record, 'utf8').split('\n');
    const idsOf = (word: string): number[] =>
      lines.flatMap((line) => (line.startsWith(`${word} `) ? [Number(line.slice(word.length))] : []));
    return { end, events, taken: idsOf('taken'), done: idsOf('done') };
  } finally {
    await rm(folder, { recursive: true });
  }
}

function manifests(script: string, env: Readonly<Record<string, string>>, trigger: Readonly<Record<string, string>>): string {
  // JSON is YAML.
  const scaledObject = {
    apiVersion: 'keda.sh/v1alpha1',
    kind: 'ScaledObject',
    metadata: { name: 'orders' },
    spec: {
      scaleTargetRef: { name: 'worker' },
      pollingInterval: 1,
      cooldownPeriod: 1,
      maxReplicaCount: 5,
      advanced: {
        horizontalPodAutoscalerConfig: {
          behavior: {
            scaleUp: { policies: [{ type: 'Pods', value: 5, periodSeconds: 1 }] },
            scaleDown: { stabilizationWindowSeconds: 0, policies: [{ type: 'Pods', value: 1, periodSeconds: 1 }] },
          },
        },
      },
      triggers: [{ type: 'external-push', metadata: { scalerAddress: 'keda-queue-scaler.keda:6000', ...trigger } }],
    },
  };
  const deployment = {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'worker' },
    spec: {
      replicas: 0,
      template: {
        spec: {
          terminationGracePeriodSeconds: 20,
          containers: [
            {
              name: 'worker',
              command: [process.execPath, script],
              env: Object.entries(env).map(([name, value]) => ({ name, value })),
            },
          ],
        },
      },
    },
  };
  return `${JSON.stringify(scaledObject)}\n---\n${JSON.stringify(deployment)}\n`;
}

/** Expects that the messages 0 to `count` were each taken and done once, by up to five workers of which some were stopped meanwhile. */
export function expectNothingLost({ end, events, taken, done }: Outcome, count: number): void {
  const all = Array.from({ length: count }, (_, id) => id);
  const byId = (left: number, right: number): number => left - right;
  expect(end).toBe('idle');
  expect([...done].sort(byId)).toEqual(all);
  expect([...taken].sort(byId)).toEqual(all);
  const workers = events.filter((event) => event.event === 'worker');
  expect(workers.at(-1)).toMatchObject({ state: 'stopped', replicas: 0, ready: 0, stopping: 0 });
  expect(Math.max(...workers.map(({ ready }) => ready))).toBe(5);
  // The HPA took replicas away while there still was work.
  const scaleIns = events.filter((event) => event.event === 'scale' && event.by === 'hpa' && event.desired < event.from);
  expect(scaleIns.length).toBeGreaterThan(0);
  expect(workers.filter(({ state }) => state === 'killed' || state === 'exited')).toEqual([]);
}
