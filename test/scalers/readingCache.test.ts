import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { BrokerError, QueueError } from '../../src/errors.ts';
import { MOST_ROUNDS, ROUND_MS } from '../../src/scalers/freshness.ts';
import type { Question } from '../../src/scalers/contract.ts';
import type { Reading } from '../../src/scalers/reading.ts';
import { failed, question, ready, script, type Script, type Sweep } from './scriptedBroker.ts';

const never = new AbortController().signal;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance', 'Date'] });
});
afterEach(() => {
  vi.useRealTimers();
});

async function nextSweep(of: Script, index = of.sweeps.length): Promise<Sweep> {
  await vi.advanceTimersByTimeAsync(20);
  const sweep = of.sweeps[index];
  if (sweep === undefined) throw new Error(`sweep ${index} did not happen`);
  return sweep;
}

test('looks at many questions in turns, between which calls are answered', async () => {
  const it = script();
  const keys = Array.from({ length: 2_000 }, (_, index) => `q${index}`);
  let looks = 0;
  Object.defineProperty(it, 'vouches', { get: () => ++looks > 0 });
  const reads = keys.map((key) => {
    it.cache.watch(question(key), { sleeping: () => false, report: () => undefined });
    return it.cache.read(question(key), never);
  });
  const sweep = await nextSweep(it, 0);
  for (const key of keys) sweep.report(key, ready(1));
  await Promise.all(reads);
  const inOneGo: number[] = [];
  const until = performance.now() + MOST_ROUNDS * 2 * ROUND_MS;
  while (looks < keys.length && performance.now() < until) {
    const before = looks;
    vi.advanceTimersByTime(ROUND_MS / 100);
    inOneGo.push(looks - before);
    const between = looks;
    await nextTurn();
    inOneGo.push(looks - between);
  }
  expect(looks).toBeGreaterThanOrEqual(keys.length);
  expect(Math.max(...inOneGo)).toBeLessThanOrEqual(500);
});

describe('asking', () => {
  test('opens the client only when something is asked', async () => {
    const it = script();
    expect(it.opened).toBe(0);
    void it.cache.read(question('a'), never);
    await nextSweep(it, 0);
    expect(it.opened).toBe(1);
  });

  test('puts questions that arrive together into one sweep, and one question asked by many into it once', async () => {
    const it = script();
    const reads = ['a', 'b', 'a', 'c', 'a'].map((key) => it.cache.read(question(key), never));
    const sweep = await nextSweep(it, 0);
    expect(sweep.keys).toEqual(['a', 'b', 'c']);
    for (const key of sweep.keys) sweep.report(key, ready(key.charCodeAt(0)));
    const readings = await Promise.all(reads);
    expect(readings.map((reading) => reading.known && reading.measures['ready'])).toEqual([97, 98, 97, 99, 97]);
    expect(it.sweeps).toHaveLength(1);
  });

  test('lets a question that hangs hold up no other, in the same sweep or a later one', async () => {
    const it = script();
    const hung = it.cache.read(question('hung'), AbortSignal.any([never]));
    const quick = it.cache.read(question('quick'), never);
    const sweep = await nextSweep(it, 0);
    sweep.report('quick', ready(1));
    expect((await quick).known).toBe(true);
    const later = it.cache.read(question('later'), never);
    (await nextSweep(it, 1)).report('later', ready(2));
    expect((await later).known).toBe(true);
    await vi.advanceTimersByTimeAsync(10_000);
    sweep.report('hung', ready(5));
    await hung;
  });

  test('answers a caller whose time is up with unknown, never with a number', async () => {
    const it = script();
    const deadline = new AbortController();
    const read = it.cache.read(question('a'), deadline.signal);
    await nextSweep(it, 0);
    deadline.abort();
    const reading = await read;
    expect(reading.known).toBe(false);
    expect(!reading.known && reading.error.code).toBe('BROKER_TIMEOUT');
  });

  test('makes every question unknown that a sweep leaves unanswered or fails to answer', async () => {
    for (const [act, code] of [
      [
        (sweep: Sweep) => {
          sweep.end();
        },
        'BROKER_REPLY_INVALID',
      ],
      [
        (sweep: Sweep) => {
          sweep.fail(new BrokerError('BROKER_UNREACHABLE', 'gone'));
        },
        'BROKER_UNREACHABLE',
      ],
      [
        (sweep: Sweep) => {
          sweep.fail(new TypeError('x is not a function'));
        },
        'INTERNAL',
      ],
    ] as const) {
      const it = script();
      const read = it.cache.read(question('a'), never);
      act(await nextSweep(it, 0));
      expect(await read).toMatchObject({ known: false, error: { code } });
    }
  });

  test('gives who asks meanwhile the answer that comes in time', async () => {
    const it = script();
    const reads = [it.cache.read(question('a'), never)];
    await vi.advanceTimersByTimeAsync(10.25);
    reads.push(it.cache.read(question('a'), never));
    (await nextSweep(it, 0)).report('a', ready(4));
    for (const reading of await Promise.all(reads)) expect(reading).toMatchObject({ measures: { ready: 4 } });
  });

  test('has nobody wait for long for what another waits for already', async () => {
    const it = script();
    const first = it.cache.read(question('a'), never);
    await vi.advanceTimersByTimeAsync(150);
    const second = it.cache.read(question('a'), never);
    await vi.advanceTimersByTimeAsync(51);
    expect(await second).toMatchObject({ known: false, error: { code: 'BROKER_TIMEOUT' } });
    expect(await it.cache.read(question('a'), never)).toMatchObject({ known: false, error: { code: 'BROKER_TIMEOUT' } });
    it.sweeps[0]?.report('a', ready(4));
    expect(await first).toMatchObject({ measures: { ready: 4 } });
    expect(it.sweeps).toHaveLength(1);
  });

  test('does not let an answer that was overtaken undo a newer one', async () => {
    const it = script();
    const read = it.cache.read(question('a'), never);
    const sweep = await nextSweep(it, 0);
    const older = ready(9);
    await vi.advanceTimersByTimeAsync(10);
    sweep.report('a', ready(1));
    sweep.report('a', older);
    expect(await read).toMatchObject({ measures: { ready: 1 } });
    expect(await it.cache.read(question('a'), never)).toMatchObject({ measures: { ready: 1 } });
  });
});

