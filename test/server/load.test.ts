import { status, type ServiceError } from '@grpc/grpc-js';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { latestOnly } from '../../src/server/grpc/adapt.ts';
import { createMemoryBroker, UNREACHABLE, type MemoryBroker } from '../bed/memoryScaler.ts';
import { startScaler, type TestScaler } from '../bed/scaler.ts';

let broker: MemoryBroker;
let scaler: TestScaler;

beforeAll(async () => {
  broker = createMemoryBroker();
  scaler = await startScaler({ scalers: [broker.scaler], maxConnectionAgeMs: 1_000 });
});
afterAll(() => scaler.close());
beforeEach(() => {
  broker.fail(undefined);
  broker.hang(false);
});

const on = (queueName: string, of = scaler) => of.client.trigger({ name: queueName, metadata: { scaler: 'memory', queueName } });
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
    const limited = await startScaler({ scalers: [broker.scaler], maxWaitingCalls: 20 });
    const ask = (queueName: string): Promise<status> => code(limited.client.call('IsActive', on(queueName, limited).reference));
    const known = on('known', limited).push();
    await known.next(false);
    broker.hang(true);
    let over = 0;
    const waiting = Array.from({ length: 20 }, (_, number) => ask(`hung-${number}`).finally(() => over++));
    await expect.poll(() => ask('one-too-many')).toBe(status.RESOURCE_EXHAUSTED);
    const refused = Array.from({ length: 50 }, (_, number) => ask(`more-${number}`));
    const answered = Array.from({ length: 50 }, () => ask('known'));
    expect(await code(on('one-too-many', limited).spec())).toBe(status.OK);
    expect(new Set(await Promise.all(refused))).toEqual(new Set([status.RESOURCE_EXHAUSTED]));
    expect(new Set(await Promise.all(answered))).toEqual(new Set([status.OK]));
    // Before any of those that wait.
    expect(over).toBe(0);
    expect(new Set(await Promise.all(waiting))).toEqual(new Set([status.UNAVAILABLE]));
    broker.hang(false);
    expect(await code(on('one-too-many', limited).poll())).toBe(status.OK);
    known.close();
    await limited.close();
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
    expect(messages('told')).toEqual(['trigger state unknown', 'trigger state recovered']);
    const metrics = await scaler.metrics();
    expect(metrics).toMatch(/queue_scaler_answers_total\{scaler="memory",outcome="BROKER_UNREACHABLE"\} [1-9]/);
    expect(metrics).toMatch(/queue_scaler_answers_total\{scaler="memory",outcome="known"\} [1-9]/);
  });

  it('says the same bad metadata once', async () => {
    const bad = scaler.client.trigger({ name: 'misspelt', metadata: { scaler: 'memory', queue: 'x' } });
    for (let polls = 0; polls < 3; polls++) expect(await code(bad.spec())).toBe(status.INVALID_ARGUMENT);
    expect(messages('misspelt')).toEqual(['trigger rejected']);
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
