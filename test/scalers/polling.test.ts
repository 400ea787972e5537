import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { BrokerError } from '../../src/errors.ts';
import type { Question, Report } from '../../src/scalers/contract.ts';
import { createRotation, pollingClient } from '../../src/scalers/polling.ts';
import type { Known, Reading } from '../../src/scalers/reading.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const ready = (count: number): Known => ({
  known: true,
  at: performance.now(),
  reader: 'script',
  measures: { ready: count },
  queues: [],
});

type Answer = 'asleep' | 'awake' | 'failed';

/** Times at which each item was asked about, in ms, and the answers that a test gives. */
function rotate(answer: (name: string) => Answer, random?: () => number) {
  const asked = new Map<string, number[]>();
  const rotation = createRotation<{ readonly budget: number; readonly name: string; sleeping(): boolean }>((batch, settle) => {
    for (const item of batch) {
      asked.set(item.name, [...(asked.get(item.name) ?? []), performance.now()]);
      queueMicrotask(() => {
        settle(item, answer(item.name) !== 'failed');
      });
    }
  }, random);
  const add = (name: string, budget: number): (() => void) =>
    rotation.add({ name, budget, sleeping: () => answer(name) !== 'awake' });
  return {
    asked,
    add,
    close: () => {
      rotation.close();
    },
  };
}

const gaps = (times: readonly number[] = []): number[] => times.slice(1).map((at, index) => at - (times[index] ?? 0));

it('rests longer from one failure to the next, up to five seconds, and is back in turn after an answer', async () => {
  let fails = true;
  const { asked, add, close } = rotate(
    () => (fails ? 'failed' : 'asleep'),
    () => 1,
  );
  add('q', 1000);
  await vi.advanceTimersByTimeAsync(30_000);
  const [first = 0, second = 0, third = 0, ...more] = gaps(asked.get('q'));
  expect(first).toBeGreaterThanOrEqual(500);
  expect(second).toBeGreaterThan(first);
  expect(third).toBeGreaterThan(second);
  expect(Math.max(...more)).toBeLessThanOrEqual(5_500);
  fails = false;
  await vi.advanceTimersByTimeAsync(6_000);
  const before = asked.get('q')?.length ?? 0;
  await vi.advanceTimersByTimeAsync(1_000);
  expect((asked.get('q')?.length ?? 0) - before).toBeGreaterThan(45);
  close();
});

it('spreads items that rest together, each over half of its rest', async () => {
  let seed = 0;
  const { asked, add, close } = rotate(
    () => 'awake',
    () => (seed = (seed + 0.37) % 1),
  );
  for (let index = 0; index < 100; index++) add(`q${index}`, 1_000);
  await vi.advanceTimersByTimeAsync(6_000);
  const last = [...asked.values()].map((times) => gaps(times).at(-1) ?? 0);
  expect(Math.min(...last)).toBeGreaterThanOrEqual(1_000);
  expect(Math.max(...last) - Math.min(...last)).toBeGreaterThan(600);
  close();
});

it('spends a small share of the budget on all awake items together', async () => {
  const { asked, add, close } = rotate((name) => (name === 'asleep' ? 'asleep' : 'awake'));
  for (let index = 0; index < 500; index++) add(`awake${index}`, 100);
  add('asleep', 100);
  await vi.advanceTimersByTimeAsync(10_000);
  const countOf = (names: string): number =>
    [...asked].filter(([name]) => name.startsWith(names)).reduce((sum, [, times]) => sum + times.length, 0);
  const before = { asleep: countOf('asleep'), awake: countOf('awake') };
  await vi.advanceTimersByTimeAsync(100_000);
  expect(countOf('asleep') - before.asleep).toBeGreaterThan(4_000);
  expect(countOf('awake') - before.awake).toBeLessThanOrEqual(100 * 100 * 0.05 * 2);
  expect(countOf('awake') - before.awake).toBeGreaterThanOrEqual(100 * 100 * 0.05 * 0.9);
  close();
});

it('looks at a few awake items several times a second, and at one that falls asleep at once', async () => {
  let state: Answer = 'awake';
  const { asked, add, close } = rotate((name) => (name === 'q' ? state : 'awake'));
  add('q', 1000);
  for (let index = 0; index < 999; index++) add(`awake${index}`, 1000);
  await vi.advanceTimersByTimeAsync(60_000);
  state = 'asleep';
  const fellAsleepAt = performance.now();
  await vi.advanceTimersByTimeAsync(100);
  expect(asked.get('q')?.some((at) => at >= fellAsleepAt)).toBe(true);
  close();
  const few = rotate(() => 'awake');
  for (let index = 0; index < 10; index++) few.add(`q${index}`, 1000);
  await vi.advanceTimersByTimeAsync(10_000);
  for (const times of few.asked.values()) expect(Math.max(...gaps(times))).toBeLessThanOrEqual(270);
  few.close();
});

it('asks about a new item before the others have their next turn', async () => {
  const { asked, add, close } = rotate(() => 'asleep');
  for (let index = 0; index < 1000; index++) add(`q${index}`, 100);
  await vi.advanceTimersByTimeAsync(1_000);
  add('new', 100);
  await vi.advanceTimersByTimeAsync(500);
  expect(asked.get('new')).toHaveLength(1);
  close();
});