/** A question with that answer, asked in a first sweep. */
async function answered(it: Script, asked: Question, reading: Reading): Promise<void> {
  const first = it.cache.read(asked, never);
  (await nextSweep(it)).report(asked.key, reading);
  await first;
}

describe('what has been asked', () => {
  test('is answered at once, and read again as often as it is asked for', async () => {
    const it = script();
    await answered(it, question('a'), ready(1));
    const readings: number[] = [];
    for (const seconds of [5, 5, 5, 5]) {
      const before = it.sweeps.length;
      for (let ms = 0; ms < seconds * 1_000; ms += 100) {
        await vi.advanceTimersByTimeAsync(100);
        it.sweeps.at(-1)?.report('a', ready(2));
      }
      const reading = it.cache.latest(question('a'));
      expect(reading).toMatchObject({ known: true, measures: { ready: 2 } });
      // Half of the interval, and the tick of this test.
      expect(performance.now() - (reading?.at ?? 0)).toBeLessThanOrEqual(2_600);
      readings.push(it.sweeps.length - before);
    }
    expect(Math.max(...readings.slice(1))).toBeLessThanOrEqual(3);
  });

  test('is read together with what else is due, however it was asked', async () => {
    const it = script();
    for (const [index, key] of ['a', 'b', 'c'].entries()) {
      await vi.advanceTimersByTimeAsync(index * 130);
      await answered(it, question(key), ready(1));
    }
    const before = it.sweeps.length;
    await vi.advanceTimersByTimeAsync(2 * ROUND_MS);
    expect(it.sweeps.slice(before).at(-1)?.keys.toSorted()).toEqual(['a', 'b', 'c']);
    expect(it.sweeps.length - before).toBeLessThanOrEqual(2);
  });

  test('is read less and less often when it is asked no more, and then not at all', async () => {
    const it = script();
    await answered(it, question('a'), ready(1));
    const sweepsWithin = async (ms: number): Promise<number> => {
      const before = it.sweeps.length;
      for (let passed = 0; passed < ms; passed += 500) {
        await vi.advanceTimersByTimeAsync(500);
        it.sweeps.at(-1)?.report('a', ready(1));
      }
      return it.sweeps.length - before;
    };
    expect(await sweepsWithin(20_000)).toBeLessThan(10);
    expect(await sweepsWithin(20_000)).toBeLessThanOrEqual(20 / MOST_ROUNDS);
    await sweepsWithin(100_000);
    expect(await sweepsWithin(60_000)).toBe(0);
    // What is that old is no answer.
    expect(it.cache.latest(question('a'))).toBeUndefined();
  });

  test('is told as trouble at once, and looked at each second until that has passed', async () => {
    const it = script();
    await answered(it, question('a'), failed(new BrokerError('BROKER_UNREACHABLE', 'gone')));
    expect(it.cache.latest(question('a'))).toMatchObject({ known: false, error: { code: 'BROKER_UNREACHABLE' } });
    for (let second = 0; second < 5; second++) {
      await vi.advanceTimersByTimeAsync(ROUND_MS);
      expect(it.sweeps).toHaveLength(second + 2);
      it.sweeps.at(-1)?.report('a', failed(new BrokerError('BROKER_UNREACHABLE', 'gone')));
    }
    await vi.advanceTimersByTimeAsync(ROUND_MS);
    it.sweeps.at(-1)?.report('a', ready(7));
    expect(it.cache.latest(question('a'))).toMatchObject({ measures: { ready: 7 } });
  });

  test('that becomes trouble is asked again at once, and then with the rounds', async () => {
    const it = script();
    await answered(it, question('a'), ready(7));
    await vi.advanceTimersByTimeAsync(MOST_ROUNDS * ROUND_MS);
    const asked = it.sweeps.length;
    it.sweeps.at(-1)?.report('a', failed(new BrokerError('BROKER_UNREACHABLE', 'gone')));
    await vi.advanceTimersByTimeAsync(20);
    expect(it.sweeps).toHaveLength(asked + 1);
    it.sweeps.at(-1)?.report('a', failed(new BrokerError('BROKER_UNREACHABLE', 'gone')));
    await vi.advanceTimersByTimeAsync(20);
    expect(it.sweeps).toHaveLength(asked + 1);
  });
});

