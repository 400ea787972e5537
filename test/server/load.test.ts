import { status, type ServiceError } from '@grpc/grpc-js';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { latestOnly } from '../../src/server/grpc/adapt.ts';
import { createMemoryBroker, UNREACHABLE, type MemoryBroker } from '../bed/memoryScaler.ts';
import { startScaler, type TestScaler } from '../bed/scaler.ts';

let broker: MemoryBroker;
let scaler: TestScaler;

beforeAll(async () => {
  broker = createMemoryBroker();
  scaler = await startScaler({ scalers: [broker.scaler], maxWaitingCalls: 20, maxConnectionAgeMs: 1_000 });
});
afterAll(() => scaler.close());
beforeEach(() => {
  broker.fail(undefined);
  broker.hang(false);
});

const on = (queueName: string) => scaler.client.trigger({ name: queueName, metadata: { scaler: 'memory', queueName } });
const code = (promise: Promise<unknown>): Promise<status> =>
  promise.then(
    () => status.OK,
    (error: unknown) => (error as ServiceError).code,
  );
const messages = (name: string): string[] =>
  scaler.log
    .map((line) => JSON.parse(line) as { msg: string; name?: string })
    .filter((entry) => entry.name === name)
    .map(({ msg }) => msg);

describe('more calls than brokers answer', () => {
  it('are refused at once beyond the limit, while answers that are known and specs still come', async () => {
    broker.hang(true);
    const waiting = Array.from({ length: 20 }, (_, number) =>
      code(scaler.client.call('IsActive', on(`hung-${number}`).reference)),
    );
    await expect.poll(() => code(scaler.client.call('IsActive', on('one-too-many').reference))).toBe(status.RESOURCE_EXHAUSTED);
    const startedAt = performance.now();
    expect(await code(on('one-too-many').spec())).toBe(status.OK);
    expect(performance.now() - startedAt).toBeLessThan(1_000);
    expect(new Set(await Promise.all(waiting))).toEqual(new Set([status.UNAVAILABLE]));
    broker.hang(false);
    expect(await code(on('one-too-many').poll())).toBe(status.OK);
  });
});

describe('the log', () => {
  it('has one line when a trigger becomes unknown and one when it is known again, however often it is asked', async () => {
    await on('told').poll();
    broker.fail(UNREACHABLE);
    await expect.poll(() => code(on('told').poll())).toBe(status.UNAVAILABLE);
    for (let polls = 0; polls < 5; polls++) await code(on('told').poll());
    broker.fail(undefined);
    await expect.poll(() => code(on('told').poll()), { timeout: 5_000 }).toBe(status.OK);
    expect(messages('told')).toEqual(['unknown', 'known again']);
    const metrics = await scaler.metrics();
    expect(metrics).toMatch(/queue_scaler_answers_total\{scaler="memory",outcome="BROKER_UNREACHABLE"\} [1-9]/);
    expect(metrics).toMatch(/queue_scaler_answers_total\{scaler="memory",outcome="known"\} [1-9]/);
  });

  it('says the same bad metadata once', async () => {
    const bad = scaler.client.trigger({ name: 'misspelt', metadata: { scaler: 'memory', queue: 'x' } });
    for (let polls = 0; polls < 3; polls++) expect(await code(bad.spec())).toBe(status.INVALID_ARGUMENT);
    expect(messages('misspelt')).toEqual(['refused']);
  });
});

describe('connections that become old', () => {
  it('end by themselves, streams with OK and no call failed', async () => {
    const stream = on('old').push(0.01);
    const startedAt = performance.now();
    const codes = new Set<status>();
    while (performance.now() - startedAt < 4_000) codes.add(await code(on('old').poll()));
    expect([...codes]).toEqual([status.OK]);
    expect(stream.ends.length).toBeGreaterThanOrEqual(3);
    expect(new Set(stream.ends)).toEqual(new Set([status.OK]));
    stream.close();
  });
});

describe('a reader that does not read', () => {
  it('gets the latest state next, and never the ones between', () => {
    const written: number[] = [];
    const flushed: (() => void)[] = [];
    const call = {
      cancelled: false,
      writableEnded: false,
      write: (value: number, done: unknown): boolean => {
        written.push(value);
        flushed.push(done as () => void);
        return false;
      },
    };
    const send = latestOnly<number>(call);
    for (let value = 1; value <= 1_000; value++) send(value);
    expect(written).toEqual([1]);
    flushed.shift()?.();
    expect(written).toEqual([1, 1_000]);
    flushed.shift()?.();
    expect(written).toEqual([1, 1_000]);
  });
});