it('asks about a new item at once while all others rest', async () => {
  const { asked, add, close } = rotate((name) => (name === 'new' ? 'asleep' : 'failed'));
  add('failed', 1000);
  await vi.advanceTimersByTimeAsync(2_100);
  add('new', 1000);
  await vi.advanceTimersByTimeAsync(50);
  expect(asked.get('new')?.length).toBeGreaterThanOrEqual(1);
  close();
});

function question(key: string): Question {
  return { key, subject: `queue ${key}`, staleAfterMs: 0 };
}

/** A client's watch over a `readBatch` that answers as the test says. */
function watching(budget: number, answer: (key: string) => Reading | undefined, fail?: () => Error) {
  const batches: string[][] = [];
  const readings = new Map<string, Reading[]>();
  const asleep = new Set<string>();
  const polling = pollingClient({
    close: () => undefined,
    budget,
    readBatch: (questions: readonly Question[], report: Report) => {
      batches.push(questions.map(({ key }) => key));
      if (fail !== undefined) return Promise.reject(fail());
      for (const { key } of questions) {
        const reading = answer(key);
        if (reading !== undefined) report(key, reading);
      }
      return Promise.resolve();
    },
  });
  return {
    batches,
    readings,
    asleep,
    polling,
    watch: (key: string) => {
      asleep.add(key);
      return polling.watch(question(key), {
        sleeping: () => asleep.has(key),
        report: (reading) => readings.set(key, [...(readings.get(key) ?? []), reading]),
      });
    },
    asks: (key: string) => batches.filter((batch) => batch.includes(key)).length,
  };
}

it('reads sleeping questions in few batches within the budget, and an awake one with its share', async () => {
  const { watch, batches, asleep, asks, polling } = watching(100, () => ready(0));
  for (let index = 0; index < 50; index++) watch(`q${index}`);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(batches.flat().length).toBeLessThanOrEqual(100 * 10 * 0.75);
  expect(batches.flat().length).toBeGreaterThan(100 * 9 * 0.75);
  expect(batches.length).toBeLessThan(60);
  asleep.delete('q7');
  await vi.advanceTimersByTimeAsync(1_000);
  const before = asks('q7');
  await vi.advanceTimersByTimeAsync(20_000);
  // Once a turn, though it might rest for less.
  expect(asks('q7') - before).toBeGreaterThanOrEqual(25);
  expect(asks('q7') - before).toBeLessThanOrEqual(32);
  await polling.close();
});

it('reports a batch that fails, or leaves a question out, as unknown, and asks less often', async () => {
  const failing = watching(
    1000,
    () => undefined,
    () => new BrokerError('BROKER_UNREACHABLE', 'gone'),
  );
  const silent = watching(1000, (key) => (key === 'q1' ? undefined : ready(0)));
  failing.watch('q0');
  silent.watch('q0');
  silent.watch('q1');
  await vi.advanceTimersByTimeAsync(5_000);
  const failures = failing.readings.get('q0') ?? [];
  expect(failures.length).toBeGreaterThanOrEqual(4);
  for (const failure of failures) expect(failure).toMatchObject({ known: false, error: { code: 'BROKER_UNREACHABLE' } });
  expect(silent.readings.get('q1')?.[0]).toMatchObject({ known: false, error: { code: 'BROKER_REPLY_INVALID' } });
  expect(failing.asks('q0')).toBeLessThan(8);
  expect(silent.asks('q1')).toBeLessThan(8);
  expect(silent.asks('q0')).toBeGreaterThan(200);
  await failing.polling.close();
  await silent.polling.close();
});

it('gives up a batch after ten seconds, while other questions are read', async () => {
  const deadline = new AbortController();
  vi.spyOn(AbortSignal, 'timeout').mockReturnValue(deadline.signal);
  const readings = new Map<string, Reading[]>();
  const polling = pollingClient({
    close: () => undefined,
    budget: 1000,
    readBatch: (questions: readonly Question[], report) => {
      const others = questions.filter(({ key }) => key !== 'hangs');
      for (const { key } of others) report(key, ready(0));
      return others.length === questions.length ? Promise.resolve() : new Promise(() => undefined);
    },
  });
  for (const key of ['hangs', 'q'])
    polling.watch(question(key), {
      sleeping: () => true,
      report: (reading) => readings.set(key, [...(readings.get(key) ?? []), reading]),
    });
  await vi.advanceTimersByTimeAsync(1_000);
  expect(readings.get('hangs')).toBeUndefined();
  expect(readings.get('q')?.length).toBeGreaterThan(45);
  deadline.abort(new DOMException('late', 'TimeoutError'));
  await vi.advanceTimersByTimeAsync(1);
  expect(readings.get('hangs')).toMatchObject([{ known: false, error: { code: 'BROKER_TIMEOUT' } }]);
  await polling.close();
  vi.restoreAllMocks();
});

it('reports nothing after a watch has ended or all is closed', async () => {
  const { watch, readings, batches, polling } = watching(1000, () => ready(1));
  const stop = watch('q0');
  await vi.advanceTimersByTimeAsync(100);
  stop();
  const heard = readings.get('q0')?.length ?? 0;
  const asked = batches.length;
  expect(heard).toBeGreaterThan(0);
  watch('q1');
  await polling.close();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(readings.get('q0')).toHaveLength(heard);
  expect(batches).toHaveLength(asked);
});
