/** Whole runs on manifests in a temporary folder, with real worker processes, through gRPC, against a broker in memory. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { readManifests } from '../../src/auth/files.ts';
import type { LocalEvent } from '../../src/local/events.ts';
import { planRun, type Plan } from '../../src/local/plan.ts';
import { run, type RunEnd } from '../../src/local/run.ts';
import { createMemoryBroker, UNREACHABLE, type MemoryBroker } from '../bed/memoryScaler.ts';
import { until } from '../bed/until.ts';

const CLUSTER = { syncPeriodMs: 100, tolerance: 0.1, kedaVersion: '2.20' } as const;

/** Reacts within a second, as tests should not last. */
const QUICK = `
  pollingInterval: 1
  cooldownPeriod: 1
  maxReplicaCount: 4
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleUp: { policies: [{ type: Pods, value: 10, periodSeconds: 1 }] }
        scaleDown: { stabilizationWindowSeconds: 0 }
`;

function manifests({
  spec = QUICK,
  type = 'external-push',
  command = `['sh', '-c', 'sleep 300']`,
  deployment = '',
} = {}): string {
  return `
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: { name: orders, namespace: shop }
spec:
  scaleTargetRef: { name: worker }
  triggers:
    - type: ${type}
      metadata:
        scalerAddress: keda-queue-scaler.keda:6000
        scaler: memory
        queueName: orders
        hostFromEnv: BROKER_URL
        value: '5'
${spec}
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: worker, namespace: shop }
spec:
  replicas: 0
  selector: { matchLabels: { app: worker } }
  template:
    metadata: { labels: { app: worker } }
    spec:
      terminationGracePeriodSeconds: 5
      containers:
        - name: worker
          command: ${command}
          env:
            - { name: BROKER_USER, value: me }
            - name: BROKER_URL
              valueFrom: { secretKeyRef: { name: broker, key: url } }
${deployment}
---
apiVersion: v1
kind: Secret
metadata: { name: broker, namespace: shop }
stringData: { url: 'memory://secret@here' }
`;
}

let folder: string;
let broker: MemoryBroker;
let events: LocalEvent[];
let lines: string[];
let stop: AbortController;
let kill: AbortController;
let running: Promise<RunEnd> | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'local-'));
  broker = createMemoryBroker();
  events = [];
  lines = [];
  stop = new AbortController();
  kill = new AbortController();
});

afterEach(async () => {
  stop.abort();
  kill.abort();
  await running;
  running = undefined;
  await rm(folder, { recursive: true });
});

async function planOf(
  text: string,
): Promise<{ plan: Plan; readonly start: (options?: { untilIdle?: boolean; durationMs?: number }) => Promise<RunEnd> }> {
  const file = join(folder, 'all.yaml');
  await writeFile(file, text);
  const read = await readManifests([file]);
  const plan = await planRun(read, CLUSTER);
  return {
    plan,
    start(options = {}) {
      running = run({
        manifests: read,
        plan,
        logger: pino({ level: 'silent' }),
        tell: (event) => void events.push(event),
        workerOutput: ({ line }) => void lines.push(line),
        scalers: [broker.scaler],
        untilIdle: options.untilIdle ?? false,
        ...(options.durationMs === undefined ? {} : { durationMs: options.durationMs }),
        stop: stop.signal,
        kill: kill.signal,
      });
      return running;
    },
  };
}

type EventOf<Name extends LocalEvent['event']> = LocalEvent & { readonly event: Name };

function seen<Name extends LocalEvent['event']>(
  name: Name,
  which: (event: EventOf<Name>) => boolean = () => true,
): EventOf<Name>[] {
  return events.filter((event): event is EventOf<Name> => event.event === name).filter(which);
}

