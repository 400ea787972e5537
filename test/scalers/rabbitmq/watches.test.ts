import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { QueueError } from '../../../src/errors.ts';
import type { Declared } from '../../../src/scalers/rabbitmq/amqp/declared.ts';
import { wakeReading } from '../../../src/scalers/rabbitmq/read/questionReader.ts';
import { createWatches, type Watches } from '../../../src/scalers/rabbitmq/wake/watches.ts';
import { unknown, type Reading } from '../../../src/scalers/reading.ts';
import { ask } from './questionFixture.ts';

/** A queue as its broker has it. */
interface Queue {
  ready: number;
  unacknowledged: number;
  consumers: number;
}

let queues: Map<string, Queue>;
/** What the full readings say, where that is not the truth. */
let read: (() => Promise<Reading>) | undefined;
let old: Reading;
let reads: number;
/** What is reported is older than what is known. */
let deaf: boolean;
let calm: boolean;
let serviceMs: number;
let declares: number;
let watches: Watches;

beforeEach(() => {
  vi.useFakeTimers();
  queues = new Map([['jobs', { ready: 0, unacknowledged: 0, consumers: 0 }]]);
  [read, reads, deaf, calm, serviceMs, declares] = [undefined, 0, false, true, 1, 0];
});
afterEach(() => {
  watches.close();
  vi.useRealTimers();
});

function queue(name = 'jobs'): Queue {
  const found = queues.get(name);
  if (found === undefined) throw new Error(`no queue ${name}`);
  return found;
}

function truth(): Reading {
  const [ready, unacknowledged] = [...queues.values()].reduce(
    ([waiting, held], each) => [waiting + each.ready, held + each.unacknowledged],
    [0, 0],
  );
  return { known: true, at: performance.now(), reader: 'script', measures: { ready, unacknowledged }, queues: [] };
}

interface Seen {
  readonly active: boolean | undefined;
  readonly afresh: boolean;
  readonly at: number;
  readonly ready: number | undefined;
}

/** Watches all queues as one question; what a poll reads is told by `polled`. */
function watch(amqp = true): { readonly seen: readonly Seen[]; readonly polled: () => void } {
  const question = ask(queues.size > 1 ? { kind: 'pattern', pattern: '.*' } : { kind: 'queue', name: 'jobs' });
  const seen: Seen[] = [];
  let sleeping = true;
  const report = (reading: Reading, afresh = false): void => {
    const { ready = 0, unacknowledged = 0 } = reading.known ? reading.measures : {};
    const active = reading.known ? ready > 0 || unacknowledged > 0 : undefined;
    if (active !== undefined && !deaf) sleeping = !active;
    seen.push({ active, afresh, at: performance.now(), ready: reading.known ? ready : undefined });
  };
  watches = createWatches({
    read: () => {
      reads++;
      return read?.() ?? Promise.resolve(truth());
    },
    queuesOf: () => Promise.resolve([...queues.keys()]),
    wakeReading,
    declare: amqp
      ? (_, name) => {
          declares++;
          const { ready, consumers } = queue(name);
          return Promise.resolve<Declared>({ ready, consumers, serviceMs, at: performance.now() });
        }
      : undefined,
    calm: () => calm,
  });
  watches.add(question, { sleeping: () => sleeping, report });
  return {
    seen,
    polled: () => {
      report(truth());
    },
  };
}

const pass = (ms: number): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

it('reports work within a turn, then its end, and work that follows a second later within a turn again', async () => {
  const { seen } = watch();
  await pass(1_000);
  for (let round = 0; round < 5; round++) {
    queue().ready = 1;
    await pass(45);
    expect(seen.at(-1)).toMatchObject({ active: true });
    await pass(1_000);
    queue().ready = 0;
    await pass(1_000);
    expect(seen.at(-1)).toMatchObject({ active: false });
  }
});

it.each([
  ['that hang', () => new Promise<Reading>(() => undefined)],
  ['that are older than it', () => Promise.resolve(old)],
])('reports work afresh after a drain that no reading shows, with lists %s', async (_, answer) => {
  const { seen } = watch();
  queue().ready = 1;
  await pass(1_000);
  old = truth();
  read = answer;
  queue().ready = 0;
  await pass(1_000);
  expect(seen.at(-1)).toMatchObject({ active: true, afresh: false });
  queue().ready = 1;
  await pass(45);
  expect(seen.at(-1)).toMatchObject({ active: true, afresh: true });
  await pass(1_000);
  expect(seen.filter(({ afresh }) => afresh)).toHaveLength(1);
});

