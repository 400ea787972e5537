import { status } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import fc from 'fast-check';
import {
  advise,
  afterTelling,
  createPush,
  REPEAT_AFTER_MS,
  TRUE_PACE_MS,
  TRUES_AT_ONCE,
  UNTOLD,
} from '../../src/server/grpc/push.ts';
import type { Known } from '../../src/scalers/reading.ts';
import type { Told, Trigger, TriggerWatcher } from '../../src/scalers/trigger.ts';
import { createMemoryBroker, UNREACHABLE, type MemoryBroker } from '../bed/memoryScaler.ts';
import { startScaler, type TestScaler } from '../bed/scaler.ts';
import type { PushStream } from '../keda/client.ts';

describe('what a stream says next', () => {
  const told = (active: boolean, at: number) => afterTelling(UNTOLD, active, at);

  it('tells the first state at once, whichever it is', () => {
    expect(advise(UNTOLD, true, false, undefined, 0)).toEqual({ send: true });
    expect(advise(UNTOLD, false, false, undefined, 0)).toEqual({ send: true });
  });

  it('tells an edge at once and an unchanged state not at all', () => {
    expect(advise(told(false, 0), true, false, undefined, 10)).toEqual({ send: true });
    expect(advise(told(true, 10), false, false, undefined, 11)).toEqual({ send: true });
    expect(advise(told(true, 10), true, false, undefined, 10_000)).toEqual({ send: false });
    expect(advise(told(false, 10), false, false, undefined, 10_000)).toEqual({ send: false });
  });

  it('tells work that has come afresh, though it told the same before', () => {
    expect(advise(told(true, 10), true, true, undefined, 1_000)).toEqual({ send: true });
  });

  it('tells what contradicts the answer to a later call, though it told the same before', () => {
    expect(advise(told(true, 10), true, false, { active: false, at: 11 }, 12)).toEqual({ send: true });
    expect(advise(told(true, 12), true, false, { active: false, at: 11 }, 13)).toEqual({ send: false });
    expect(advise(told(true, 10), true, false, { active: true, at: 11 }, 12)).toEqual({ send: false });
  });

  it('defers a true that follows too many others, so that a flapping queue costs KEDA little', () => {
    let state = UNTOLD;
    for (let count = 0; count < TRUES_AT_ONCE; count++) {
      state = afterTelling(state, false, count);
      expect(advise(state, true, false, undefined, count)).toEqual({ send: true });
      state = afterTelling(state, true, count);
    }
    state = afterTelling(state, false, 100);
    expect(advise(state, true, false, undefined, 100)).toEqual({ send: false, againInMs: TRUE_PACE_MS - 100 });
    expect(advise(state, true, false, undefined, TRUE_PACE_MS)).toEqual({ send: true });
    expect(advise(state, true, false, { active: false, at: 99 }, 100)).toEqual({ send: true });
  });

  /** What happens to a trigger, in order: time passes, its state is read, or KEDA asks for it. */
  const events = fc.array(
    fc.oneof(
      fc.record({ kind: fc.constant('pass' as const), ms: fc.integer({ min: 0, max: 20_000 }) }),
      fc.record({ kind: fc.constant('read' as const), active: fc.boolean() }),
      fc.record({ kind: fc.constant('ask' as const) }),
    ),
    { maxLength: 60 },
  );

  it('never leaves KEDA in the belief that there is no work, and never says more than the pace allows beyond that', () => {
    fc.assert(
      fc.property(events, (happening) => {
        let state = UNTOLD;
        let [now, latest] = [0, false];
        let answered: Told | undefined;
        // What KEDA makes of calls and of \`true\`s; it takes no notice of \`false\`.
        let believes = false;
        let free = 0;
        const trues: number[] = [];
        for (const event of happening) {
          if (event.kind === 'pass') now += event.ms;
          if (event.kind === 'read') latest = event.active;
          if (event.kind === 'ask') {
            answered = { active: latest, at: now };
            believes = latest;
          }
          if (event.kind !== 'read') continue;
          if (!advise(state, latest, false, answered, now).send) {
            expect(latest && !believes).toBe(false);
            continue;
          }
          state = afterTelling(state, latest, now);
          if (!latest) continue;
          if (believes) trues.push(now);
          else free++;
          believes = true;
        }
        expect(trues.length).toBeLessThanOrEqual(TRUES_AT_ONCE + now / TRUE_PACE_MS);
        expect(free).toBeLessThanOrEqual(1 + happening.filter(({ kind }) => kind === 'ask').length);
      }),
    );
  });

  it('says a true within the pace where KEDA was told nothing since', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 10_000 }), { maxLength: 60 }), (pauses) => {
        let state = UNTOLD;
        let now = 0;
        for (const pause of pauses) {
          now += pause;
          state = afterTelling(state, false, now);
          const advice = advise(state, true, false, undefined, now);
          if (!advice.send) {
            expect(advice.againInMs).toBeLessThanOrEqual(TRUE_PACE_MS);
            now += advice.againInMs ?? NaN;
          }
          expect(advise(state, true, false, undefined, now)).toEqual({ send: true });
          state = afterTelling(state, true, now);
        }
      }),
    );
  });
});

