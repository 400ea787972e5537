import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { BrokerError } from '../../../src/errors.ts';
import type { QueueList } from '../../../src/scalers/rabbitmq/management/queueStats.ts';
import type { RabbitQuestion } from '../../../src/scalers/rabbitmq/question.ts';
import { createCollector, type Collector, type VhostReaders } from '../../../src/scalers/rabbitmq/read/collect.ts';
import type { Observation } from '../../../src/scalers/rabbitmq/read/observation.ts';
import { createQueueMemory } from '../../../src/scalers/rabbitmq/read/queueMemory.ts';
import { createQueueSets } from '../../../src/scalers/rabbitmq/read/queueSet.ts';
import { ask, stats, STABLE } from './questionFixture.ts';

/** How the management API answers; the passive declare always has 4 ready messages. */
let list: () => Promise<QueueList>;
let collector: Collector;
/** How long a list is likely to take. */
let expectedMs: number;

beforeEach(() => {
  vi.useFakeTimers();
  expectedMs = 0;
  collector = collectorOf({ declare: () => Promise.resolve({ ready: 4, consumers: 1, serviceMs: 1, at: performance.now() }) });
});
afterEach(() => {
  vi.useRealTimers();
});

function collectorOf(more: Partial<VhostReaders>): Collector {
  const readers: VhostReaders = {
    declare: undefined,
    lists: {
      get: () => list(),
      learnType: () => Promise.resolve(),
      typeOf: () => undefined,
      size: 10,
      // As likely as it took last time, and given twice that.
      get tookMs() {
        return expectedMs;
      },
    },
    prometheusAvailable: () => false,
    single: () => Promise.reject(new Error('was asked')),
    ...more,
  };
  const cluster = { refresh: () => Promise.resolve(), seeNodes: () => Promise.resolve(), state: () => STABLE };
  return createCollector({ readers, cluster, memory: createQueueMemory(), sets: createQueueSets() });
}

function question(name: string): RabbitQuestion {
  return ask({ kind: 'queue', name });
}

const FIGURES = { ready: 4, unacknowledged: 2, messages: 6, consumers: 1 };

function listOf(names: readonly string[]): QueueList {
  const queues = new Map(names.map((name) => [name, stats(name, 6, FIGURES)]));
  return { kind: 'totals', at: performance.now(), queues };
}

/** What is said of a queue, and after how long, in ms. */
async function timed(name: string): Promise<{ readonly observation: Observation | undefined; readonly ms: number }> {
  const startedAt = performance.now();
  let ms = NaN;
  const collecting = collector.collect(question(name), 1).then((observations) => {
    ms = performance.now() - startedAt;
    return observations[0];
  });
  await vi.advanceTimersByTimeAsync(5_000);
  return { observation: await collecting, ms };
}

it('a management API that does not answer holds up what a declare can tell for a second once, and then hardly', async () => {
  list = () => new Promise(() => undefined);
  const first = await timed('a');
  expect(first.observation).toMatchObject({ listed: { code: 'BROKER_TIMEOUT' }, live: { ready: 4 } });
  expect(first.ms).toBeLessThanOrEqual(1_000);
  const second = await timed('b');
  expect(second.observation).toMatchObject({ listed: { code: 'BROKER_TIMEOUT' }, live: { ready: 4 } });
  expect(second.ms).toBeLessThanOrEqual(100);
});

it.each([
  ['is waited for where that is likely', 1_500, 1_800],
  ['is not waited for where it is not', 20, 1_000],
])('a list that takes 1.8 s %s', async (_, likelyMs, ms) => {
  list = () => {
    // Known only when the API has been met.
    expectedMs = likelyMs;
    return new Promise((resolve) =>
      setTimeout(() => {
        resolve(listOf(['a']));
      }, 1_800),
    );
  };
  const { observation, ms: waited } = await timed('a');
  expect(observation?.listed).toMatchObject(ms === 1_800 ? { stats: { messages: 6 } } : { code: 'BROKER_TIMEOUT' });
  expect(waited).toBe(ms);
});

it('a list that is likely to take very long is waited for no longer than five seconds', async () => {
  expectedMs = 20_000;
  list = () => new Promise(() => undefined);
  expect((await timed('a')).ms).toBe(5_000);
});

it('an answer that is late is waited for again once it has come', async () => {
  const late: ((list: QueueList) => void)[] = [];
  list = () => new Promise((resolve) => late.push(resolve));
  await timed('a');
  for (const answer of late.splice(0)) answer(listOf(['a', 'b']));
  await vi.advanceTimersByTimeAsync(0);
  list = () =>
    new Promise((resolve) =>
      setTimeout(() => {
        resolve(listOf(['a', 'b']));
      }, 500),
    );
  const { observation, ms } = await timed('b');
  expect(observation).toMatchObject({ listed: { stats: { messages: 6 } } });
  expect(ms).toBeGreaterThanOrEqual(500);
});

it.each([
  ['does not come', () => new Promise<QueueList>(() => undefined)],
  ['is given up as too late', () => Promise.reject(new BrokerError('BROKER_TIMEOUT', 'no answer'))],
])('by HTTP alone, a queue is asked for by itself where the list %s', async (_, answer) => {
  list = answer;
  collector = collectorOf({ single: (name) => Promise.resolve({ ...stats(name, 6, FIGURES), at: performance.now() }) });
  const first = await timed('a');
  expect(first.observation).toMatchObject({ listed: { kind: 'statistics', stats: { messages: 6 } } });
  expect(first.ms).toBeLessThanOrEqual(1_000);
  const second = await timed('b');
  expect(second.observation).toMatchObject({ listed: { kind: 'statistics', stats: { messages: 6 } } });
  expect(second.ms).toBeLessThanOrEqual(100);
});

it('by HTTP alone, a list that is refused is not asked around', async () => {
  list = () => Promise.reject(new BrokerError('BROKER_FORBIDDEN', 'not yours'));
  collector = collectorOf({});
  expect((await timed('a')).observation).toMatchObject({ listed: { code: 'BROKER_FORBIDDEN' } });
});