describe('the last known reading', () => {
  async function knownThenFailing(staleAfterMs: number, error: QueueError | BrokerError) {
    const it = script();
    await answered(it, question('a', staleAfterMs), ready(7));
    await vi.advanceTimersByTimeAsync(2_000);
    it.sweeps.at(-1)?.report('a', { known: false, at: performance.now(), error });
    return it;
  }

  test('stands in while it is young enough, and says since what', async () => {
    const it = await knownThenFailing(5_000, new BrokerError('BROKER_UNREACHABLE', 'gone'));
    const told = it.cache.latest(question('a'));
    expect(told).toMatchObject({ known: true, measures: { ready: 7 }, since: { code: 'BROKER_UNREACHABLE' } });
    // One object for one failure, so that it is decided once.
    expect(it.cache.latest(question('a'))).toBe(told);
    await vi.advanceTimersByTimeAsync(3_000);
    expect(it.cache.latest(question('a'))).toMatchObject({ known: false, error: { code: 'BROKER_UNREACHABLE' } });
  });

  test('never stands in for a failure that is a certain answer', async () => {
    const it = await knownThenFailing(5_000, new QueueError('QUEUE_MISSING', 'deleted'));
    expect(it.cache.latest(question('a'))).toMatchObject({ known: false, error: { code: 'QUEUE_MISSING' } });
  });

  test('is told while the broker hangs, with what is wrong as soon as that is known, and no longer than it may stand in', async () => {
    const it = script();
    await answered(it, question('a', 5_000), ready(7));
    await vi.advanceTimersByTimeAsync(ROUND_MS);
    const hungAt = performance.now();
    const seen = new Map<string, number>();
    while (performance.now() - hungAt < 9_000) {
      const reading = it.cache.latest(question('a', 5_000));
      const what = reading?.known === true ? `known since ${reading.since?.code ?? 'now'}` : reading?.error.code;
      if (!seen.has(what ?? 'nothing')) seen.set(what ?? 'nothing', performance.now() - hungAt);
      await vi.advanceTimersByTimeAsync(100);
    }
    expect([...seen.keys()]).toEqual(['known since now', 'known since BROKER_TIMEOUT', 'BROKER_TIMEOUT']);
    expect(seen.get('known since BROKER_TIMEOUT')).toBeLessThanOrEqual(2_000);
    expect(seen.get('BROKER_TIMEOUT')).toBeLessThanOrEqual(5_000);
    it.sweeps.at(-1)?.report('a', ready(8));
    expect(it.cache.latest(question('a', 5_000))).toMatchObject({ known: true, measures: { ready: 8 } });
  });

  test('is counted as held for as long as its watch vouched for it', async () => {
    const it = script();
    it.cache.watch(question('a', 5_000), { sleeping: () => true, report: () => undefined });
    it.watchers.get('a')?.report(ready(7));
    it.vouches = true;
    it.cache.latest(question('a', 5_000));
    await vi.advanceTimersByTimeAsync(30_000);
    expect(it.sweeps).toHaveLength(0);
    it.vouches = false;
    it.watchers.get('a')?.report(failed(new BrokerError('BROKER_UNREACHABLE', 'gone')));
    expect(it.cache.latest(question('a', 5_000))).toMatchObject({ known: true, since: { code: 'BROKER_UNREACHABLE' } });
    await vi.advanceTimersByTimeAsync(5_000);
    expect(it.cache.latest(question('a', 5_000))).toMatchObject({ known: false });
  });
});

