/** The loop on a simulated clock, with triggers that answer as they are told: hours pass in milliseconds. */
import { status } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { LoopEvent } from '../../src/local/events.ts';
import { completeRules, DEFAULT_SCALE_DOWN, DEFAULT_SCALE_UP } from '../../src/local/hpa/behavior.ts';
import { runLoop, type LoopSpec, type ScaleTarget } from '../../src/local/keda/loop.ts';
import { parseFormula } from '../../src/formula/formula.ts';
import type { Modifiers } from '../../src/local/keda/modifiers.ts';
import { pause } from '../../src/local/repeat.ts';
import { KEDA_BEHAVIOURS } from '../../src/local/keda/versions.ts';
import type { Answer, CallError, MetricReading, StreamListener, TriggerClient } from '../../src/local/keda/triggerClient.ts';

const SECOND = 1000;

/** KEDA's and Kubernetes' defaults. */
const SPEC: LoopSpec = {
  pollingIntervalMs: 30 * SECOND,
  hpaSyncPeriodMs: 15 * SECOND,
  bounds: { minReplicas: 0, cooldownMs: 300 * SECOND, initialCooldownMs: 0 },
  hpa: { minReplicas: 1, maxReplicas: 100, scaleUp: DEFAULT_SCALE_UP, scaleDown: DEFAULT_SCALE_DOWN },
  keda: KEDA_BEHAVIOURS['2.20'],
};

interface ScriptedTrigger extends TriggerClient {
  depth: number;
  /** What GetMetricSpec and GetMetrics fail with. */
  specError: CallError | undefined;
  readError: CallError | undefined;
  specCalls: number;
  readCalls: number;
  push(active: boolean): void;
}

function trigger(
  index: number,
  settings: Partial<Pick<TriggerClient, 'type' | 'targetType' | 'useCachedMetrics'>> = {},
): ScriptedTrigger {
  let listener: StreamListener | undefined;
  const scripted: ScriptedTrigger = {
    index,
    type: 'external',
    targetType: 'AverageValue',
    useCachedMetrics: false,
    ...settings,
    depth: 0,
    specError: undefined,
    readError: undefined,
    specCalls: 0,
    readCalls: 0,
    metrics() {
      scripted.specCalls++;
      return Promise.resolve(scripted.specError ?? { ok: true, value: [{ name: `s${index}-queue`, target: 10 }] });
    },
    read(): Promise<Answer<MetricReading>> {
      scripted.readCalls++;
      return Promise.resolve(scripted.readError ?? { ok: true, value: { value: scripted.depth, active: scripted.depth > 0 } });
    },
    stream: (heard, signal) =>
      new Promise((resolve) => {
        listener = heard;
        signal.addEventListener('abort', () => {
          resolve();
        });
      }),
    push(active) {
      listener?.active(active);
    },
  };
  return scripted;
}

const failure = (code: status): CallError => ({ ok: false, status: code, error: `GetMetrics: ${status[code]}: on purpose` });

let ending: AbortController;
let running: Promise<string | undefined>;
let events: LoopEvent[];
let target: ScaleTarget & { wanted: number };

function start(triggers: readonly TriggerClient[], spec: Partial<LoopSpec> = {}, replicas = 0): void {
  target = {
    wanted: replicas,
    get existing() {
      return target.wanted;
    },
    get ready() {
      return target.wanted;
    },
    stopping: 0,
    scale(wanted) {
      target.wanted = wanted;
    },
  };
  running = runLoop(
    { spec: { ...SPEC, ...spec }, triggers, target, tell: (event) => void events.push(event), now: () => performance.now() },
    ending.signal,
  );
}

async function pass(seconds: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(seconds * SECOND);
}

beforeEach(() => {
  vi.useFakeTimers();
  ending = new AbortController();
  events = [];
});

afterEach(async () => {
  ending.abort();
  await running;
  vi.useRealTimers();
});