describe('a run', () => {
  test('goes from zero to many and back to zero, and ends when idle', async () => {
    const { start } = await planOf(manifests());
    const end = start({ untilIdle: true });
    await until('a first poll', () => seen('poll').length > 0);
    expect(seen('worker')).toEqual([]);

    broker.set('orders', 12);
    await until('three workers', () => seen('worker', ({ ready }) => ready === 3).length > 0);
    expect(seen('push')[0]).toMatchObject({ object: 'shop/orders', trigger: 0 });
    expect(seen('scale').map(({ by, from, desired }) => ({ by, from, desired }))).toEqual([
      { by: 'keda', from: 0, desired: 1 },
      { by: 'hpa', from: 1, desired: 3 },
    ]);
    expect(seen('hpa')[0]?.metrics).toEqual([
      { metric: 's0-memory-orders', target: 5, targetType: 'AverageValue', value: 12, active: true },
    ]);

    broker.set('orders', 0);
    expect(await end).toBe('idle');
    expect(events.at(-1)).toMatchObject({ event: 'end', reason: 'idle' });
    expect(seen('scale').at(-1)).toMatchObject({ desired: 0 });
    expect(seen('worker', ({ state }) => state === 'stopped')).toHaveLength(3);
  });

  test('polls an external trigger, which has no stream', async () => {
    const { start } = await planOf(manifests({ type: 'external' }));
    broker.set('orders', 1);
    void start();
    await until('a worker', () => seen('worker', ({ state }) => state === 'started').length > 0);
    expect(seen('push')).toEqual([]);
    expect(seen('scale')[0]).toMatchObject({ by: 'keda', from: 0, desired: 1 });
  });

  test('goes by the clock beside a queue, and on without what only a cluster knows', async () => {
    const hour = (offset: number): number => (new Date().getUTCHours() + offset + 24) % 24;
    const cron = (from: number, to: number, replicas: number): string =>
      `    - { type: cron, metadata: { timezone: UTC, start: 0 ${hour(from)} * * *, end: 0 ${hour(to)} * * *, desiredReplicas: '${replicas}' } }\n`;
    const cpu = `    - { type: cpu, metricType: Utilization, metadata: { value: '60' } }\n`;
    const { plan, start } = await planOf(manifests({ spec: `${cpu}${cron(-2, 2, 3)}${cron(2, 4, 4)}${QUICK}` }));
    expect(plan.faults).toEqual([]);
    void start();
    await until('three workers', () => seen('hpa', ({ ready }) => ready === 3).length > 0);
    expect(seen('poll').at(-1)?.metrics).toMatchObject([
      { value: 0, active: false },
      { metric: expect.stringMatching(/^s2-cron-UTC-/) as unknown, value: 3, active: true },
      { metric: expect.stringMatching(/^s3-cron-UTC-/) as unknown, value: 1, active: false },
    ]);
    expect(seen('notice').filter(({ message }) => message.includes('trigger 1 (cpu)'))).toHaveLength(1);
  });

  test('holds the count while the broker does not answer', async () => {
    const { start } = await planOf(manifests());
    broker.set('orders', 12);
    void start();
    await until('three workers', () => seen('hpa', ({ ready }) => ready === 3).length > 0);
    broker.fail(UNREACHABLE);
    const polled = seen('poll').length;
    await until('two failed polls', () => seen('poll', ({ failing }) => failing).length >= 2);
    expect(seen('poll').length).toBeGreaterThan(polled);
    expect(seen('poll').at(-1)?.metrics[0]?.error).toContain('UNAVAILABLE');
    expect(seen('scale')).toHaveLength(2);
  });

  test('keeps the fallback’s count once the broker has failed too often', async () => {
    const { start } = await planOf(manifests({ spec: `${QUICK}\n  fallback: { failureThreshold: 1, replicas: 2 }` }));
    broker.fail(UNREACHABLE);
    void start();
    await until('the fallback', () => seen('scale', ({ desired }) => desired === 2).length > 0);
    expect(seen('scale').map(({ by, desired }) => ({ by, desired }))).toEqual([
      { by: 'keda', desired: 1 },
      { by: 'hpa', desired: 2 },
    ]);
    expect(seen('hpa').at(-1)?.metrics[0]).toMatchObject({ fallback: true, value: 10 });
  });

  test('gives workers the container’s environment with the pod’s own name, and nothing of this process’s', async () => {
    vi.stubEnv('SECRET_OF_OURS', 'leaked');
    const command = `['sh', '-c', 'echo "$0 $POD $BROKER_USER $BROKER_URL $HOSTNAME $SECRET_OF_OURS."; sleep 300', 'at-$(BROKER_USER)']`;
    const deployment = `            - name: POD\n              valueFrom: { fieldRef: { fieldPath: metadata.name } }`;
    const { start } = await planOf(manifests({ command, deployment }));
    broker.set('orders', 1);
    void start();
    const [line = ''] = await until('a line', () => lines.length > 0 && lines);
    const [worker] = seen('worker');
    expect(line).toBe(`at-me ${worker?.pod ?? ''} me memory://secret@here ${worker?.pod ?? ''} .`);
    vi.unstubAllEnvs();
  });

  test('stops its workers in order when it is told to stop', async () => {
    const { start } = await planOf(
      manifests({
        command: `['sh', '-c', 'trap "sleep 0.3; echo finished; exit 0" TERM; echo up; while :; do sleep 0.05; done']`,
      }),
    );
    broker.set('orders', 12);
    const end = start();
    await until('three workers', () => lines.filter((line) => line === 'up').length === 3);
    stop.abort();
    expect(await end).toBe('stopped');
    expect(lines.filter((line) => line === 'finished')).toHaveLength(3);
  });

  test('kills its workers when it is told a second time', async () => {
    const { start } = await planOf(manifests({ command: `['sh', '-c', 'trap "" TERM; echo up; while :; do sleep 0.05; done']` }));
    broker.set('orders', 1);
    const end = start();
    await until('a worker', () => lines.includes('up'));
    stop.abort();
    await until('a stop', () => seen('worker', ({ state }) => state === 'stopping').length > 0);
    kill.abort();
    await end;
    expect(seen('worker').map(({ state }) => state)).toEqual(['started', 'stopping', 'killed', 'stopped']);
  });

  test('ends with the duration, idle or not', async () => {
    const { start } = await planOf(manifests());
    expect(await start({ untilIdle: true, durationMs: 300 })).toBe('duration over');
  });

  test('ends at once where the scaler refuses the trigger’s metadata, and says why', async () => {
    const { start } = await planOf(manifests().replace("value: '5'", "value: '-5'"));
    expect(await start()).toBe('refused');
    expect(seen('notice', ({ level }) => level === 'error')[0]?.message).toContain('value');
  });

  test('leaves a paused ScaledObject alone', async () => {
    const paused = "metadata: { name: orders, namespace: shop, annotations: { autoscaling.keda.sh/paused-replicas: '2' } }";
    const { start } = await planOf(manifests().replace('metadata: { name: orders, namespace: shop }', paused));
    broker.set('orders', 100);
    void start();
    await until('two workers', () => seen('worker', ({ ready }) => ready === 2).length > 0);
    expect(seen('poll')).toEqual([]);
  });
});