describe('a stream that stays active', () => {
  it('says so again where no call has, and not where one has', async () => {
    vi.useFakeTimers();
    try {
      const push = createPush();
      const said: number[][] = [[], []];
      const triggers = said.map((times) => {
        let watcher: TriggerWatcher | undefined;
        const watch: Trigger['watch'] = (given) => ((watcher = given), () => undefined);
        const trigger = { told: undefined as Told | undefined, watch };
        push.follow(trigger as Trigger, () => void times.push(performance.now()));
        const reading: Known = { known: true, at: 0, reader: 'script', measures: {}, queues: [] };
        watcher?.sample({ reading, decision: { value: 1, active: true, because: [] } });
        return trigger;
      });
      for (let poll = 0; poll < 10; poll++) {
        Object.assign(triggers[1] ?? {}, { told: { active: true, at: performance.now() } });
        await vi.advanceTimersByTimeAsync(REPEAT_AFTER_MS - 1_000);
      }
      expect(said[0]?.length).toBeGreaterThanOrEqual(9);
      expect(said[1]).toHaveLength(1);
      // Nobody polls any more.
      await vi.advanceTimersByTimeAsync(2 * REPEAT_AFTER_MS + 2_000);
      expect(said[1]?.length).toBeGreaterThanOrEqual(2);
      push.close();
    } finally {
      vi.useRealTimers();
    }
  });
});

it('a true that waits for its pace is not told once the state is unknown', async () => {
  vi.useFakeTimers();
  try {
    const push = createPush();
    const said: boolean[] = [];
    let watcher: TriggerWatcher | undefined;
    const watch: Trigger['watch'] = (given) => ((watcher = given), () => undefined);
    push.follow({ told: undefined, watch } as unknown as Trigger, (active) => void said.push(active));
    const reading: Known = { known: true, at: 0, reader: 'script', measures: {}, queues: [] };
    const sample = (active: boolean): void => watcher?.sample({ reading, decision: { value: 1, active, because: [] } });
    for (let flap = 0; flap < 2 * TRUES_AT_ONCE; flap++) {
      sample(true);
      sample(false);
    }
    const before = said.length;
    sample(true);
    expect(said).toHaveLength(before);
    watcher?.trouble(UNREACHABLE);
    await vi.advanceTimersByTimeAsync(2 * TRUE_PACE_MS);
    expect(said).toHaveLength(before);
    sample(true);
    expect(said.at(-1)).toBe(true);
    push.close();
  } finally {
    vi.useRealTimers();
  }
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

  it('tells a queue that flaps fast no more than a few states, and those that contradict a call all the same', async () => {
    const stream = push('flapping');
    await stream.next(false);
    const startedAt = performance.now();
    const flap = async (): Promise<void> => {
      broker.set('flapping', 1);
      broker.set('flapping', 0);
      await new Promise((resolve) => setImmediate(resolve));
    };
    while (performance.now() - startedAt < TRUE_PACE_MS / 2) await flap();
    const trues = stream.states.filter(({ active }) => active).length;
    expect(trues).toBeLessThanOrEqual(TRUES_AT_ONCE);
    expect(await scaler.client.trigger({ metadata: { scaler: 'memory', queueName: 'flapping' } }).poll()).toMatchObject({
      active: false,
    });
    broker.set('flapping', 1);
    await expect.poll(() => stream.states.filter(({ active }) => active).length).toBe(trues + 1);
  });

  it('tells work that a call has denied, though the stream has told of work before', async () => {
    const stream = push('denied');
    const polled = scaler.client.trigger({ type: 'external-push', metadata: { scaler: 'memory', queueName: 'denied' } });
    await stream.next(false);
    for (let round = 0; round < 2 * TRUES_AT_ONCE; round++) {
      broker.set('denied', 1);
      await stream.next(true, 1_000);
      broker.set('denied', 0);
      expect((await polled.poll()).active).toBe(false);
    }
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