describe('watching', () => {
  test('shares one watch among all watchers, which is sleeping if one of them is, and ends with the last', () => {
    const it = script();
    const seen: unknown[] = [];
    let sleeping = false;
    const stops = [
      it.cache.watch(question('a'), { sleeping: () => sleeping, report: (reading) => seen.push(['first', reading.known]) }),
      it.cache.watch(question('a'), { sleeping: () => false, report: (reading) => seen.push(['second', reading.known]) }),
    ];
    const watcher = it.watchers.get('a');
    expect(watcher?.sleeping()).toBe(false);
    sleeping = true;
    expect(watcher?.sleeping()).toBe(true);
    watcher?.report(ready(1));
    expect(seen).toEqual([
      ['first', true],
      ['second', true],
    ]);
    stops[0]?.();
    stops[0]?.();
    expect(it.watchers.size).toBe(1);
    stops[1]?.();
    expect(it.watchers.size).toBe(0);
  });

  test('tells who joins others how things stand at once, from a young reading or by asking', async () => {
    const it = script();
    const join = (): boolean[] => {
      const heard: boolean[] = [];
      it.cache.watch(question('a'), { sleeping: () => true, report: (reading) => heard.push(reading.known) });
      return heard;
    };
    join();
    it.watchers.get('a')?.report(ready(4));
    const second = join();
    await vi.advanceTimersByTimeAsync(0);
    expect(second).toEqual([true]);
    expect(it.sweeps).toHaveLength(0);

    await vi.advanceTimersByTimeAsync(ROUND_MS + 1);
    const third = join();
    await vi.advanceTimersByTimeAsync(100);
    expect(it.sweeps).toHaveLength(1);
    it.sweeps[0]?.report('a', ready(5));
    expect(third).toEqual([true]);
  });

  test('answers reads from a fresh watched reading without asking the broker', async () => {
    const it = script();
    it.cache.watch(question('a'), { sleeping: () => true, report: () => undefined });
    it.watchers.get('a')?.report(ready(4));
    expect(await it.cache.read(question('a'), never)).toMatchObject({ measures: { ready: 4 } });
    expect(it.sweeps).toHaveLength(0);
  });

  test('is never contradicted by an answer to what was asked before', async () => {
    const it = script();
    await answered(it, question('a'), ready(0));
    const heard: (number | undefined)[] = [];
    it.cache.watch(question('a'), {
      sleeping: () => false,
      report: (reading) => heard.push(reading.known ? reading.measures['ready'] : undefined),
    });
    await vi.advanceTimersByTimeAsync(2 * ROUND_MS);
    const round = it.sweeps.at(-1);
    await vi.advanceTimersByTimeAsync(10);
    it.watchers.get('a')?.report(ready(1));
    await vi.advanceTimersByTimeAsync(10);
    round?.report('a', ready(0));
    expect(it.cache.latest(question('a'))).toMatchObject({ measures: { ready: 1 } });
    expect(heard).toEqual([1]);
    await vi.advanceTimersByTimeAsync(2 * ROUND_MS);
    it.sweeps.at(-1)?.report('a', ready(0));
    expect(it.cache.latest(question('a'))).toMatchObject({ measures: { ready: 0 } });
  });

  test('counts as use, so that a watched broker is never idle', async () => {
    const it = script();
    const stop = it.cache.watch(question('a'), { sleeping: () => true, report: () => undefined });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(it.cache.idleMs()).toBe(0);
    stop();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(it.cache.idleMs()).toBe(60_000);
  });
});

test('closing answers whoever waits with unknown, closes the client, and refuses further questions', async () => {
  const it = script();
  const swept = it.cache.read(question('a'), never);
  await nextSweep(it, 0);
  const batched = it.cache.read(question('b'), never);
  await it.cache.close();
  for (const reading of await Promise.all([swept, batched, it.cache.read(question('c'), never)])) {
    expect(reading).toMatchObject({ known: false, error: { code: 'SHUTTING_DOWN' } });
  }
  expect(it.closed).toBe(1);
});
