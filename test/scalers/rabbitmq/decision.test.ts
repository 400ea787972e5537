import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { IN_PROGRESS } from '../../../src/scalers/inProgress.ts';
import { combine, decide, MODES, type Policy } from '../../../src/scalers/rabbitmq/decision.ts';
import { OPERATIONS } from '../../../src/scalers/rabbitmq/question.ts';
import type { Measures } from '../../../src/scalers/reading.ts';

const POLICY: Policy = {
  mode: 'QueueLength',
  target: 20,
  activation: 0,
  inProgress: 'count',
  oneConsumerPerShard: false,
};

function judge(policy: Partial<Policy>, measures: Measures): { value: number; active: boolean } {
  const { value, active } = decide({ ...POLICY, ...policy }, measures, 'queue q');
  return { value, active };
}

function counts(ready: number, unacknowledged: number): Measures {
  return { ready, unacknowledged, messages: ready + unacknowledged };
}

function rates(publishRate: number, deliverRate: number, ready = 0, unacknowledged = 0, consumers = 1): Measures {
  return { ...counts(ready, unacknowledged), publishRate, deliverRate, acknowledgeRate: deliverRate, consumers };
}

describe('QueueLength', () => {
  it.each([
    [counts(30, 0), {}, { value: 30, active: true }],
    [counts(25, 5), {}, { value: 30, active: true }],
    [counts(25, 5), { inProgress: 'active' }, { value: 25, active: true }],
    [counts(25, 5), { inProgress: 'ignore' }, { value: 25, active: true }],
    [counts(0, 0), {}, { value: 0, active: false }],
    [counts(5, 0), { activation: 5 }, { value: 5, active: false }],
    [counts(6, 0), { activation: 5 }, { value: 6, active: true }],
    // Differs from KEDA: busy is active, below the activation value too.
    [counts(0, 1), { activation: 5 }, { value: 1, active: true }],
    [counts(0, 1), { activation: 5, inProgress: 'active' }, { value: 0, active: true }],
    [counts(0, 1), { activation: 5, inProgress: 'ignore' }, { value: 0, active: false }],
    [{ ready: 0, mayBeBusy: 1 }, { inProgress: 'active' }, { value: 0, active: true }],
  ] as const)('of %j with %j is %j', (measures, policy, expected) => {
    expect(judge(policy, measures)).toEqual(expected);
  });

  it('is active by ready messages alone while the unacknowledged are not known, and unknown without any', () => {
    expect(judge({}, { ready: 3 })).toEqual({ value: 3, active: true });
    expect(() => judge({}, { ready: 0 })).toThrow('has not told messages');
    expect(() => judge({ activation: 5 }, { ready: 3 })).toThrow('has not told messages');
  });

  it('takes consumers that may be busy for busy where nobody tells', () => {
    expect(judge({}, { ready: 0, consumers: 2, mayBeBusy: 2 })).toEqual({ value: 0, active: true });
    expect(judge({}, { ready: 0, consumers: 2, mayBeBusy: 0 })).toEqual({ value: 0, active: false });
  });

  it('asks for a consumer for each shard with work', () => {
    const shards = { ...counts(4, 0), shardsWithWork: 3 };
    expect(judge({ oneConsumerPerShard: true }, shards)).toEqual({ value: 60, active: true });
    expect(judge({ oneConsumerPerShard: true }, { ...counts(100, 0), shardsWithWork: 3 })).toEqual({ value: 100, active: true });
    expect(judge({}, shards)).toEqual({ value: 4, active: true });
  });
});

describe('the rate modes', () => {
  it.each([
    ['MessageRate', rates(7, 0), {}, { value: 7, active: true }],
    ['MessageRate', rates(0, 0, 3), {}, { value: 0, active: true }],
    ['MessageRate', rates(2, 0), { activation: 2 }, { value: 2, active: false }],
    ['DeliverGetRate', rates(0, 4), {}, { value: 4, active: true }],
    ['DeliverGetRate', rates(9, 0), {}, { value: 0, active: false }],
    ['DeliverGetRate', rates(9, 0, 0, 2), {}, { value: 0, active: true }],
    ['PublishedToDeliveredRatio', rates(6, 4), {}, { value: 1.5, active: true }],
    ['PublishedToDeliveredRatio', rates(0, 4), {}, { value: 0, active: false }],
    // Differ from KEDA, whose value is the activation value: nothing is made up.
    ['PublishedToDeliveredRatio', rates(6, 0, 9, 0, 0), { activation: 3 }, { value: 0, active: true }],
    ['PublishedToDeliveredRatio', rates(6, 0, 9, 0, 2), { activation: 3 }, { value: 20, active: true }],
    ['ExpectedQueueConsumptionTime', rates(0, 0), {}, { value: 0, active: false }],
    ['ExpectedQueueConsumptionTime', rates(3, 0.5), {}, { value: 0, active: false }],
    ['ExpectedQueueConsumptionTime', rates(0, 0, 10, 0, 0), { activation: 3 }, { value: 0, active: true }],
    ['ExpectedQueueConsumptionTime', rates(0, 0, 10, 0, 4), { activation: 3 }, { value: 20, active: true }],
    ['ExpectedQueueConsumptionTime', rates(6, 4, 20), {}, { value: 5.5, active: true }],
    ['ExpectedQueueConsumptionTime', rates(2, 4, 6), { activation: 1 }, { value: 1, active: false }],
  ] as const)('%s of %j with %j is %j', (mode, measures, policy, expected) => {
    expect(judge({ mode, ...policy }, measures)).toEqual(expected);
  });
});

