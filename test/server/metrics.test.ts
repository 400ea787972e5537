import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createMemoryBroker, UNREACHABLE, type MemoryBroker } from '../bed/memoryScaler.ts';
import { startScaler, type TestScaler } from '../bed/scaler.ts';
import { until } from '../bed/until.ts';

interface Series {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

interface Exposition {
  /** By metric: its type, and whether it has a sentence of help. */
  readonly types: ReadonlyMap<string, string>;
  readonly helps: ReadonlyMap<string, string>;
  readonly series: readonly Series[];
}

let broker: MemoryBroker;
let scaler: TestScaler;

beforeAll(async () => {
  broker = createMemoryBroker();
  scaler = await startScaler({ scalers: [broker.scaler] });
});
afterAll(() => scaler.close());

async function scrape(): Promise<Exposition> {
  const types = new Map<string, string>();
  const helps = new Map<string, string>();
  const series: Series[] = [];
  for (const line of (await scaler.metrics()).split('\n')) {
    const [, kind, about = '', rest = ''] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (kind !== undefined) (kind === 'TYPE' ? types : helps).set(about, rest);
    const [, name, labels = '', value] = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
    if (name === undefined) continue;
    const pairs = [...labels.matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"/g)].map(([, label = '', text = '']) => [label, text]);
    series.push({ name, labels: Object.fromEntries(pairs) as Record<string, string>, value: Number(value) });
  }
  return { types, helps, series };
}

const trigger = (queueName: string, namespace = 'default') =>
  scaler.client.trigger({ namespace, name: queueName, metadata: { scaler: 'memory', queueName } });

describe('the metrics', () => {
  it('tell of calls, answers, readings, sweeps, wakes, unknowns and the build what happened', async () => {
    const stream = trigger('woken').push();
    await stream.next(false);
    broker.set('woken', 1);
    await stream.next(true);
    await trigger('polled').poll();
    broker.fail(UNREACHABLE);
    await expect(trigger('unknown').poll()).rejects.toThrow();
    broker.fail(undefined);
    const { series } = await scrape();
    stream.close();

    const counted = (name: string, labels: Record<string, string> = {}): number =>
      series
        .filter((each) => each.name === name && Object.entries(labels).every(([label, text]) => each.labels[label] === text))
        .reduce((sum, { value }) => sum + value, 0);
    const call = 'queue_scaler_grpc_call_duration_seconds_count';
    for (const method of ['GetMetricSpec', 'GetMetrics', 'IsActive'])
      expect(counted(call, { method, code: 'OK' })).toBe(1 + Number(method === 'GetMetricSpec'));
    expect(counted(call, { method: 'GetMetrics', code: 'UNAVAILABLE' })).toBe(2);
    expect(counted('queue_scaler_grpc_call_duration_seconds_bucket', { method: 'GetMetrics', le: '+Inf' })).toBe(3);
    expect(counted('queue_scaler_errors_total', { code: 'BROKER_UNREACHABLE' })).toBe(2);
    expect(counted('queue_scaler_answers_total', { scaler: 'memory', outcome: 'known' })).toBe(2);
    expect(counted('queue_scaler_answers_total', { scaler: 'memory', outcome: 'BROKER_UNREACHABLE' })).toBe(2);
    expect(counted('queue_scaler_answer_reading_age_seconds_count', { scaler: 'memory', reader: 'memory' })).toBe(2);
    expect(counted('queue_scaler_readings_total', { reader: 'memory', outcome: 'known' })).toBeGreaterThanOrEqual(3);
    expect(counted('queue_scaler_readings_total', { outcome: 'BROKER_UNREACHABLE' })).toBeGreaterThanOrEqual(1);
    expect(counted('queue_scaler_sweep_duration_seconds_count')).toBe(2);
    expect(counted('queue_scaler_sweep_questions_total', { answer: 'known' })).toBe(1);
    expect(counted('queue_scaler_wake_duration_seconds_count')).toBe(1);
    expect(counted('queue_scaler_grpc_streams')).toBe(1);
    expect(counted('queue_scaler_build_info')).toBe(1);
  });

  it('exist for connections, watches and certificates before there are any', async () => {
    const { types } = await scrape();
    expect(Object.fromEntries([...types].filter(([name]) => name.startsWith('queue_scaler_')))).toMatchObject({
      queue_scaler_grpc_connections: 'gauge',
      queue_scaler_grpc_connections_refused_total: 'counter',
      queue_scaler_broker_connections: 'gauge',
      queue_scaler_broker_troubles_total: 'counter',
      queue_scaler_kubernetes_watch_age_seconds: 'gauge',
      queue_scaler_kubernetes_objects: 'gauge',
      queue_scaler_certificate_expiry_timestamp_seconds: 'gauge',
      queue_scaler_certificate_failures_total: 'counter',
      queue_scaler_triggers: 'gauge',
    });
  });

  it('are named by Prometheus’ conventions, each with a sentence of help', async () => {
    const { types, helps } = await scrape();
    for (const [name, type] of types) {
      expect(helps.get(name), name).toMatch(/\S/);
      if (!name.startsWith('queue_scaler_')) continue;
      expect(name).toMatch(/^[a-z]+(_[a-z0-9]+)*$/);
      expect(name.endsWith('_total'), name).toBe(type === 'counter');
      // Base units only, and no type in a name.
      expect(name).not.toMatch(/_(ms|milliseconds|minutes|kb|mb|count|gauge|histogram|counter)(_|$)/);
      if (/duration|age|expiry/.test(name)) expect(name).toMatch(/_seconds$/);
    }
  });

  it('have no series more, however many triggers and callers there are', async () => {
    await trigger('first', 'one').poll();
    const ours = async (): Promise<Series[]> => (await scrape()).series.filter(({ name }) => name.startsWith('queue_scaler_'));
    const before = (await ours()).length;
    for (let number = 0; number < 100; number++) await trigger(`queue-${number}`, `namespace-${number}`).poll();
    for (let number = 0; number < 20; number++) {
      const bad = scaler.client.trigger({ name: `bad-${number}`, metadata: { scaler: `scaler-${number}`, queueName: 'q' } });
      await expect(bad.spec()).rejects.toThrow();
    }
    await until('all are counted', async () => (await scaler.metrics()).includes('INVALID_TRIGGER'));
    const series = await ours();
    const fromErrors = series.filter(
      ({ labels }) => labels['code'] === 'INVALID_ARGUMENT' || labels['code'] === 'INVALID_TRIGGER',
    );
    expect(series.length - fromErrors.length).toBe(before);
    for (const { labels } of series) expect(JSON.stringify(labels)).not.toMatch(/queue-\d|namespace-\d|scaler-\d|bad-\d/);
  });
});
