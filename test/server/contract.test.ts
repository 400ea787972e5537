/**
 * KEDA's side of the contract row by row: which calls come in which order, what an error costs, and what each version does differently.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { status, type ServiceError } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { createPush, REPEAT_AFTER_MS } from '../../src/server/grpc/push.ts';
import type { Trigger, TriggerWatcher } from '../../src/scalers/trigger.ts';
import { makeCertificates, type Certificates } from '../bed/certificates.ts';
import { createMemoryBroker, UNREACHABLE, type MemoryBroker } from '../bed/memoryScaler.ts';
import { startScaler, type TestScaler } from '../bed/scaler.ts';
import { until } from '../bed/until.ts';
import { createKedaOperator, type KedaClient } from '../keda/client.ts';
import { KEDA_VERSIONS, type KedaVersion } from '../keda/versions.ts';

const VERSIONS = Object.keys(KEDA_VERSIONS) as KedaVersion[];
const folder = mkdtempSync(join(tmpdir(), 'queue-scaler-contract-'));
let broker: MemoryBroker;
let plain: TestScaler;
let secure: TestScaler;
let made: Certificates;

beforeAll(async () => {
  made = makeCertificates(join(folder, 'made'));
  broker = createMemoryBroker();
  plain = await startScaler({ scalers: [broker.scaler], maxWaitingCalls: 5 });
  secure = await startScaler({ scalers: [broker.scaler], tls: made.server });
});
beforeEach(() => {
  broker.fail(undefined);
  broker.hang(false);
});
afterAll(async () => {
  await plain.close();
  await secure.close();
  rmSync(folder, { recursive: true });
});

const memory = (queueName: string, more: Record<string, string> = {}) => ({
  name: queueName,
  metadata: { scaler: 'memory', queueName, ...more },
});
const methodsSince = (keda: KedaClient, before: number): string[] => keda.calls.slice(before).map(({ method }) => method);

async function failure(promise: Promise<unknown>): Promise<ServiceError> {
  return promise.then(
    () => {
      throw new Error('did not fail');
    },
    (error: unknown) => error as ServiceError,
  );
}

describe.each(VERSIONS)('KEDA %s', (version) => {
  describe.each(['plain', 'TLS'] as const)('by %s', (transport) => {
    const { floats, specStream } = KEDA_VERSIONS[version];
    let keda: KedaClient;
    beforeAll(() => {
      keda = transport === 'plain' ? plain.keda({ version }) : secure.keda({ version, tls: { ca: readFileSync(made.ca) } });
    });
    const queue = (name: string): string => `${name}-${version}-${transport}`;

    it('gets target, value and activity by the field that it reads', async () => {
      broker.set(queue('fraction'), 0.4);
      const poll = await keda.trigger(memory(queue('fraction'), { value: '0.5' })).poll();
      expect(poll).toMatchObject({ metrics: [floats ? { target: 0.5, value: 0.4 } : { target: 1, value: 1 }], active: true });
    });

    it('gets zero for an empty queue by either field, and no value that it would have to clamp', async () => {
      const poll = await keda.trigger(memory(queue('empty'))).poll();
      expect(poll).toMatchObject({ metrics: [{ target: 20, value: 0 }], active: false });
    });

    it('is pushed the state on open, the edges, and OK at the end', async () => {
      const stream = keda.trigger(memory(queue('pushed'))).push(0.01);
      await stream.next(false);
      broker.set(queue('pushed'), 1);
      await stream.next(true);
      stream.close();
      expect(stream.ends).toEqual([]);
    });

    it(
      specStream ? 'is told the spec on open, the same that it gets when it asks' : 'never asks for streamed specs',
      async () => {
        const trigger = keda.trigger(memory(queue('spec'), { value: '7' }));
        if (!specStream) {
          expect(() => trigger.specs()).toThrow('has no StreamMetricSpec');
          return;
        }
        const specs = trigger.specs();
        await until('an update', () => specs.updates.length > 0);
        expect(specs.updates).toEqual([await trigger.spec()]);
        specs.close();
      },
    );
  });

  it(`shares one connection ${KEDA_VERSIONS[version].poolIgnoresTls ? 'whatever the TLS parameters, the first winning' : 'among those of the same TLS parameters only'}`, async () => {
    const operator = createKedaOperator(secure.grpc, version);
    const stranger = makeCertificates(join(folder, `stranger-${version}`));
    const first = operator.client({ ca: readFileSync(stranger.ca) });
    expect((await failure(first.trigger(memory('pooled')).spec())).code).toBe(status.UNAVAILABLE);
    const second = operator.client({ ca: readFileSync(made.ca) }).trigger(memory('pooled'));
    if (KEDA_VERSIONS[version].poolIgnoresTls) expect((await failure(second.spec())).code).toBe(status.UNAVAILABLE);
    else expect(await second.spec()).toHaveLength(1);
    operator.close();
  });
});

describe('the order of calls', () => {
  it('of a reconcile is one GetMetricSpec a trigger, which asks no broker', async () => {
    const before = plain.client.calls.length;
    for (const name of ['a', 'b', 'c']) await plain.client.trigger(memory(`reconcile-${name}`)).spec();
    expect(methodsSince(plain.client, before)).toEqual(Array(3).fill('GetMetricSpec'));
    for (const name of ['a', 'b', 'c']) expect(broker.readCount(`reconcile-${name}`)).toBe(0);
  });

  it('of a poll is GetMetricSpec, GetMetrics, IsActive, of triggers side by side, from one question each', async () => {
    const triggers = ['a', 'b', 'c'].map((name) => plain.client.trigger(memory(`poll-${name}`)));
    const polls = await Promise.all(triggers.map((trigger) => trigger.poll()));
    expect(polls.map(({ active }) => active)).toEqual([false, false, false]);
    for (const name of ['a', 'b', 'c']) expect(broker.readCount(`poll-${name}`)).toBe(1);
  });

  it('of an HPA’s sync is T GetMetricSpec before each of T metrics, and each trigger is still asked of once', async () => {
    const triggers = ['a', 'b', 'c'].map((name, index) => plain.client.trigger({ ...memory(`hpa-${name}`), index }));
    const before = plain.client.calls.length;
    for (const trigger of triggers) {
      for (const each of triggers) await each.spec();
      const [metric] = await trigger.spec();
      if (metric !== undefined) expect(await trigger.metric(metric)).toEqual({ value: 0, active: false });
    }
    expect(methodsSince(plain.client, before).filter((method) => method === 'IsActive')).toHaveLength(3);
    for (const name of ['a', 'b', 'c']) expect(broker.readCount(`hpa-${name}`)).toBe(1);
  });

  it('of a ScaledJob is the same, one trigger after the other', async () => {
    broker.set('job-b', 4);
    const before = plain.client.calls.length;
    for (const name of ['job-a', 'job-b']) await plain.client.trigger(memory(name)).poll();
    const turn = ['GetMetricSpec', 'GetMetrics', 'IsActive'];
    expect(methodsSince(plain.client, before)).toEqual([...turn, ...turn]);
  });

  it('may be without IsActive or GetMetrics, as with cached metrics: each answers by itself', async () => {
    broker.set('alone', 2);
    const { reference } = plain.client.trigger(memory('alone'));
    expect(await plain.client.call('IsActive', reference)).toEqual({ result: true });
    expect(await plain.client.call('GetMetrics', { scaledObjectRef: reference, metricName: 'memory-alone' })).toMatchObject({
      metricValues: [{ metricValueFloat: 2 }],
    });
  });
});

describe('time', () => {
  it('without a deadline of KEDA’s is bounded by the server', async () => {
    broker.hang(true);
    const startedAt = performance.now();
    const error = await failure(
      plain.client.call('GetMetrics', { scaledObjectRef: plain.client.trigger(memory('hung')).reference }),
    );
    expect(error.code).toBe(status.UNAVAILABLE);
    expect(performance.now() - startedAt).toBeLessThan(2_500);
  });

  it('is not taken by a trigger that has been read, whether the broker answers or hangs', async () => {
    broker.set('known', 3);
    const { reference } = plain.client.trigger(memory('known'));
    const outcomes = new Set<string>();
    let longestMs = 0;
    const ask = async (): Promise<boolean> => {
      const startedAt = performance.now();
      const answer = await plain.client
        .call('IsActive', reference)
        .then(JSON.stringify, (error: unknown) => status[(error as ServiceError).code]);
      longestMs = Math.max(longestMs, performance.now() - startedAt);
      outcomes.add(answer);
      return answer === 'UNAVAILABLE';
    };
    await ask();
    longestMs = 0;
    broker.hang(true);
    await until('the outage is told', ask);
    expect(await ask()).toBe(true);
    broker.hang(false);
    await until('the end of the outage is told', async () => !(await ask()));
    expect(outcomes).toEqual(new Set(['{"result":true}', 'UNAVAILABLE']));
    // Far below the time after which a broker's silence counts as trouble.
    expect(longestMs).toBeLessThan(1_000);
  });

  it('that the HPA gives is kept, and a call that is over gives its place back', async () => {
    broker.hang(true);
    const call = (name: string) => plain.client.call('IsActive', plain.client.trigger(memory(name)).reference, 100);
    for (let round = 0; round < 3; round++) {
      const errors = await Promise.all(Array.from({ length: 5 }, (_, index) => failure(call(`short-${round}-${index}`))));
      expect(new Set(errors.map(({ code }) => code))).toEqual(new Set([status.DEADLINE_EXCEEDED]));
      let probes = 0;
      // Each a question that nobody waits for yet.
      const probe = () => failure(call(`probe-${round}-${probes++}`));
      await until('the places are free', async () => (await probe()).code === status.DEADLINE_EXCEEDED);
    }
  });
});

describe('an error', () => {
  it('of GetMetricSpec comes again on KEDA’s second try, and is never an empty spec', async () => {
    const before = plain.client.calls.length;
    const error = await failure(plain.client.trigger({ metadata: { scaler: 'memory', queue: 'x' } }).spec());
    expect(error.code).toBe(status.INVALID_ARGUMENT);
    expect(methodsSince(plain.client, before)).toEqual(['GetMetricSpec', 'GetMetricSpec']);
  });

  it('of one trigger leaves the object’s others alone', async () => {
    broker.set('sound', 3);
    const [bad, good] = await Promise.allSettled([
      plain.client.trigger({ name: 'object', metadata: { scaler: 'memory', queue: 'x' } }).poll(),
      plain.client.trigger({ name: 'object', index: 1, metadata: { scaler: 'memory', queueName: 'sound' } }).poll(),
    ]);
    expect(bad.status).toBe('rejected');
    expect(good).toMatchObject({ value: { active: true } });
  });

  it('of the broker fails GetMetrics and IsActive but no GetMetricSpec, so that fallback counts and other metrics go on', async () => {
    broker.fail(UNREACHABLE);
    const trigger = plain.client.trigger(memory('fallback'));
    const [metric] = await trigger.spec();
    expect(metric).toMatchObject({ target: 20 });
    for (const method of ['GetMetrics', 'IsActive'] as const) {
      const request = method === 'IsActive' ? trigger.reference : { scaledObjectRef: trigger.reference, metricName: 'm' };
      expect((await failure(plain.client.call(method, request))).code).toBe(status.UNAVAILABLE);
    }
  });

  it('of GetMetrics makes KEDA ask all again, and costs the broker one question', async () => {
    broker.fail(UNREACHABLE);
    const trigger = plain.client.trigger(memory('again'));
    const before = plain.client.calls.length;
    await failure(trigger.poll());
    expect(methodsSince(plain.client, before)).toEqual(['GetMetricSpec', 'GetMetrics', 'GetMetrics']);
    expect(broker.readCount('again')).toBe(1);
  });

  it('of IsActive would throw the metric away, so it answers from the reading that GetMetrics had', async () => {
    broker.set('pair', 5);
    const { reference } = plain.client.trigger(memory('pair'));
    await plain.client.call('GetMetrics', { scaledObjectRef: reference, metricName: 'm' });
    broker.fail(UNREACHABLE);
    expect(await plain.client.call('IsActive', reference)).toEqual({ result: true });
  });

  it('is never “inactive”, which KEDA would scale to zero on', async () => {
    broker.fail(UNREACHABLE);
    const { reference } = plain.client.trigger(memory('unknown'));
    expect((await failure(plain.client.call('IsActive', reference))).code).toBe(status.UNAVAILABLE);
  });

  it('leaves nothing behind: the scaler that KEDA builds anew is answered as soon as the broker is', async () => {
    broker.fail(UNREACHABLE);
    await failure(plain.client.trigger(memory('rebuilt')).poll());
    broker.fail(undefined);
    await until('an answer', async () => (await plain.client.trigger(memory('rebuilt')).poll()).metrics.length === 1);
  });

  it('of a stream’s trigger is its end, and never an empty spec, which KEDA would keep as the truth', async () => {
    const keda = plain.keda({ version: '2.21' });
    const specs = keda.trigger({ metadata: { scaler: 'memory', queue: 'x' } }).specs();
    expect(await specs.ended).toBe(status.INVALID_ARGUMENT);
    expect(specs.updates).toEqual([]);
  });
});

describe('the back-off of a stream', () => {
  it('stays at two seconds when it ends with OK, however often', async () => {
    const aging = await startScaler({ scalers: [broker.scaler], maxConnectionAgeMs: 200 });
    const stream = aging.client.trigger(memory('aging')).push(0.01);
    await until('three ends', () => stream.ends.length >= 3);
    stream.close();
    expect(new Set(stream.ends)).toEqual(new Set([status.OK]));
    expect(new Set(stream.backoffs)).toEqual(new Set([2_000]));
    await aging.close();
  });

  it('doubles from two seconds to sixty for a trigger that stays bad', async () => {
    const stream = plain.client.trigger({ metadata: { scaler: 'memory', queue: 'x' } }).push(0.001);
    await until('seven ends', () => stream.ends.length >= 7);
    stream.close();
    expect(stream.backoffs.slice(0, 7)).toEqual([2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
  });

  it('is over when the trigger’s state is told at once to whoever opens again', async () => {
    broker.set('reopened', 1);
    const first = plain.client.trigger(memory('reopened')).push();
    await first.next(true);
    first.close();
    const again = plain.client.trigger(memory('reopened')).push();
    await again.next(true, 1_000);
    again.close();
  });
});

describe('a true', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('that KEDA dropped is said again while the trigger is active, of sixty triggers one a second at most, and of none once idle', async () => {
    const push = createPush();
    const told: number[] = [];
    const watchers: TriggerWatcher[] = [];
    const sample = (active: boolean) =>
      ({ decision: { active, value: 1, because: [] }, reading: { known: true, at: performance.now() } }) as unknown as Parameters<
        TriggerWatcher['sample']
      >[0];
    for (let number = 0; number < 60; number++) {
      const trigger = { watch: (watcher: TriggerWatcher) => (watchers.push(watcher), () => undefined) } as unknown as Trigger;
      push.follow(trigger, (active) => {
        if (active) told.push(performance.now());
      });
    }
    for (const watcher of watchers) watcher.sample(sample(true));
    expect(told).toHaveLength(60);
    await vi.advanceTimersByTimeAsync(REPEAT_AFTER_MS - 1_000);
    expect(told).toHaveLength(60);
    await vi.advanceTimersByTimeAsync(120_000);
    const repeats = told.slice(60);
    expect(repeats.length).toBeGreaterThanOrEqual(110);
    for (const [index, at] of repeats.entries())
      if (index > 0) expect(at - (repeats[index - 1] ?? 0)).toBeGreaterThanOrEqual(999);

    for (const watcher of watchers) watcher.sample(sample(false));
    const before = told.length;
    await vi.advanceTimersByTimeAsync(120_000);
    expect(told).toHaveLength(before);
    push.close();
  });
});
