import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { QueueError, type QueueScalerError } from '../../../src/errors.ts';
import type { Declared } from '../../../src/scalers/rabbitmq/amqp/declared.ts';
import { createWaker, type Waker } from '../../../src/scalers/rabbitmq/wake/rotation.ts';

let asked: Map<string, number[]>;
let answers: Map<string, Declared | QueueScalerError | undefined>;
let waker: Waker;

beforeEach(() => {
  vi.useFakeTimers();
  asked = new Map();
  answers = new Map();
  waker = createWaker((_, queue) => {
    asked.set(queue, [...(asked.get(queue) ?? []), performance.now()]);
    // Undefined is a queue that hangs.
    if (answers.has(queue) && answers.get(queue) === undefined) return new Promise(() => undefined);
    return Promise.resolve(answers.get(queue) ?? declared(0));
  });
});
afterEach(() => {
  waker.close();
  vi.useRealTimers();
});

function declared(ready: number): Declared {
  return { ready, consumers: 0, serviceMs: 1, at: performance.now() };
}

function sleep(count: number, budget = 1000): { readonly woken: string[]; readonly stops: (() => void)[] } {
  const woken: string[] = [];
  const stops = Array.from({ length: count }, (_, index) =>
    waker.add('/', `q${index}`, { budget, onWork: () => void woken.push(`q${index}`) }),
  );
  return { woken, stops };
}

/** Declares in all, and the fewest and most of one queue. */
function counts(): { readonly all: number; readonly least: number; readonly most: number } {
  const perQueue = [...asked.values()].map((times) => times.length);
  return { all: perQueue.reduce((sum, count) => sum + count, 0), least: Math.min(...perQueue), most: Math.max(...perQueue) };
}

it('asks few queues each 20 ms, and no more often', async () => {
  sleep(10);
  await vi.advanceTimersByTimeAsync(2_000);
  const { least, most } = counts();
  expect(least).toBeGreaterThanOrEqual(90);
  expect(most).toBeLessThanOrEqual(101);
});

it.each([
  [1000, 1000],
  [1000, 250],
  [37, 100],
])('shares the budget of many sleepers fairly: %d queues, %d a second', async (queues, budget) => {
  sleep(queues, budget);
  await vi.advanceTimersByTimeAsync(20_000);
  const { all, least, most } = counts();
  // A quarter is left for full readings.
  expect(all).toBeLessThanOrEqual(budget * 20 * 0.75);
  expect(all).toBeGreaterThan(budget * 19 * 0.75);
  expect(most - least).toBeLessThanOrEqual(1);
});

it('asks many in a few large batches, none later than its turn', async () => {
  sleep(1000);
  await vi.advanceTimersByTimeAsync(10_000);
  const batches = new Set([...asked.values()].flat());
  expect(batches.size).toBeLessThanOrEqual(25);
  for (const times of asked.values()) {
    for (const [index, at] of times.entries()) if (index > 0) expect(at - (times[index - 1] ?? 0)).toBeLessThan(1_800);
  }
});

it('passes over none when others wake', async () => {
  const { stops } = sleep(1000);
  for (const stop of stops.slice(0, 100)) {
    await vi.advanceTimersByTimeAsync(100);
    stop();
  }
  for (const [queue, times] of [...asked].slice(100)) {
    const gaps = times.slice(1).map((at, index) => at - (times[index] ?? 0));
    expect(Math.max(...gaps), queue).toBeLessThan(1_800);
  }
});

it('does not wait for a queue that hangs, nor asks it again meanwhile', async () => {
  answers.set('q3', undefined);
  sleep(10);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(asked.get('q3')).toHaveLength(1);
  expect(asked.get('q4')?.length).toBeGreaterThan(45);
});

it('leaves a queue that cannot be read alone for a while', async () => {
  answers.set('q3', new QueueError('QUEUE_MISSING', 'gone'));
  sleep(10);
  await vi.advanceTimersByTimeAsync(5_000);
  expect(asked.get('q3')?.length).toBeLessThanOrEqual(6);
  expect(asked.get('q3')?.length).toBeGreaterThanOrEqual(4);
});

it('tells of work only, to all who wait for it, until they stop', async () => {
  const first = sleep(3);
  const second = sleep(3);
  answers.set('q1', declared(2));
  await vi.advanceTimersByTimeAsync(60);
  expect(new Set([...first.woken, ...second.woken])).toEqual(new Set(['q1']));
  for (const stop of [...first.stops, ...second.stops]) stop();
  const before = counts().all;
  await vi.advanceTimersByTimeAsync(1_000);
  expect(counts().all).toBe(before);
});