describe('any decision', () => {
  const figure = fc.option(fc.oneof(fc.nat(), fc.double({ min: 0, max: 1e9, noNaN: true })), { nil: undefined });
  const measures = fc
    .record({
      ready: figure,
      unacknowledged: figure,
      messages: figure,
      consumers: figure,
      mayBeBusy: figure,
      publishRate: figure,
      deliverRate: figure,
      shardsWithWork: figure,
    })
    .map((all) => Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as Measures);
  const policy = fc.record({
    mode: fc.constantFrom(...MODES),
    target: fc.double({ min: 0.001, max: 1e6, noNaN: true }),
    activation: fc.double({ min: 0, max: 1e6, noNaN: true }),
    inProgress: fc.constantFrom(...IN_PROGRESS),
    oneConsumerPerShard: fc.boolean(),
  });

  it('is a finite value, not negative, with reasons; or an error, never NaN', () => {
    fc.assert(
      fc.property(policy, measures, (some, read) => {
        let decision;
        try {
          decision = decide(some, read, 'q');
        } catch (thrown) {
          expect(thrown).toMatchObject({ code: 'FIELD_MISSING' });
          return;
        }
        expect(Number.isFinite(decision.value)).toBe(true);
        expect(decision.value).toBeGreaterThanOrEqual(0);
        expect(decision.because.length).toBeGreaterThan(0);
      }),
    );
  });

  it('is active while a consumer holds a message, unless that is ignored', () => {
    fc.assert(
      fc.property(policy, measures, fc.nat({ max: 1000 }), (some, read, held) => {
        fc.pre(some.inProgress !== 'ignore');
        const busy = { ...read, ready: 0, messages: held + 1, unacknowledged: held + 1, publishRate: 0, deliverRate: 0 };
        delete (busy as { mayBeBusy?: number }).mayBeBusy;
        expect(decide(some, busy, 'q').active).toBe(true);
      }),
    );
  });

  it('never says inactive while what it needs to know is missing', () => {
    fc.assert(
      fc.property(policy, fc.nat(), (some, ready) => {
        fc.pre(some.inProgress !== 'ignore');
        let active = true;
        try {
          ({ active } = decide(some, { ready }, 'q'));
        } catch {
          return;
        }
        expect(active).toBe(true);
      }),
    );
  });
});

describe('figures of several queues', () => {
  it.each([
    ['sum', 6],
    ['avg', 1.5],
    ['max', 3],
  ] as const)('%s', (operation, messages) => {
    expect(combine(operation, [counts(0, 0), counts(1, 1), counts(0, 3), counts(1, 0)]).messages).toBe(messages);
  });

  it('keeps the fraction of an average, which KEDA cuts off', () => {
    expect(combine('avg', [counts(3, 0), counts(0, 0), counts(0, 0), counts(0, 0)]).messages).toBe(0.75);
  });

  it('takes the maximum of each figure by itself', () => {
    expect(combine('max', [counts(5, 0), counts(0, 4)])).toMatchObject({ ready: 5, unacknowledged: 4, messages: 5 });
  });

  it('lacks what one queue lacks, and is not less for the order of queues', () => {
    const part = fc.record({ ready: fc.nat(1000), messages: fc.option(fc.nat(1000), { nil: undefined }) });
    fc.assert(
      fc.property(fc.constantFrom(...OPERATIONS), fc.array(part, { minLength: 1, maxLength: 20 }), (operation, parts) => {
        const queues = parts.map(({ ready, messages }) => (messages === undefined ? { ready } : { ready, messages }));
        const combined = combine(operation, queues);
        expect(combined.messages === undefined).toBe(queues.some((queue) => !('messages' in queue)));
        expect(combine(operation, queues.toReversed()).ready).toBeCloseTo(combined.ready ?? NaN, 6);
      }),
    );
  });
});
