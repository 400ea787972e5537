import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { QueueError, type QueueScalerError } from '../../../src/errors.ts';
import type { Declared } from '../../../src/scalers/rabbitmq/amqp/declared.ts';
import { createDeclareRotation, type DeclareRotation } from '../../../src/scalers/rabbitmq/wake/rotation.ts';

let asked: Map<string, number[]>;
let answers: Map<string, Declared | QueueScalerError | undefined>;
let rotation: DeclareRotation;
let awake: Set<string>;

beforeEach(() => {
  vi.useFakeTimers();
  asked = new Map();
  answers = new Map();
  awake = new Set();
  rotation = createDeclareRotation((_, queue) => {
    asked.set(queue, [...(asked.get(queue) ?? []), performance.now()]);
    // Undefined is a queue that hangs.
    if (answers.has(queue) && answers.get(queue) === undefined) return new Promise(() => undefined);
    return Promise.resolve(answers.get(queue) ?? declared(0));
  });
});
afterEach(() => {
  rotation.close();
  vi.useRealTimers();
});

function declared(ready: number): Declared {
  return { ready, consumers: 0, serviceMs: 1, at: performance.now() };
}

function watch(count: number, budget = 1000): { readonly seen: string[]; readonly stops: (() => void)[] } {
  const seen: string[] = [];
  const stops = Array.from({ length: count }, (_, index) =>
    rotation.add('/', `q${index}`, {
      budget,
      sleeping: () => !awake.has(`q${index}`),
      onDeclared: ({ ready }) => void seen.push(`q${index}: ${ready}`),
    }),
  );
  return { seen, stops };
}

/** Declares in all, and the fewest and most of one queue. */
function counts(): { readonly all: number; readonly least: number; readonly most: number } {
  const perQueue = [...asked.values()].map((times) => times.length);
  return { all: perQueue.reduce((sum, count) => sum + count, 0), least: Math.min(...perQueue), most: Math.max(...perQueue) };
}

it('asks few queues each 20 ms, and no more often', async () => {
  watch(10);
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
  watch(queues, budget);
  await vi.advanceTimersByTimeAsync(20_000);
  const { all, least, most } = counts();
  // A quarter is left for full readings.
  expect(all).toBeLessThanOrEqual(budget * 20 * 0.75);
  expect(all).toBeGreaterThan(budget * 19 * 0.75);
  expect(most - least).toBeLessThanOrEqual(1);
});

it('asks many in a few large batches, none later than its turn', async () => {
  watch(1000);
  await vi.advanceTimersByTimeAsync(10_000);
  const batches = new Set([...asked.values()].flat());
  expect(batches.size).toBeLessThanOrEqual(25);
  for (const times of asked.values()) {
    for (const [index, at] of times.entries()) if (index > 0) expect(at - (times[index - 1] ?? 0)).toBeLessThan(1_800);
  }
});

it('passes over none when others wake', async () => {
  const { stops } = watch(1000);
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
  watch(10);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(asked.get('q3')).toHaveLength(1);
  expect(asked.get('q4')?.length).toBeGreaterThan(45);
});

it('leaves a queue that cannot be read alone for a while', async () => {
  answers.set('q3', new QueueError('QUEUE_MISSING', 'gone'));
  watch(10);
  await vi.advanceTimersByTimeAsync(5_000);
  expect(asked.get('q3')?.length).toBeLessThanOrEqual(6);
  expect(asked.get('q3')?.length).toBeGreaterThanOrEqual(4);
});

it('tells what it sees to all who watch a queue, until they stop', async () => {
  const first = watch(2);
  const second = watch(2);
  answers.set('q1', declared(2));
  await vi.advanceTimersByTimeAsync(60);
  for (const { seen } of [first, second]) expect(new Set(seen)).toEqual(new Set(['q0: 0', 'q1: 2']));
  for (const stop of [...first.stops, ...second.stops]) stop();
  const before = counts().all;
  await vi.advanceTimersByTimeAsync(1_000);
  expect(counts().all).toBe(before);
});

it('looks at a queue as at a sleeping one while one of those who watch it sleeps', async () => {
  awake.add('q0');
  watch(1);
  rotation.add('/', 'q0', { budget: 1000, sleeping: () => true, onDeclared: () => undefined });
  await vi.advanceTimersByTimeAsync(1_000);
  expect(asked.get('q0')?.length).toBeGreaterThan(45);
});
