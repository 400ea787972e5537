import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { BrokerError, QueueError } from '../../src/errors.ts';
import { FRESH_MS } from '../../src/scalers/readingCache.ts';
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

  test('answers again from a fresh reading, known or unknown, and asks anew when it is no longer fresh', async () => {
    const it = script();
    const first = it.cache.read(question('a'), never);
    (await nextSweep(it, 0)).report('a', failed(new QueueError('FIELD_MISSING', 'no count')));
    expect((await first).known).toBe(false);
    expect((await it.cache.read(question('a'), never)).known).toBe(false);
    expect(it.sweeps).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(FRESH_MS + 1);
    const second = it.cache.read(question('a'), never);
    (await nextSweep(it, 1)).report('a', ready(3));
    expect(await second).toMatchObject({ known: true, measures: { ready: 3 } });
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
    const it = script();
    const left = it.cache.read(question('a'), never);
    (await nextSweep(it, 0)).end();
    expect(await left).toMatchObject({ known: false, error: { code: 'BROKER_REPLY_INVALID' } });
    await vi.advanceTimersByTimeAsync(FRESH_MS + 1);
    const broken = it.cache.read(question('a'), never);
    (await nextSweep(it, 1)).fail(new BrokerError('BROKER_UNREACHABLE', 'gone'));
    expect(await broken).toMatchObject({ known: false, error: { code: 'BROKER_UNREACHABLE' } });
    await vi.advanceTimersByTimeAsync(FRESH_MS + 1);
    const defect = it.cache.read(question('a'), never);
    (await nextSweep(it, 2)).fail(new TypeError('x is not a function'));
    expect(await defect).toMatchObject({ known: false, error: { code: 'INTERNAL' } });
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

describe('the last known reading', () => {
  async function knownThenFailing(staleAfterMs: number, error: QueueError | BrokerError, afterMs: number) {
    const it = script();
    const first = it.cache.read(question('a', staleAfterMs), never);
    (await nextSweep(it, 0)).report('a', ready(7));
    await first;
    await vi.advanceTimersByTimeAsync(afterMs);
    const second = it.cache.read(question('a', staleAfterMs), never);
    (await nextSweep(it, 1)).report('a', { known: false, at: performance.now(), error });
    return second;
  }

  test('stands in while it is young enough, and says since what', async () => {
    const reading = await knownThenFailing(5_000, new BrokerError('BROKER_UNREACHABLE', 'gone'), 2_000);
    expect(reading).toMatchObject({ known: true, measures: { ready: 7 }, since: { code: 'BROKER_UNREACHABLE' } });
  });

  test('no longer stands in when it is too old', async () => {
    expect(await knownThenFailing(5_000, new BrokerError('BROKER_UNREACHABLE', 'gone'), 5_001)).toMatchObject({ known: false });
  });

  test('never stands in for a failure that is a certain answer', async () => {
    expect(await knownThenFailing(5_000, new QueueError('QUEUE_MISSING', 'deleted'), 2_000)).toMatchObject({ known: false });
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

    await vi.advanceTimersByTimeAsync(FRESH_MS + 1);
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

  test('answers reads from an older watched reading only while the broker would have told of a change', async () => {
    const it = script();
    const stop = it.cache.watch(question('a'), { sleeping: () => true, report: () => undefined });
    const told = ready(4);
    it.watchers.get('a')?.report(told);
    await vi.advanceTimersByTimeAsync(FRESH_MS + 1);
    expect(it.cache.isCurrent(question('a'), told)).toBe(false);
    it.vouches = true;
    expect(it.cache.isCurrent(question('a'), told)).toBe(true);
    expect(it.cache.isCurrent(question('a'), ready(4))).toBe(false);
    expect(await it.cache.read(question('a'), never)).toBe(told);
    expect(it.sweeps).toHaveLength(0);

    it.watchers.get('a')?.report(failed(new QueueError('FIELD_MISSING', 'gone')));
    expect(it.cache.isCurrent(question('a'), told)).toBe(false);
    it.watchers.get('a')?.report(ready(4));
    await vi.advanceTimersByTimeAsync(FRESH_MS + 1);
    stop();
    void it.cache.read(question('a'), never);
    await vi.advanceTimersByTimeAsync(100);
    expect(it.sweeps).toHaveLength(1);
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
