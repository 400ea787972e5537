import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { BrokerError } from '../../../src/errors.ts';
import type { QueueList } from '../../../src/scalers/rabbitmq/management/queueStats.ts';
import type { QueueSets } from '../../../src/scalers/rabbitmq/read/queueSet.ts';
import type { RabbitQuestion } from '../../../src/scalers/rabbitmq/question.ts';
import type { VhostSources } from '../../../src/scalers/rabbitmq/read/sources.ts';
import { createCollector, type Observation, type Collector } from '../../../src/scalers/rabbitmq/read/collect.ts';
import { ask } from './questionFixture.ts';

/** How the management API answers; the passive declare always tells of 4 ready messages. */
let list: () => Promise<QueueList>;
let viewer: Collector;
/** How long a list is likely to take. */
let expectedMs: number;

beforeEach(() => {
  vi.useFakeTimers();
  expectedMs = 0;
  viewer = viewerOf({ declare: () => Promise.resolve({ ready: 4, consumers: 1, serviceMs: 1, at: performance.now() }) });
});
afterEach(() => {
  vi.useRealTimers();
});

function viewerOf(more: Partial<VhostSources>): Collector {
  const sources: Partial<VhostSources> = {
    prepare: () => Promise.resolve({ queues: 10, prometheus: false }),
    managementIsAbsent: () => false,
    clusterStable: () => true,
    expectedListMs: () => expectedMs,
    lists: {
      get: () => list(),
      learnType: () => Promise.resolve(),
      typeOf: () => undefined,
      size: 10,
      tookMs: undefined,
    },
    ...more,
  };
  return createCollector(sources as VhostSources, {} as QueueSets);
}

function question(name: string): RabbitQuestion {
  return ask({ kind: 'queue', name });
}

const ROW = {
  type: 'classic',
  replicated: false,
  ready: 4,
  unacknowledged: 2,
  messages: 6,
  consumers: 1,
  counters: undefined,
  error: undefined,
};

function rows(names: readonly string[]): QueueList {
  return { kind: 'totals', at: performance.now(), queues: new Map(names.map((name) => [name, { name, ...ROW }])) };
}

/** What is said of a queue, and after how long, in ms. */
async function timed(name: string): Promise<{ readonly view: Observation | undefined; readonly ms: number }> {
  const startedAt = performance.now();
  let ms = NaN;
  const viewing = viewer.view(question(name), 1).then((views) => {
    ms = performance.now() - startedAt;
    return views[0];
  });
  await vi.advanceTimersByTimeAsync(5_000);
  return { view: await viewing, ms };
}

it('a management API that does not answer holds up what a declare can tell for a second once, and then hardly', async () => {
  list = () => new Promise(() => undefined);
  const first = await timed('a');
  expect(first.view).toMatchObject({ listed: { code: 'BROKER_TIMEOUT' }, live: { ready: 4 } });
  expect(first.ms).toBeLessThanOrEqual(1_000);
  const second = await timed('b');
  expect(second.view).toMatchObject({ listed: { code: 'BROKER_TIMEOUT' }, live: { ready: 4 } });
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
        resolve(rows(['a']));
      }, 1_800),
    );
  };
  const { view, ms: waited } = await timed('a');
  expect(view?.listed).toMatchObject(ms === 1_800 ? { row: { messages: 6 } } : { code: 'BROKER_TIMEOUT' });
  expect(waited).toBe(ms);
});

it('a list that is likely to take very long is waited for no longer than five seconds', async () => {
  expectedMs = 20_000;
  list = () => new Promise(() => undefined);
  expect((await timed('a')).ms).toBe(5_000);
});

it('an answer that is late is waited for again once it has come', async () => {
  const late: ((rows: QueueList) => void)[] = [];
  list = () => new Promise((resolve) => late.push(resolve));
  await timed('a');
  for (const answer of late.splice(0)) answer(rows(['a', 'b']));
  await vi.advanceTimersByTimeAsync(0);
  list = () =>
    new Promise((resolve) =>
      setTimeout(() => {
        resolve(rows(['a', 'b']));
      }, 500),
    );
  const { view, ms } = await timed('b');
  expect(view).toMatchObject({ listed: { row: { messages: 6 } } });
  expect(ms).toBeGreaterThanOrEqual(500);
});

it.each([
  ['does not come', () => new Promise<QueueList>(() => undefined)],
  ['is given up as too late', () => Promise.reject(new BrokerError('BROKER_TIMEOUT', 'no answer'))],
])('by HTTP alone, a queue is asked for by itself where the list %s', async (_, answer) => {
  list = answer;
  viewer = viewerOf({ declare: undefined, queue: (name) => Promise.resolve({ name, ...ROW, at: performance.now() }) });
  const first = await timed('a');
  expect(first.view).toMatchObject({ listed: { kind: 'statistics', row: { messages: 6 } } });
  expect(first.ms).toBeLessThanOrEqual(1_000);
  const second = await timed('b');
  expect(second.view).toMatchObject({ listed: { kind: 'statistics', row: { messages: 6 } } });
  expect(second.ms).toBeLessThanOrEqual(100);
});

it('by HTTP alone, a list that is refused is not asked around', async () => {
  list = () => Promise.reject(new BrokerError('BROKER_FORBIDDEN', 'not yours'));
  viewer = viewerOf({ declare: undefined, queue: () => Promise.reject(new Error('was asked')) });
  expect((await timed('a')).view).toMatchObject({ listed: { code: 'BROKER_FORBIDDEN' } });
});
