import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import amqp, { type ChannelModel, type ConfirmChannel } from 'amqplib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { read, type ReadOptions } from '../../src/cli/read.ts';
import { startApiServer, type KubernetesObject } from '../auth/apiServer.ts';
import { BASE_RBAC, rulesIn } from '../auth/rbac.ts';
import { startRabbit, type RabbitNode } from '../bed/rabbitmq.ts';
import { startRedis, type RedisServer } from '../bed/redis.ts';
import { until } from '../bed/until.ts';

const folder = mkdtempSync(join(tmpdir(), 'read-'));
let redis: RedisServer;
let rabbit: RabbitNode;
let connection: ChannelModel;
let channel: ConfirmChannel;

beforeAll(async () => {
  [redis, rabbit] = await Promise.all([startRedis({ password: 'hunter2' }), startRabbit()]);
  connection = await amqp.connect(rabbit.amqpUrl());
  channel = await connection.createConfirmChannel();
});
afterAll(async () => {
  await connection.close();
  await Promise.all([redis.close(), rabbit.close()]);
  rmSync(folder, { recursive: true });
});

function manifest(name: string, triggers: string, more = ''): string {
  const file = join(folder, `${name}.yaml`);
  writeFileSync(
    file,
    `apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: { name: orders, namespace: shop }
spec:
  scaleTargetRef: { name: worker }
  maxReplicaCount: 4
  triggers:
${triggers}
${more}`,
  );
  return file;
}

async function run(file: string, options: ReadOptions = {}, signal = new AbortController().signal) {
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const code = await read([file], options, { stdin: Readable.from([]), stdout, stderr, colour: false }, signal);
  const out = String(stdout.read() ?? '');
  const err = String(stderr.read() ?? '');
  expect(out + err).not.toContain('hunter2');
  return { code, out, err };
}

const redisTrigger = (list: string): string => `    - type: external-push
      metadata:
        scalerAddress: keda-queue-scaler.keda:6000
        scaler: redis
        address: 127.0.0.1:${redis.port}
        listName: ${list}
        listLength: "5"
      authenticationRef: { name: redis }`;
const AUTHENTICATION = `---
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata: { name: redis, namespace: shop }
spec:
  secretTargetRef:
    - { parameter: password, name: redis, key: password }
---
apiVersion: v1
kind: Secret
metadata: { name: redis, namespace: shop }
stringData: { password: hunter2 }
`;