it('looks at a queue as at a sleeping one as soon as a call has found it empty', async () => {
  Object.assign(queue(), { unacknowledged: 1, consumers: 1 });
  const { seen, polled } = watch();
  await pass(6_000);
  expect(seen.at(-1)).toMatchObject({ active: true });
  queue().unacknowledged = 0;
  polled();
  await pass(100);
  const before = declares;
  await pass(1_000);
  expect(declares - before).toBeGreaterThan(45);
});

it('takes no message for one that has come afresh while somebody holds others', async () => {
  const { seen } = watch();
  queue().ready = 1;
  await pass(1_000);
  Object.assign(queue(), { ready: 0, unacknowledged: 1 });
  await pass(3_000);
  const before = declares;
  await pass(10_000);
  // As of an awake one, though there is no consumer.
  expect(declares - before).toBeLessThan(220);
  expect(seen.some(({ afresh }) => afresh)).toBe(false);
  Object.assign(queue(), { ready: 1, unacknowledged: 0 });
  await pass(300);
  expect(seen.filter(({ afresh }) => afresh)).toHaveLength(1);
});

it.each([
  ['a consumer may hold messages', () => (queue().consumers = 1)],
  ['the declare took so long that it has not asked the leader', () => (serviceMs = 250)],
])('draws no conclusion from a declare without messages where %s', async (_, doubt) => {
  const { seen } = watch();
  queue().ready = 1;
  await pass(1_000);
  old = truth();
  read = () => Promise.resolve(old);
  doubt();
  queue().ready = 0;
  await pass(1_000);
  queue().ready = 1;
  await pass(1_000);
  expect(seen.some(({ afresh }) => afresh)).toBe(false);
});

it.each([
  ['takes a zero that does not count yet for a drain, also where there are only lists', true, 1],
  ['takes no such zero for a drain where a node has just changed', false, 0],
])('%s', async (_, isCalm, afresh) => {
  calm = isCalm;
  const { seen } = watch(false);
  queue().ready = 1;
  await pass(2_000);
  read = () => Promise.resolve(unknown(new QueueError('ZERO_UNCONFIRMED', 'for 0 s')));
  await pass(6_000);
  expect(seen.at(-1)).toMatchObject({ active: undefined });
  read = undefined;
  await pass(1_300);
  expect(seen.filter(({ afresh }) => afresh)).toHaveLength(afresh);
});

it('takes a set for drained when all of its queues are, and adds up only what waits now', async () => {
  for (const name of ['mails', 'reports']) queues.set(name, { ready: 0, unacknowledged: 0, consumers: 0 });
  const { seen } = watch();
  for (const name of queues.keys()) queue(name).ready = 2;
  await pass(1_000);
  old = truth();
  read = () => Promise.resolve(old);
  queue('jobs').ready = 0;
  queue('mails').ready = 0;
  await pass(1_000);
  queue('jobs').ready = 2;
  await pass(1_000);
  expect(seen.some(({ afresh }) => afresh)).toBe(false);
  for (const name of queues.keys()) queue(name).ready = 0;
  await pass(1_000);
  queue('jobs').ready = 2;
  await pass(45);
  expect(seen.at(-1)).toMatchObject({ afresh: true, ready: 2 });
  read = undefined;
  for (const name of queues.keys()) queue(name).ready = 0;
  await pass(6_000);
  for (const name of queues.keys()) {
    queue(name).ready = 3;
    await pass(45);
    expect(seen.at(-1)).toMatchObject({ active: true, ready: 3 });
    queue(name).ready = 0;
    await pass(6_000);
  }
});

it('reports work again where a list that is older has covered it up, and reads in full only when its amount changes', async () => {
  const { seen } = watch();
  await pass(16_000);
  read = () => Promise.resolve(old);
  old = truth();
  [deaf, reads] = [true, 0];
  queue().ready = 1;
  await pass(2_000);
  expect(reads).toBe(1);
  deaf = false;
  const before = seen.length;
  await pass(150);
  expect(seen.slice(before)).toMatchObject([{ active: true }]);
});