describe('a plan', () => {
  async function faultsOf(text: string): Promise<string[]> {
    const { plan } = await planOf(text);
    return plan.faults.map(
      ({ object, path, message, position }) => `${position.line} ${object ?? ''} ${path.join('.')} ${message}`,
    );
  }

  test('forwards a FromEnv key’s value, and no key whose variable is missing', async () => {
    const { plan } = await planOf(manifests());
    expect(plan.faults).toEqual([]);
    expect(plan.workloads[0]?.triggers[0]).toMatchObject({ metadata: { hostFromEnv: 'memory://secret@here' } });
    const { plan: without } = await planOf(manifests().replace('hostFromEnv: BROKER_URL', 'hostFromEnv: NO_SUCH'));
    expect(without.workloads[0]?.triggers[0]).toHaveProperty(['metadata', 'queueName']);
    expect(without.workloads[0]?.triggers[0]).not.toHaveProperty(['metadata', 'hostFromEnv']);
  });

  test('tells what has no effect on this machine', async () => {
    const spec = QUICK.replace('advanced:', 'advanced:\n    restoreToOriginalReplicaCount: true');
    const deployment = `          image: shop/worker:1\n          livenessProbe: { exec: { command: [true] } }\n      initContainers: [{ name: first, image: x }]`;
    const { plan } = await planOf(manifests({ spec, deployment }));
    expect(plan.notices.map(({ message }) => message)).toEqual([
      expect.stringContaining('restoreToOriginalReplicaCount'),
      'no effect on this machine: spec.template.spec.containers.0.image, spec.template.spec.containers.0.livenessProbe, spec.template.spec.initContainers of Deployment shop/worker',
    ]);
  });

  test.each<[string, (text: string) => string, RegExp]>([
    ['a container without command', (text) => text.replace(/ +command:.*\n/, ''), /^\d+ Deployment shop\/worker .*no command/],
    [
      'a scale target that is in no file',
      (text) => text.replace('{ name: worker }', '{ name: other }'),
      /Deployment shop\/other is in none of the files/,
    ],
    [
      'a target that is no Deployment',
      (text) => text.replace('{ name: worker }', '{ name: worker, kind: StatefulSet }'),
      /is StatefulSet: only a Deployment/,
    ],
    [
      'a trigger that KEDA serves itself',
      (text) => text.replace('type: external-push', 'type: redis'),
      /type is redis, which KEDA itself would serve/,
    ],
    [
      'a schedule that lacks its time zone',
      (text) => text.replace('type: external-push', 'type: cron'),
      /triggers.0.metadata.timezone is required/,
    ],
    [
      'triggers whose metrics only a cluster knows',
      (text) => text.replace('type: external-push', 'type: cpu'),
      /spec.triggers are of types cpu and memory only/,
    ],
    ['a trigger without scalerAddress', (text) => text.replace(/ +scalerAddress:.*\n/, ''), /no scalerAddress/],
    [
      'a metric type that external metrics cannot have',
      (text) => text.replace('- type: external-push', '- metricType: Utilization\n      type: external-push'),
      /AverageValue or Value/,
    ],
    [
      'bounds that contradict',
      (text) => text.replace('maxReplicaCount: 4', 'minReplicaCount: 9\n  maxReplicaCount: 4'),
      /minReplicaCount is 9, above/,
    ],
    [
      'an idle count that is not below the minimum',
      (text) => text.replace('maxReplicaCount: 4', 'idleReplicaCount: 0'),
      /idleReplicaCount is 0, not below/,
    ],
    [
      'a formula over what no trigger is called',
      (text) => text.replace('advanced:', 'advanced:\n    scalingModifiers: { formula: a + 1, target: "2" }'),
      /scalingModifiers.formula no trigger of which a formula may know the value is called a/,
    ],
    [
      'a formula that is none',
      (text) => text.replace('advanced:', 'advanced:\n    scalingModifiers: { formula: (1, target: "2" }'),
      /scalingModifiers.formula Expected \) at character 3/,
    ],
    [
      'a formula with a target that is none',
      (text) => text.replace('advanced:', 'advanced:\n    scalingModifiers: { formula: "1", target: "0" }'),
      /scalingModifiers.target must be a number above 0/,
    ],
    [
      'a secret that is missing',
      (text) => text.replace('metadata: { name: broker, namespace: shop }', 'metadata: { name: other, namespace: shop }'),
      /Secret broker.* does not exist/,
    ],
    ['a misspelt field', (text) => text.replace('cooldownPeriod: 1', 'coolDownPeriod: 1'), /coolDownPeriod is not a field/],
    ['a behavior without policies', (text) => text.replace(/policies: \[\{.*?\}\]/, 'policies: []'), /at least one policy/],
    [
      'a tolerance that is no fraction',
      (text) => text.replace('stabilizationWindowSeconds: 0', 'tolerance: much'),
      /must be a fraction/,
    ],
    [
      'a variable that no environment can hold',
      (text) => text.replace("stringData: { url: 'memory://secret@here' }", 'data: { url: AGFi }'),
      /variable BROKER_URL holds a zero byte/,
    ],
    ['files without any ScaledObject', (text) => text.slice(text.indexOf('---')), /there is no ScaledObject/],
  ])('refuses %s', async (_, change, expected) => {
    const text = manifests();
    const changed = change(text);
    expect(changed).not.toBe(text);
    expect(await faultsOf(changed)).toEqual(expect.arrayContaining([expect.stringMatching(expected)]));
  });

  test('refuses two ScaledObjects for one Deployment', async () => {
    const [scaledObject = ''] = manifests().split('---');
    const second = scaledObject.replace('name: orders,', 'name: again,');
    expect(await faultsOf(`${manifests()}\n---${second}`)).toEqual([
      expect.stringMatching(/scaled by ScaledObject shop\/orders already/),
    ]);
  });
});