describe('read', () => {
  test('tells figures, steps, what KEDA gets and what the HPA asks for, with credentials from the files', async () => {
    await redis.call('RPUSH', 'orders', ...Array.from({ length: 17 }, (_, index) => index));
    const { code, out } = await run(manifest('list', redisTrigger('orders'), AUTHENTICATION));
    expect(code).toBe(0);
    expect(out).toContain('ScaledObject shop/orders trigger 0');
    expect(out).toMatch(/metric +s0-redis-orders, target 5 \(AverageValue\)/);
    expect(out).toMatch(/reader +\S+, \d+ ms ago/);
    expect(out).toMatch(/because +17 waiting/);
    expect(out).toMatch(/to KEDA +17, active/);
    expect(out).toMatch(/replicas +the HPA asks for 4: the metric is 17 for a target of 5 each/);
  });

  test('reads RabbitMQ with the login of a variable, and says what workers hold', async () => {
    await channel.assertQueue('orders');
    for (let index = 0; index < 7; index++) channel.sendToQueue('orders', Buffer.from('x'));
    await channel.waitForConfirms();
    const held = await channel.get('orders');
    expect(held).not.toBe(false);
    const trigger = `    - type: external-push
      metadata:
        scalerAddress: keda-queue-scaler.keda:6000
        scaler: rabbitmq
        hostFromEnv: READ_TEST_RABBIT
        management: http://127.0.0.1:${rabbit.managementPort}
        queueName: orders
        mode: QueueLength
        value: "20"`;
    process.env['READ_TEST_RABBIT'] = rabbit.amqpUrl();
    const file = manifest('rabbit', trigger);
    const { code, out } = await until(
      'the management API has sampled the queue',
      async () => {
        const result = await run(file);
        if (!result.out.includes('unacknowledged 1')) throw new Error(result.out + result.err);
        return result;
      },
      { deadlineMs: 25_000, everyMs: 300 },
    );
    delete process.env['READ_TEST_RABBIT'];
    expect(code).toBe(0);
    expect(out).toMatch(/to KEDA +7, active/);
    expect(out).toMatch(/replicas +the HPA asks for 1/);
  });

  test('says of a variable that nobody sets that KEDA leaves its key out, and fails', async () => {
    const trigger = `    - type: external
      metadata: { scalerAddress: x.y:6000, scaler: rabbitmq, hostFromEnv: READ_TEST_NONE, queueName: orders, mode: QueueLength, value: "20" }`;
    const { code, out } = await run(manifest('unset', trigger));
    expect(code).toBe(1);
    expect(out).toContain('READ_TEST_NONE is set neither here nor by a scale target');
    expect(out).toContain('[INVALID_TRIGGER]');
  });

  test('tells a wrong password as such, with what to do', async () => {
    const wrong = AUTHENTICATION.replace('password: hunter2', 'password: wrong');
    const { code, out } = await run(manifest('wrong', redisTrigger('orders'), wrong));
    expect(code).toBe(1);
    expect(out).toContain('[BROKER_REFUSED]');
    expect(out).toContain('to KEDA   an error, on which it scales nothing');
  });

  test('reads the one trigger that was asked for, and prints JSON on demand', async () => {
    const file = manifest('two', `${redisTrigger('orders')}\n${redisTrigger('mails')}`, AUTHENTICATION);
    const { out } = await run(file, { trigger: 1, json: true });
    const lines = out.trim().split('\n');
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({
      trigger: 'ScaledObject shop/orders trigger 1',
      metric: { name: 'redis-mails', target: 5 },
      reading: { value: 0, active: false },
    });
  });

  test('watches until it is told to stop', async () => {
    const stop = new AbortController();
    const stdout = new PassThrough();
    const io = { stdin: Readable.from([]), stdout, stderr: new PassThrough(), colour: false };
    const file = manifest('watch', redisTrigger('watched'), AUTHENTICATION);
    const ended = read([file], { watch: true, json: true }, io, stop.signal);
    let text = '';
    stdout.on('data', (chunk) => (text += String(chunk)));
    await until('the first reading', () => Promise.resolve(text.includes('"value":0') || undefined));
    await redis.call('RPUSH', 'watched', 'a', 'b', 'c');
    await until('the change', () => Promise.resolve(text.includes('"value":3') || undefined));
    stop.abort();
    expect(await ended).toBe(0);
  });

  test('looks up in the cluster of a kubeconfig what the files do not hold, with what the manifests’ own rights allow', async () => {
    const metadata = { namespace: 'shop' };
    const api = await startApiServer(await rulesIn(BASE_RBAC));
    try {
      const authentication: KubernetesObject = {
        apiVersion: 'keda.sh/v1alpha1',
        kind: 'TriggerAuthentication',
        metadata: { ...metadata, name: 'redis' },
        spec: { secretTargetRef: [{ parameter: 'password', name: 'login', key: 'password' }] },
      };
      const deployment: KubernetesObject = {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { ...metadata, name: 'worker' },
        spec: {
          replicas: 3,
          selector: {},
          template: {
            spec: {
              containers: [
                {
                  name: 'worker',
                  env: [{ name: 'ADDRESS', valueFrom: { configMapKeyRef: { name: 'brokers', key: 'redis' } } }],
                },
              ],
            },
          },
        },
      };
      api.put(authentication, deployment, {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { ...metadata, name: 'brokers' },
        data: { redis: `127.0.0.1:${redis.port}` },
      });
      await redis.call('RPUSH', 'in-cluster', 'a', 'b', 'c');
      const file = manifest('cluster', redisTrigger('in-cluster').replace(/address: .*/, 'addressFromEnv: ADDRESS'));

      const without = await run(file, { kubeconfig: api.kubeconfig });
      expect(without.code).toBe(1);
      expect(without.out).toMatch(/\[AUTHENTICATION_UNRESOLVED\]/);
      expect(without.out).toContain('Secret shop/login');

      api.put({
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: { ...metadata, name: 'login' },
        data: { password: Buffer.from('hunter2').toString('base64') },
      });
      const { code, out, err } = await run(file, { kubeconfig: api.kubeconfig });
      expect(code, out + err).toBe(0);
      expect(out).toMatch(/to KEDA +3, active/);
      expect(api.requests.filter(({ status }) => status === 403)).toEqual([]);
    } finally {
      await api.close();
    }
  });

  test('tells each queue of a pattern and the steps of a rate', async () => {
    for (const [queue, depth] of [
      ['pick-a', 2],
      ['pick-b', 5],
    ] as const) {
      await channel.assertQueue(queue);
      for (let index = 0; index < depth; index++) channel.sendToQueue(queue, Buffer.from('x'));
    }
    await channel.waitForConfirms();
    const base = `        scalerAddress: keda-queue-scaler.keda:6000
        scaler: rabbitmq
        host: ${rabbit.amqpUrl()}
        management: http://127.0.0.1:${rabbit.managementPort}
        value: "20"`;
    const file = manifest(
      'pattern',
      `    - type: external-push
      metadata:
${base}
        queueName: ^pick-
        useRegex: "true"
        operation: max
        mode: QueueLength
    - type: external-push
      metricType: Value
      metadata:
${base}
        queueName: pick-b
        mode: MessageRate`,
    );
    const { code, out } = await until(
      'the statistics know both queues',
      async () => {
        const result = await run(file);
        if (result.code !== 0) throw new Error(result.out + result.err);
        return result;
      },
      { deadlineMs: 25_000, everyMs: 300 },
    );
    expect(code).toBe(0);
    const [pattern = '', rate = ''] = out.split(/^(?=ScaledObject shop\/orders trigger 1)/m);
    expect(pattern).toMatch(/figures +ready 5, .*: the highest of 2 queues/);
    expect(pattern).toMatch(/queue +pick-a: ready 2/);
    expect(pattern).toMatch(/queue +pick-b: ready 5/);
    expect(pattern).toMatch(/to KEDA +5, active/);
    expect(rate).toMatch(/publish/i);
    expect(rate).toMatch(/because +one of them is above the activation value 0/);
    expect(rate).toMatch(/replicas +the HPA asks for \d+ of 1 now/);
  });

  test('tells what a consumer group has not read and what it holds', async () => {
    for (let index = 0; index < 9; index++) await redis.call('XADD', 'events', '*', 'a', 'b');
    await redis.call('XGROUP', 'CREATE', 'events', 'workers', '0');
    await redis.call('XREADGROUP', 'GROUP', 'workers', 'one', 'COUNT', 4, 'STREAMS', 'events', '>');
    const trigger = redisTrigger('x')
      .replace('scaler: redis', 'scaler: redis-streams')
      .replace('listName: x', 'stream: events\n        consumerGroup: workers')
      .replace('listLength', 'lagCount');
    const { code, out } = await run(manifest('stream', trigger, AUTHENTICATION));
    expect(code, out).toBe(0);
    expect(out).toMatch(/queue +events: .*pending 4/);
    expect(out).toMatch(/because +5 unread \+ 4 pending = 9/);
    expect(out).toMatch(/to KEDA +9, active/);
  });

  test('tells what a formula makes of its triggers, and that it is unknown with one of them', async () => {
    await redis.call('RPUSH', 'parts', ...Array.from({ length: 4 }, (_, index) => index));
    await redis.call('RPUSH', 'wholes', ...Array.from({ length: 9 }, (_, index) => index));
    const named = (name: string, list: string): string => redisTrigger(list).replace('- type', `- name: ${name}\n      type`);
    const formula = (text: string): string =>
      `  advanced: { scalingModifiers: { formula: "${text}", target: "3", activationTarget: "2" } }\n${AUTHENTICATION}`;
    const triggers = `${named('parts', 'parts')}\n${named('wholes', 'wholes')}`;
    const { code, out } = await run(manifest('formula', triggers, formula('parts > 3 ? wholes - 2 : 0')));
    expect(code, out).toBe(0);
    const [, text = ''] = out.split('ScaledObject shop/orders formula');
    expect(text).toMatch(/metric +composite-metric, target 3 \(AverageValue\)/);
    expect(text).toMatch(/because +parts is 4\n +because +wholes is 9\n +because +parts > 3 \? wholes - 2 : 0 = 7/);
    expect(text).toMatch(/because +active: 7 > activationTarget 2/);
    expect(text).toMatch(/to KEDA +7, active/);
    expect(text).toMatch(/replicas +the HPA asks for 3: the metric is 7 for a target of 3 each/);

    const broken = await run(manifest('formula', triggers, formula('parts +')));
    expect(broken.code).toBe(1);
    expect(broken.out).toContain('scalingModifiers: formula Expected expression after +');
    const gone = triggers.replace(/127.0.0.1:\d+/, '127.0.0.1:1');
    const unknown = await run(manifest('formula', gone, formula('wholes')));
    expect(unknown.code).toBe(1);
    expect(unknown.out).toMatch(/formula\n.*\n +unknown +the value of parts is unknown: /);
  });

  test('tells what is known by the clock, and what only a cluster knows', async () => {
    await redis.call('RPUSH', 'beside', 'a', 'b');
    const hour = (offset: number): number => (new Date().getUTCHours() + offset + 24) % 24;
    const cron = (from: number, to: number): string =>
      `    - { name: day, type: cron, metadata: { timezone: UTC, start: 0 ${hour(from)} * * *, end: 0 ${hour(to)} * * *, desiredReplicas: "3" } }`;
    const cpu = `    - { type: cpu, metricType: Utilization, metadata: { value: "60" } }`;
    const triggers = (from: number, to: number): string => `${redisTrigger('beside')}\n${cron(from, to)}\n${cpu}`;
    const open = await run(manifest('open', triggers(-2, 2), AUTHENTICATION));
    expect(open.code, open.out).toBe(0);
    expect(open.out).toMatch(/trigger 1\n +metric +s1-cron-UTC-\S+, target 1 \(AverageValue\)/);
    expect(open.out).toMatch(
      /active: desiredReplicas 3 until \d{4}-\S+:00:00.000Z\n +to KEDA +3, active\n +replicas +the HPA asks for 3/,
    );
    expect(open.out).toMatch(/trigger 2\n +metric +cpu, target 60 \(Utilization\)\n +unknown +only the cluster knows this/);
    const closed = await run(manifest('closed', triggers(2, 4), AUTHENTICATION), { json: true });
    expect(closed.code).toBe(0);
    const [, clock, resource] = closed.out.split('\n').map((line) => (line === '' ? {} : (JSON.parse(line) as unknown)));
    expect(clock).toMatchObject({ reading: { value: 1, active: false, reader: 'clock' } });
    expect(resource).toMatchObject({ note: expect.stringContaining('only the cluster') as unknown });
  });

  test('has an exit code of its own where no trigger is for an external scaler', async () => {
    const { code, err } = await run(
      manifest('built-in', `    - type: redis\n      metadata: { address: a.b:6379, listName: x }`),
    );
    expect(code).toBe(2);
    expect(err).toContain('queue-scaler convert');
  });
});
