import { status, type ServiceError } from '@grpc/grpc-js';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ROUND_MS } from '../../src/scalers/freshness.ts';
import { createMemoryBroker, UNREACHABLE, type MemoryBroker } from '../bed/memoryScaler.ts';
import { startScaler, type TestScaler } from '../bed/scaler.ts';

let broker: MemoryBroker;
let scaler: TestScaler;

beforeAll(async () => {
  broker = createMemoryBroker();
  scaler = await startScaler({ scalers: [broker.scaler] });
});
afterAll(() => scaler.close());
beforeEach(() => {
  broker.fail(undefined);
  broker.hang(false);
});

const memory = (queueName: string, more: Record<string, string> = {}) => ({
  metadata: { scaler: 'memory', scalerAddress: 'scaler:6000', queueName, ...more },
});

async function failure(promise: Promise<unknown>): Promise<ServiceError> {
  try {
    await promise;
  } catch (error) {
    return error as ServiceError;
  }
  throw new Error('did not fail');
}

describe('the polled calls', () => {
  it('answer target, value and activity, with KEDA’s order of calls', async () => {
    broker.set('orders', 30);
    const before = scaler.client.calls.length;
    const poll = await scaler.client.trigger({ ...memory('orders'), index: 2 }).poll();
    expect(poll).toEqual({ metrics: [{ name: 's2-memory-orders', target: 20, value: 30 }], active: true });
    expect(scaler.client.calls.slice(before).map(({ method }) => method)).toEqual(['GetMetricSpec', 'GetMetrics', 'IsActive']);
  });

  it('share one question to the broker among GetMetrics and IsActive', async () => {
    await scaler.client.trigger(memory('shared')).poll();
    expect(broker.readCount('shared')).toBe(1);
  });

  it('read as zero and inactive at both fields for an empty queue', async () => {
    broker.set('empty', 0);
    const reference = scaler.client.trigger(memory('empty')).reference;
    const answer = await scaler.client.call('GetMetrics', { scaledObjectRef: reference, metricName: 'memory-empty' });
    expect(answer).toEqual({ metricValues: [{ metricName: 'memory-empty', metricValue: 0, metricValueFloat: 0 }] });
    expect(await scaler.client.call('IsActive', reference)).toEqual({ result: false });
  });

  it.each(['2.16', '2.20'] as const)('are right for KEDA %s, by the integer or the float', async (version) => {
    broker.set('fraction', 0.4);
    const { metrics } = await scaler
      .keda({ version })
      .trigger(memory('fraction', { value: '0.5' }))
      .poll();
    expect(metrics[0]).toMatchObject(version === '2.16' ? { target: 1, value: 1 } : { target: 0.5, value: 0.4 });
  });

  it('are errors, never zero, while the broker is in trouble; GetMetricSpec still answers', async () => {
    broker.fail(UNREACHABLE);
    const trigger = scaler.client.trigger(memory('troubled'));
    expect(await trigger.spec()).toEqual([{ name: 's0-memory-troubled', target: 20 }]);
    const error = await failure(trigger.poll());
    expect(error.code).toBe(status.UNAVAILABLE);
    expect(error.details).toBe('default/worker: memory:// takes no connection');
    expect(error.metadata.get('queue-scaler-error')).toEqual(['BROKER_UNREACHABLE']);
    const active = await failure(scaler.client.call('IsActive', trigger.reference));
    expect(active.code).toBe(status.UNAVAILABLE);
  });

  it('come back by themselves when the broker does', async () => {
    broker.set('mended', 3);
    broker.fail(UNREACHABLE);
    const trigger = scaler.client.trigger(memory('mended'));
    await failure(trigger.poll());
    broker.fail(undefined);
    await expect.poll(() => trigger.poll(), { timeout: ROUND_MS * 4 }).toMatchObject({ active: true });
  });

  it('answer within two seconds though the broker never does', async () => {
    broker.hang(true);
    const startedAt = performance.now();
    const error = await failure(scaler.client.call('IsActive', scaler.client.trigger(memory('hung')).reference));
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    expect(error.code).toBe(status.UNAVAILABLE);
    expect(error.metadata.get('queue-scaler-error')).toEqual(['BROKER_TIMEOUT']);
  });

  it('tell every fault of the metadata at once, with the nearest key', async () => {
    const metadata = { scaler: 'memory', queuName: 'x', value: '-1', host: 'amqp//user:s3cret@host' };
    const error = await failure(scaler.client.trigger({ metadata }).spec());
    expect(error.code).toBe(status.INVALID_ARGUMENT);
    expect(error.details).toContain('queuName is not a key of this scaler; did you mean queueName?');
    expect(error.details).toContain('queueName is required');
    expect(error.details).toContain('value must be a number above 0');
    expect(error.details).toContain('host must be a URL');
    expect(error.details).not.toContain('s3cret');
  });

  it('refuse ten megabytes of metadata with an answer that says so', async () => {
    const error = await failure(scaler.client.trigger(memory('x'.repeat(10 * 1024 * 1024))).spec());
    expect(error.code).toBe(status.INVALID_ARGUMENT);
    expect(error.details).toMatch(/queueName has \d+ bytes/);
  });

  it('refuse a request without an object', async () => {
    const error = await failure(scaler.client.call('GetMetrics', { metricName: 'x' }));
    expect(error.code).toBe(status.INVALID_ARGUMENT);
    expect(error.details).toContain('scaler is required');
  });
});
