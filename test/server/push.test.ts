import { status } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { advise, TRUE_GAP_MS, UNTOLD } from '../../src/server/grpc/push.ts';
import { createMemoryBroker, UNREACHABLE, type MemoryBroker } from '../bed/memoryScaler.ts';
import { startScaler, type TestScaler } from '../bed/scaler.ts';
import type { PushStream } from '../keda/client.ts';

describe('what a stream says next', () => {
  it('tells the first state at once, whichever it is', () => {
    expect(advise(UNTOLD, true, 0)).toEqual({ send: true });
    expect(advise(UNTOLD, false, 0)).toEqual({ send: true });
  });

  it('tells an edge at once and an unchanged state not at all', () => {
    expect(advise({ told: false, trueAt: -Infinity }, true, 10)).toEqual({ send: true });
    expect(advise({ told: true, trueAt: 10 }, false, 11)).toEqual({ send: true });
    expect(advise({ told: true, trueAt: 10 }, true, 10_000)).toEqual({ send: false });
  });

  it('defers a true that follows another too soon, so that a flapping queue costs KEDA little', () => {
    expect(advise({ told: false, trueAt: 1_000 }, true, 1_500)).toEqual({ send: false, againInMs: TRUE_GAP_MS - 500 });
    expect(advise({ told: false, trueAt: 1_000 }, true, 1_000 + TRUE_GAP_MS)).toEqual({ send: true });
  });
});

describe('StreamIsActive', () => {
  let broker: MemoryBroker;
  let scaler: TestScaler;
  const streams: PushStream[] = [];

  beforeAll(async () => {
    broker = createMemoryBroker();
    scaler = await startScaler({ scalers: [broker.scaler] });
  });
  afterEach(() => {
    broker.fail(undefined);
    for (const stream of streams.splice(0)) stream.close();
  });
  afterAll(() => scaler.close());

  function push(queueName: string, more: Record<string, string> = {}): PushStream {
    const metadata = { scaler: 'memory', queueName, ...more };
    const stream = scaler.client.trigger({ type: 'external-push', metadata }).push(0.01);
    streams.push(stream);
    return stream;
  }

  it('tells the state on open, true when work appears and false when it is gone', async () => {
    const stream = push('jobs');
    await stream.next(false);
    broker.set('jobs', 1);
    await stream.next(true);
    broker.set('jobs', 0);
    await stream.next(false);
    expect(stream.states.map(({ active }) => active)).toEqual([false, true, false]);
  });

  it('tells a second stream of a trigger at once, though the first, which may be dead, has been told already', async () => {
    broker.set('twice', 1);
    const first = push('twice');
    await first.next(true);
    const second = push('twice');
    await second.next(true, 1_000);
  });

  it('says nothing of an unknown state, and the state once it is known again', async () => {
    const stream = push('outage');
    await stream.next(false);
    broker.fail(UNREACHABLE);
    broker.set('outage', 1);
    broker.fail(undefined);
    await stream.next(true);
    expect(stream.states.map(({ active }) => active)).toEqual([false, true]);
    expect(stream.ends).toEqual([]);
  });

  it('tells a queue that flaps fast no more than two states in the gap between two true', async () => {
    const stream = push('flapping');
    await stream.next(false);
    const startedAt = performance.now();
    while (performance.now() - startedAt < TRUE_GAP_MS / 2) {
      broker.set('flapping', 1);
      broker.set('flapping', 0);
      await new Promise((resolve) => setImmediate(resolve));
    }
    broker.set('flapping', 1);
    await stream.next(true);
    await stream.next(true);
    expect(stream.states.map(({ active }) => active)).toEqual([false, true, false, true]);
  });

  it('ends a stream with a bad trigger by INVALID_ARGUMENT, so that KEDA backs off', async () => {
    const stream = push('typo', { activatonValue: '1' });
    await expect.poll(() => stream.ends.length).toBeGreaterThanOrEqual(2);
    expect(stream.ends[0]).toBe(status.INVALID_ARGUMENT);
    expect(stream.backoffs.slice(0, 2)).toEqual([2_000, 4_000]);
  });

  it('lets go of the broker’s queue when KEDA goes', async () => {
    const before = broker.watched;
    const stream = push('left');
    await stream.next(false);
    expect(broker.watched).toBe(before + 1);
    stream.close();
    await expect.poll(() => broker.watched).toBe(before);
  });

  it('ends every stream with OK on shutdown, which keeps KEDA’s back-off short', async () => {
    const own = await startScaler({ scalers: [broker.scaler] });
    const metadata = { scaler: 'memory', queueName: 'ending' };
    const keda = own.keda({ version: '2.21' });
    const stream = keda.trigger({ metadata }).push();
    const specs = keda.trigger({ metadata }).specs();
    await stream.next(false);
    await expect.poll(() => specs.updates).toEqual([[{ name: 's0-memory-ending', target: 20 }]]);
    await own.server.close();
    expect(await specs.ended).toBe(status.OK);
    await expect.poll(() => stream.ends).toEqual([status.OK]);
    stream.close();
    await own.close();
  });
});