describe('the life of a ScaledObject with all defaults', () => {
  test('an external trigger is noticed by the next poll, grows by the HPA, and rests after the cooldown', async () => {
    const orders = trigger(0);
    start([orders]);
    await pass(40);
    orders.depth = 200;
    await pass(19.9);
    expect(target.wanted).toBe(0);
    await pass(0.2);
    // The poll at 60 s starts the first one, the HPA's syncs from 60 s on add four or double every 15 s.
    expect(target.wanted).toBeGreaterThanOrEqual(1);
    await pass(30);
    expect(target.wanted).toBe(20);
    orders.depth = 0;
    // The last active poll was at 90 s; until 390 s neither KEDA nor the HPA's window lets go.
    await pass(299);
    expect(target.wanted).toBe(20);
    await pass(2);
    expect(target.wanted).toBe(0);
    expect(events.filter(({ event }) => event === 'scale').at(-1)).toMatchObject({ by: 'keda', from: 20, desired: 0 });
  });

  test('a pushed trigger starts the first replica at once', async () => {
    const orders = trigger(0, { type: 'external-push' });
    start([orders]);
    await pass(10);
    orders.depth = 5;
    orders.push(true);
    expect(target.wanted).toBe(1);
  });

  test('a push of false changes nothing, and one of true renews the cooldown', async () => {
    const orders = trigger(0, { type: 'external-push' });
    start([orders]);
    await pass(1);
    orders.push(true);
    orders.push(false);
    expect(target.wanted).toBe(1);
    await pass(200);
    orders.push(true);
    await pass(250);
    expect(target.wanted).toBe(1);
    await pass(100);
    expect(target.wanted).toBe(0);
  });

  test('a Deployment that runs already goes to zero at once where nothing was ever active', async () => {
    start([trigger(0)], {}, 3);
    await pass(0);
    expect(target.wanted).toBe(0);
  });
});

describe('what is asked, and how often', () => {
  test('at zero replicas only polls ask, one after the other', async () => {
    const orders = trigger(0);
    start([orders]);
    await pass(89);
    // One GetMetricSpec to reconcile; polls at 0, 30 and 60 s.
    expect(orders).toMatchObject({ specCalls: 4, readCalls: 3 });
  });

  test('a sync of two triggers asks each for its specs twice and for its metric once', async () => {
    const both = [trigger(0), trigger(1)];
    for (const each of both) each.depth = 10;
    start(both, { pollingIntervalMs: 3600 * SECOND }, 1);
    await pass(0);
    const before = both.map(({ specCalls, readCalls }) => ({ specCalls, readCalls }));
    await pass(15);
    both.forEach(({ specCalls, readCalls }, index) => {
      expect(specCalls - (before[index]?.specCalls ?? 0)).toBe(2);
      expect(readCalls - (before[index]?.readCalls ?? 0)).toBe(1);
    });
  });

  test('cached metrics reach the HPA as the last poll had them', async () => {
    const orders = trigger(0, { useCachedMetrics: true });
    orders.depth = 10;
    start([orders], {}, 1);
    await pass(1);
    const { readCalls } = orders;
    orders.depth = 500;
    await pass(28);
    expect(orders.readCalls).toBe(readCalls);
    expect(target.wanted).toBe(1);
    await pass(17);
    expect(target.wanted).toBeGreaterThan(1);
  });
});

