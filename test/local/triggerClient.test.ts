/** KEDA's side of the protocol against a scripted gRPC server; the stream's waiting on a simulated clock. */
import { EventEmitter } from 'node:events';
import { credentials, Server, ServerCredentials, status, type ServiceError } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createTriggerClient, type TriggerClient } from '../../src/local/keda/triggerClient.ts';
import {
  ExternalScalerClient,
  ExternalScalerService,
  type GetMetricSpecResponse,
  type GetMetricsResponse,
} from '../../src/server/grpc/gen/externalscaler.ts';

const reference = { name: 'orders', namespace: 'shop', scalerMetadata: { queueName: 'orders' } };
const options = { index: 2, type: 'external-push', targetType: 'AverageValue', useCachedMetrics: false, reference } as const;
const never = new AbortController().signal;

describe('calls', () => {
  let server: Server;
  let client: ExternalScalerClient;
  let trigger: TriggerClient;
  let calls: string[];
  let failures: Record<string, number>;
  /** What happens while the scaler is being asked. */
  let meanwhile: () => void;
  let spec: GetMetricSpecResponse;
  let metrics: GetMetricsResponse;

  beforeEach(async () => {
    calls = [];
    failures = {};
    meanwhile = () => undefined;
    spec = { metricSpecs: [{ metricName: 'queue', targetSize: 5, targetSizeFloat: 0 }] };
    metrics = { metricValues: [{ metricName: 'queue', metricValue: 7, metricValueFloat: 0 }] };
    const handler =
      <Reply>(name: string, reply: () => Reply) =>
      (call: { request: unknown }, done: (error: Partial<ServiceError> | null, reply?: Reply) => void): void => {
        const metric = (call.request as { metricName?: string }).metricName;
        calls.push(metric === undefined ? name : `${name} ${metric}`);
        meanwhile();
        const left = failures[name] ?? 0;
        failures[name] = left - 1;
        if (left > 0) done({ code: status.UNAVAILABLE, details: 'on purpose' });
        else done(null, reply());
      };
    server = new Server();
    server.addService(ExternalScalerService, {
      getMetricSpec: handler('GetMetricSpec', () => spec),
      getMetrics: handler('GetMetrics', () => metrics),
      isActive: handler('IsActive', () => ({ result: true })),
      streamIsActive: () => undefined,
      streamMetricSpec: () => undefined,
    });
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => {
        if (error === null) resolve(bound);
        else reject(error);
      });
    });
    client = new ExternalScalerClient(`127.0.0.1:${port}`, credentials.createInsecure());
    trigger = createTriggerClient({ client, ...options });
  });

  afterEach(() => {
    client.close();
    server.forceShutdown();
  });

  test('a metric has the trigger’s index before its name, which the scaler never sees', async () => {
    expect(await trigger.metrics(never, never)).toEqual({ ok: true, value: [{ name: 's2-queue', target: 5 }] });
    expect(await trigger.read('s2-queue', never, never)).toEqual({ ok: true, value: { value: 7, active: true } });
    expect(calls).toEqual(['GetMetricSpec', 'GetMetrics queue', 'IsActive']);
  });

  test.each([
    ['a float above zero goes before the integer', { metricValue: 7, metricValueFloat: 2.5 }, 2.5],
    ['a float of zero gives way to the integer', { metricValue: 7, metricValueFloat: 0 }, 7],
    ['a float below zero does, too', { metricValue: 7, metricValueFloat: -3 }, 7],
    ['what is no number is zero', { metricValue: 0, metricValueFloat: Infinity }, 0],
    ['a negative integer is zero', { metricValue: -4, metricValueFloat: 0 }, 0],
    ['values are cut to thousandths', { metricValue: 0, metricValueFloat: 1.23456 }, 1.234],
  ])('%s', async (_, value, expected) => {
    metrics = { metricValues: [{ metricName: 'whatever', ...value }] };
    expect(await trigger.read('s2-queue', never, never)).toMatchObject({ value: { value: expected } });
  });

  test('all values of an answer are added up, whatever they are called', async () => {
    metrics = {
      metricValues: [
        { metricName: 'a', metricValue: 3, metricValueFloat: 0 },
        { metricName: 'b', metricValue: 4, metricValueFloat: 0 },
      ],
    };
    expect(await trigger.read('s2-queue', never, never)).toMatchObject({ value: { value: 7 } });
  });

  test('a float target goes before the integer one, in thousandths', async () => {
    spec = { metricSpecs: [{ metricName: 'queue', targetSize: 1, targetSizeFloat: 0.12345 }] };
    expect(await trigger.metrics(never, never)).toMatchObject({ value: [{ target: 0.123 }] });
  });

  test('one failure is asked again, GetMetrics together with IsActive', async () => {
    failures = { IsActive: 1 };
    expect(await trigger.read('s2-queue', never, never)).toMatchObject({ ok: true });
    expect(calls).toEqual(['GetMetrics queue', 'IsActive', 'GetMetrics queue', 'IsActive']);
  });

  test('a second failure is the answer, with the call, the status and the scaler’s words', async () => {
    failures = { GetMetrics: 2 };
    expect(await trigger.read('s2-queue', never, never)).toEqual({
      ok: false,
      status: status.UNAVAILABLE,
      error: 'GetMetrics: UNAVAILABLE: on purpose',
    });
  });

  test('no metric spec at all is a failure', async () => {
    spec = { metricSpecs: [] };
    expect(await trigger.metrics(never, never)).toMatchObject({ ok: false, error: 'GetMetricSpec: got empty metric spec' });
    expect(calls).toHaveLength(2);
  });

  test('a cache that is closed meanwhile leaves no scaler to ask once more, and a good answer alone', async () => {
    const cache = new AbortController();
    meanwhile = () => {
      cache.abort();
    };
    failures = { GetMetrics: 1 };
    expect(await trigger.read('s2-queue', never, cache.signal)).toMatchObject({ ok: false, cacheClosed: true });
    expect(calls).toEqual(['GetMetrics queue']);
    expect(await trigger.metrics(never, cache.signal)).toMatchObject({ ok: false, cacheClosed: true });
    expect(calls).toEqual(['GetMetrics queue']);
    const other = new AbortController();
    meanwhile = () => {
      other.abort();
    };
    expect(await trigger.read('s2-queue', never, other.signal)).toMatchObject({ ok: true });
  });

  test('an end cancels the call under way', async () => {
    expect(await trigger.read('s2-queue', AbortSignal.abort(), never)).toMatchObject({ ok: false, status: status.CANCELLED });
  });
});

