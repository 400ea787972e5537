import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Management } from '../../../src/scalers/rabbitmq/management/api.ts';
import type { ListKind, QueueList, QueueStats } from '../../../src/scalers/rabbitmq/management/queueStats.ts';
import { createRabbitClient } from '../../../src/scalers/rabbitmq/client.ts';
import type { RabbitQuestion } from '../../../src/scalers/rabbitmq/question.ts';
import { createForgettingMap, createQueueMemory } from '../../../src/scalers/rabbitmq/read/queueMemory.ts';
import { ask, OVERVIEW, stats } from './questionFixture.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

describe('a map that forgets', () => {
  it('keeps what is used within the time, and drops the rest while others are used', () => {
    const map = createForgettingMap<number>(1_000);
    map.set('idle', 1);
    map.set('used', 2);
    for (let round = 0; round < 5; round++) {
      vi.advanceTimersByTime(900);
      expect(map.get('used')).toBe(2);
      map.set('other', round);
    }
    expect(map.get('idle')).toBeUndefined();
  });

  it('drops the idle even where all others are only looked up', () => {
    const map = createForgettingMap<number>(1_000);
    map.set('idle', 1);
    map.set('used', 2);
    for (let round = 0; round < 5; round++, vi.advanceTimersByTime(600)) map.get('used');
    expect(map.get('used')).toBe(2);
    expect(map.get('idle')).toBeUndefined();
  });

  it('forgets a crowd sooner, though never within two minutes', () => {
    const map = createForgettingMap<number>(3_600_000);
    const crowd = Array.from({ length: 20_000 }, (_, index) => `q${index}`);
    for (const name of crowd) map.set(name, 0);
    vi.advanceTimersByTime(120_000);
    for (const name of crowd) expect(map.get(name)).toBe(0);
    for (let round = 0; round < 3; round++) {
      vi.advanceTimersByTime(200_000);
      for (let index = 0; index < 10_000; index++) map.set(`r${index}`, round);
    }
    expect(crowd.filter((name) => map.get(name) !== undefined)).toEqual([]);
  });

  it('is bounded at any one moment', () => {
    const map = createForgettingMap<number>(3_600_000);
    for (let index = 0; index < 500_000; index++) map.set(`q${index}`, index);
    expect(map.get('q0')).toBeUndefined();
    expect(map.get('q499999')).toBe(499_999);
  });
});

it('a record keeps the fields that a change leaves out', () => {
  const memory = createQueueMemory();
  memory.update('/', 'q', { type: 'quorum', workAt: 1 });
  memory.update('/', 'q', { workAt: 2 });
  expect(memory.get('/', 'q')).toEqual({ type: 'quorum', workAt: 2 });
  expect(memory.get('v', 'q')).toEqual({});
});

const NAMES = 300_000;
/** Queues that live at one time, of which a part is asked for one by one, and all as a set. */
const BATCH = 3_000;
const SINGLE = 300;
const MAX_LEFT_BYTES = 10_000_000;

/** Bytes on the heap that are in use. */
function heapUsed(): number {
  setFlagsFromString('--expose-gc');
  const collectGarbage = runInNewContext('gc') as () => void;
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

it(`${NAMES} short-lived queue names, in as many vhosts as batches, leave at most 10 MB behind`, async () => {
  let alive: readonly QueueStats[] = [];
  const list = (kind: ListKind): Promise<QueueList> =>
    Promise.resolve({ kind, at: performance.now(), queues: new Map(alive.map((each) => [each.name, each])) });
  const management: Management = {
    overview: () => Promise.resolve({ ...OVERVIEW, queues: BATCH }),
    nodes: () => Promise.resolve([{ name: 'r1@h', running: true, reports: true }]),
    totals: () => list('totals'),
    statistics: () => list('statistics'),
    queue: () => Promise.resolve(undefined),
    close: () => Promise.resolve(),
  };
  const client = createRabbitClient({
    broker: { key: 'b', label: 'b' },
    events: { connections: () => undefined, failure: () => undefined } as never,
    declarer: () => ({
      declare: () => Promise.resolve({ ready: 0, consumers: 1, serviceMs: 1, at: performance.now() }),
      close: () => Promise.resolve(),
    }),
    management,
    managementIsOptional: false,
    metrics: { setting: 'off', http: { close: () => Promise.resolve() } as never, host: 'h' },
  });
  const read = (questions: readonly RabbitQuestion[]): Promise<void> =>
    client.readBatch(questions, () => undefined, new AbortController().signal);
  const needs = ['ready', 'messages', 'rates'] as const;
  const counters = { published: 1, delivered: 1, acknowledged: 1, rates: { published: 1, delivered: 1, acknowledged: 1 } };

  async function readNames(from: number): Promise<void> {
    const names = Array.from({ length: BATCH }, (_, index) => `job-${from + index}`);
    // Empty ones are each declared as well, which takes longer.
    const messages = (from / BATCH) % 4 === 0 ? 0 : 1;
    alive = names.map((name) => stats(name, messages, { type: 'quorum', counters }));
    const vhost = `v${from}`;
    const single = names.slice(0, SINGLE).map((name, index) => {
      return ask({ kind: 'queue', name }, { vhost, confirmZeroMs: 0, needs: needs[index % 3] ?? 'ready' });
    });
    await read([...single, ask({ kind: 'pattern', pattern: '^job-' }, { confirmZeroMs: 0, needs: 'rates' })]);
    vi.advanceTimersByTime(20_000);
  }

  await readNames(0);
  const before = heapUsed();
  for (let from = BATCH; from < NAMES; from += BATCH) await readNames(from);
  // Those that came last live on for some minutes, in which the others are forgotten.
  for (let round = 0; round < 20; round++) await readNames(NAMES);
  const left = heapUsed() - before;
  await client.close();
  expect(left).toBeLessThan(MAX_LEFT_BYTES);
}, 120_000);