describe('when the scaler fails', () => {
  test('the count is held for as long as it lasts', async () => {
    const orders = trigger(0);
    orders.depth = 40;
    start([orders], {}, 4);
    await pass(1);
    orders.readError = failure(status.UNAVAILABLE);
    await pass(3600);
    expect(target.wanted).toBe(4);
    expect(events.filter(({ event }) => event === 'poll').at(-1)).toMatchObject({ failing: true, active: false });
  });

  test('one failing metric keeps the others from taking replicas away, not from adding', async () => {
    const [good, bad] = [trigger(0), trigger(1)];
    good.depth = 40;
    start(
      [good, bad],
      { hpa: { ...SPEC.hpa, scaleDown: completeRules({ stabilizationWindowSeconds: 0 }, DEFAULT_SCALE_DOWN) } },
      4,
    );
    await pass(1);
    bad.readError = failure(status.UNAVAILABLE);
    good.depth = 10;
    await pass(120);
    expect(target.wanted).toBe(4);
    good.depth = 80;
    await pass(30);
    expect(target.wanted).toBe(8);
  });

  test('a trigger whose GetMetricSpec fails makes every metric of the HPA unknown', async () => {
    const [good, bad] = [trigger(0), trigger(1)];
    good.depth = 40;
    start([good, bad], {}, 4);
    await pass(1);
    bad.specError = failure(status.UNAVAILABLE);
    good.depth = 400;
    await pass(60);
    expect(target.wanted).toBe(4);
  });

  test('the fallback counts failures of polls and syncs together, starts from zero and ends with the first good answer', async () => {
    const orders = trigger(0);
    const fallback = { failureThreshold: 2, replicas: 3, behavior: 'static' } as const;
    orders.readError = failure(status.UNAVAILABLE);
    start([orders], { fallback, bounds: { ...SPEC.bounds, fallbackReplicas: 3 } });
    // At zero only polls count: the third, at 60 s, is one too many.
    await pass(59);
    expect(target.wanted).toBe(0);
    await pass(20);
    expect(target.wanted).toBe(3);
    orders.readError = undefined;
    orders.depth = 10;
    await pass(30);
    expect(events.filter(({ event }) => event === 'hpa').at(-1)).toMatchObject({ recommended: 1 });
    // Counted from one again.
    orders.readError = failure(status.UNAVAILABLE);
    await pass(15);
    const last = events.filter((event) => event.event === 'hpa').at(-1);
    expect(last?.metrics[0]).toMatchObject({ error: expect.stringContaining('UNAVAILABLE') as string });
    expect(last?.metrics[0]).not.toHaveProperty('fallback');
  });
});

describe('an error while KEDA is within a call', () => {
  /** As from a scaler that answers after so long; asked twice, as the trigger client asks. */
  function slowTrigger(tookMs: number): ScriptedTrigger {
    const slow = trigger(0);
    const read = slow.read.bind(slow);
    slow.read = async (metric, signal, cache) => {
      const take = (): Promise<void> => pause(slow.readError === undefined ? 0 : tookMs, signal);
      await take();
      if (slow.readError === undefined) return read(metric, signal, cache);
      if (cache.aborted) return { ok: false, status: status.CANCELLED, error: 'scalers cache is closed', cacheClosed: true };
      await take();
      return read(metric, signal, cache);
    };
    return slow;
  }

  const HASTY = {
    pollingIntervalMs: SECOND,
    hpaSyncPeriodMs: 2 * SECOND,
    bounds: { ...SPEC.bounds, cooldownMs: 5 * SECOND },
  } satisfies Partial<LoopSpec>;
  const fallback = {
    fallback: { failureThreshold: 1, replicas: 2, behavior: 'static' },
    bounds: { ...HASTY.bounds, fallbackReplicas: 2 },
  } as const;

  async function replicasAfterAMinute(tookMs: number, spec: Partial<LoopSpec>): Promise<number> {
    const orders = slowTrigger(tookMs);
    orders.depth = 40;
    start([orders], { ...HASTY, ...spec }, 4);
    await pass(3.5);
    orders.readError = failure(status.UNAVAILABLE);
    await pass(60);
    return target.wanted;
  }

  test.each([
    ['holds the replicas in 2.19, however long it takes', 1900, '2.19', 4],
    ['takes them to zero in 2.20 where it takes long', 1900, '2.20', 0],
    ['holds them in 2.20 where it comes at once', 0, '2.20', 4],
  ] as const)('%s', async (_, tookMs, version, expected) => {
    expect(await replicasAfterAMinute(tookMs, { keda: KEDA_BEHAVIOURS[version] })).toBe(expected);
  });

  test('takes them to zero whatever the fallback is', async () => {
    expect(await replicasAfterAMinute(1900, fallback)).toBe(0);
  });

  test('is told apart from one of the scaler', async () => {
    await replicasAfterAMinute(1900, {});
    const closed = events.filter((event) => event.event === 'poll').filter(({ metrics }) => metrics[0]?.cacheClosed === true);
    expect(closed.length).toBeGreaterThan(0);
    expect(closed.every(({ failing, active }) => !failing && !active)).toBe(true);
  });
});