describe('the stream', () => {
  class FakeStream extends EventEmitter {
    cancel(): void {
      this.emit('error', { code: status.CANCELLED, message: 'cancelled' });
    }
  }

  test('opens again after 2 s when it ended in order, and later and later after errors', async () => {
    vi.useFakeTimers();
    const streams: FakeStream[] = [];
    const opened: number[] = [];
    const fake = {
      streamIsActive() {
        opened.push(performance.now());
        const stream = new FakeStream();
        streams.push(stream);
        return stream;
      },
    } as unknown as ExternalScalerClient;
    const heard: (boolean | number)[] = [];
    const ending = new AbortController();
    const done = createTriggerClient({ client: fake, ...options }).stream(
      { active: (active) => void heard.push(active), ended: (_, retryMs) => void heard.push(retryMs) },
      ending.signal,
    );
    const last = (): FakeStream => streams.at(-1) ?? new FakeStream();
    const fail = async (): Promise<void> => {
      last().emit('error', { code: status.UNAVAILABLE, message: 'gone' });
      await vi.advanceTimersByTimeAsync(60_000);
    };

    last().emit('data', { result: true });
    last().emit('end');
    await vi.advanceTimersByTimeAsync(1_999);
    expect(streams).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(streams).toHaveLength(2);

    for (let times = 0; times < 7; times++) await fail();
    last().emit('end');
    await vi.advanceTimersByTimeAsync(2_000);
    await fail();
    expect(heard).toEqual([true, 2_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 2_000, 2_000]);

    ending.abort();
    await done;
    vi.useRealTimers();
  });
});
