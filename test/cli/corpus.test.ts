/**
 * Right manifests, one for each kind of thing that real ones hold: each passes check, is converted, passes again, is read against a private
 * broker, and comes back byte for byte.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkFiles } from '../../src/cli/check/check.ts';
import { convertText } from '../../src/cli/convert/convert.ts';
import { loadKnownScalers } from '../../src/cli/knownScalers.ts';
import { read } from '../../src/cli/read.ts';
import { parseObjects } from '../../src/yaml/objects.ts';
import { startRedis, type RedisServer } from '../bed/redis.ts';

const scalers = await loadKnownScalers();
const options = { scalerAddress: 'keda-queue-scaler.keda:6000', scalers };
const folder = mkdtempSync(join(tmpdir(), 'corpus-'));
let redis: RedisServer;
beforeAll(async () => {
  redis = await startRedis({});
  await redis.call('RPUSH', 'bull:mail:wait', '1', '2', '3');
  await redis.call('RPUSH', 'orders', '1', '2', '3');
  await redis.call('XADD', 'clicks', '*', 'page', 'home');
  await redis.call('XGROUP', 'CREATE', 'clicks', 'workers', '0');
});
afterAll(async () => {
  await redis.close();
  rmSync(folder, { recursive: true });
});

const LIST = `    - type: redis
      metadata:
        address: 127.0.0.1:PORT
        listName: orders
        listLength: "5"
`;
const object = (spec: string, triggers = LIST, annotations = ''): string => `apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: orders # of the shop
${annotations}spec:
  scaleTargetRef: { name: orders }
${spec}  triggers:
${triggers}`;
const job = (strategy: string, triggers = LIST): string => `apiVersion: keda.sh/v1alpha1
kind: ScaledJob
metadata: { name: orders }
spec:
${strategy}  jobTargetRef:
    template: { spec: { containers: [{ name: worker, image: worker }] } }
  triggers:
${triggers}`;
const STREAM = `    - type: redis-streams
      metadata:
        address: 127.0.0.1:PORT
        stream: clicks
        consumerGroup: workers
        lagCount: "1"
`;
const CPU = `    - type: cpu
      metricType: Utilization
      metadata: { value: "60" }
`;
const CRON = `    - type: cron
      metadata: { timezone: UTC, start: 0 6 * * *, end: 0 20 * * *, desiredReplicas: "2" }
`;

const RIGHT: Readonly<Record<string, string>> = {
  'cpu in percent and memory by value beside a queue': object(
    '',
    `${LIST}${CPU}    - type: memory\n      metricType: AverageValue\n      metadata: { value: 512Mi }\n`,
  ),
  'two equal schedules': object('', LIST + CRON + CRON),
  'a formula': object(
    `  advanced: { scalingModifiers: { formula: "orders > 2 ? max([orders, 1]) : 0", target: "5", metricType: AverageValue } }\n`,
    LIST.replace('- type: redis\n', '- name: orders\n      type: redis\n') + CPU,
  ),
  'a formula over a queue and a schedule, with a predicate': object(
    `  advanced:\n    scalingModifiers:\n      formula: "count([orders, day], {# > 2}) >= 1 and not (day > 2) ? orders ** 2 : float(day)"\n      target: "5"\n`,
    LIST.replace('- type: redis\n', '- name: orders\n      type: redis\n') + CRON.replace('- type', '- name: day\n      type'),
  ),
  'a pause by number, and one of scale-in': object(
    '',
    LIST,
    `  annotations:\n    autoscaling.keda.sh/paused-replicas: "2"\n    autoscaling.keda.sh/paused-scale-in: "true"\n`,
  ),
  'the waiting list of BullMQ': object('  cooldownPeriod: 600\n', LIST.replace('listName: orders', 'listName: bull:mail:wait')),
  'merge keys and aliases': `x-common: &common\n  address: &address 127.0.0.1:PORT\n  listLength: "5"\n${object(
    '',
    '    - type: redis\n      metadata:\n        <<: *common\n        listName: orders\n    - type: redis\n      metadata: { address: *address, listName: "bull:mail:wait" }\n',
  )}`,
  'an Argo Rollout whose variable holds the address': `${object(
    '',
    LIST.replace('address: 127.0.0.1:PORT', 'addressFromEnv: REDIS'),
  ).replace('{ name: orders }', '{ apiVersion: argoproj.io/v1alpha1, kind: Rollout, name: orders }')}---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: { name: orders }
spec:
  template: { spec: { containers: [{ name: worker, env: [{ name: REDIS, value: "127.0.0.1:PORT" }] }] } }
`,
  'a ScaledJob with the default strategy': job('', STREAM),
  'a ScaledJob with accurate strategy': job(
    '  scalingStrategy: { strategy: accurate, multipleScalersCalculation: sum }\n',
    STREAM,
  ),
  'a ScaledJob with eager strategy': job('  scalingStrategy:\n    strategy: eager\n    pendingPodConditions: [Ready]\n', STREAM),
  'a ScaledJob with a custom strategy': job(
    '  scalingStrategy:\n    strategy: custom\n    customScalingQueueLengthDeduction: 0\n    customScalingRunningJobPercentage: "0"\n',
    STREAM,
  ),
  'a ScaledJob on a list': job('  maxReplicaCount: 20\n'),
};

const errorsIn = (text: string) =>
  checkFiles([parseObjects('x.yaml', text)], scalers).findings.filter(({ severity }) => severity === 'error');

describe.each(Object.keys(RIGHT))('%s', (name) => {
  test('passes check, convert, check, read and the way back', async () => {
    const text = (RIGHT[name] ?? '').replaceAll('PORT', String(redis.port));
    expect(errorsIn(text)).toEqual([]);
    const there = convertText('x.yaml', text, options);
    expect(there.conversions.length).toBeGreaterThan(0);
    expect(there.conversions.filter(({ converted }) => !converted)).toEqual([]);
    expect(errorsIn(there.text)).toEqual([]);
    expect(convertText('x.yaml', there.text, { ...options, back: true }).text).toBe(text);

    const file = join(folder, 'manifest.yaml');
    writeFileSync(file, there.text);
    const stdout = new PassThrough();
    const stderr = new PassThrough();
    const io = { stdin: Readable.from([]), stdout, stderr, colour: false };
    const code = await read([file], {}, io, AbortSignal.timeout(10_000));
    const said = `${String(stdout.read() ?? '')}${String(stderr.read() ?? '')}`;
    expect(code, said).toBe(0);
    expect(said).toMatch(/to KEDA +[1-9]\d*, active/);
    expect(said.trimEnd().split('\n').at(-1)).toMatch(/^next: /);
  });
});