describe('the start', () => {
  test('waits for the first trigger that answers GetMetricSpec, and runs with those that do', async () => {
    const [late, never] = [trigger(0), trigger(1)];
    late.specError = failure(status.UNAVAILABLE);
    never.specError = failure(status.UNAVAILABLE);
    start([late, never]);
    await pass(5);
    expect(events.some(({ event }) => event === 'poll')).toBe(false);
    late.specError = undefined;
    late.depth = 1;
    await pass(10);
    expect(target.wanted).toBe(1);
  });

  test('a push of a trigger that the HPA has no metric of is ignored', async () => {
    const [good, bad] = [trigger(0), trigger(1, { type: 'external-push' })];
    bad.specError = failure(status.UNAVAILABLE);
    start([good, bad]);
    await pass(1);
    bad.push(true);
    expect(target.wanted).toBe(0);
    expect(events.filter(({ event }) => event === 'push').at(-1)).toMatchObject({
      active: true,
      reason: expect.stringContaining('ignored') as string,
    });
  });

  test('is given up where the scaler refuses all triggers for good', async () => {
    const orders = trigger(0);
    orders.specError = failure(status.INVALID_ARGUMENT);
    start([orders]);
    await pass(0);
    expect(await running).toContain('INVALID_ARGUMENT');
  });

  test('an end during it is heeded', async () => {
    const orders = trigger(0);
    orders.specError = failure(status.UNAVAILABLE);
    start([orders]);
    await pass(3);
    ending.abort();
    expect(await running).toBeUndefined();
  });
});

describe('a formula over two triggers', () => {
  const modifiers = (text: string, activationTarget = 0): Modifiers => {
    const parsed = parseFormula(text);
    if ('fault' in parsed) throw new Error(parsed.fault.message);
    const names = new Map([
      [0, 'orders'],
      [1, 'mails'],
    ]);
    return { text, formula: parsed.formula, target: 5, targetType: 'AverageValue', activationTarget, names };
  };

  test('is the only metric, and says alone what is active', async () => {
    const [orders, mails] = [trigger(0), trigger(1)];
    start([orders, mails], { modifiers: modifiers('orders > 10 ? orders + mails : 0') });
    mails.depth = 500;
    await pass(31);
    expect(target.wanted).toBe(0);
    expect(events.filter(({ event }) => event === 'poll').at(-1)).toMatchObject({ active: false });
    orders.depth = 20;
    mails.depth = 0;
    await pass(60);
    expect(target.wanted).toBe(4);
    expect(events.filter(({ event }) => event === 'hpa').at(-1)).toMatchObject({
      desired: 4,
      reason: expect.stringContaining('composite-metric is') as unknown,
    });
  });

  test('is active above its own activationTarget only', async () => {
    const orders = trigger(0);
    start([orders, trigger(1)], { modifiers: modifiers('orders + mails', 7) });
    orders.depth = 7;
    await pass(31);
    expect(target.wanted).toBe(0);
    orders.depth = 8;
    await pass(31);
    expect(target.wanted).toBeGreaterThan(0);
  });

  test('is unknown with any of its triggers, and holds what there is', async () => {
    const [orders, mails] = [trigger(0), trigger(1)];
    orders.depth = 20;
    mails.depth = 20;
    start([orders, mails], { modifiers: modifiers('max([orders, mails])') }, 4);
    await pass(31);
    mails.readError = failure(status.UNAVAILABLE);
    orders.depth = 0;
    await pass(1000);
    expect(target.wanted).toBe(4);
    expect(events.filter(({ event }) => event === 'poll').at(-1)).toMatchObject({ active: false, failing: true });
  });

  test('stands on the fallback of the object with its own target', async () => {
    const mails = trigger(1);
    mails.readError = failure(status.UNAVAILABLE);
    const fallback = { failureThreshold: 1, replicas: 3, behavior: 'static' } as const;
    const bounds = { ...SPEC.bounds, fallbackReplicas: 3 };
    start([trigger(0), mails], { modifiers: modifiers('orders + mails'), fallback, bounds }, 1);
    await pass(120);
    expect(target.wanted).toBe(3);
  });
});
