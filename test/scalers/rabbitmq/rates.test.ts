import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { QueueError } from '../../../src/errors.ts';
import { newTrack, observeRates, type Rates } from '../../../src/scalers/rabbitmq/read/rates.ts';
import type { Counters } from '../../../src/scalers/rabbitmq/management/queueStats.ts';

const WINDOW_MS = 30_000;

function counters(published: number, own = 0): Counters {
  return { published, delivered: 0, acknowledged: 0, rates: { published: own, delivered: 0, acknowledged: 0 } };
}

/** Observes one queue, and remembers its track as the reader of a question does. */
function createTracker(): { observe(counters: Counters | 'none' | QueueError, at: number): Rates } {
  let track = newTrack(WINDOW_MS);
  return {
    observe(counters, at) {
      const observed = observeRates('q', track, counters, at);
      track = observed.track;
      if (observed.rates instanceof Error) throw observed.rates;
      return observed.rates;
    },
  };
}

describe('a rate', () => {
  it('is the broker’s own until the counters have been seen long enough, and then theirs', () => {
    const tracker = createTracker();
    const at = (ms: number, published: number, own = 0) => tracker.observe(counters(published, own), ms).published;
    expect(at(0, 100, 3)).toBe(3);
    expect(at(5_000, 150, 667_538)).toBe(10);
    expect(at(10_000, 150)).toBe(5);
  });

  it('is taken over the window, not over all time', () => {
    const tracker = createTracker();
    let rate = NaN;
    // 10 a second for a minute, then nothing for 40 s.
    for (let ms = 0; ms <= 100_000; ms += 5_000) {
      rate = tracker.observe(counters(Math.min(ms, 60_000) / 100), ms).published;
      if (ms === 60_000) expect(rate).toBe(10);
    }
    expect(rate).toBe(0);
  });

  it('is never one that no queue can have: 667 538 a second is refused, from samples and from counters', () => {
    const first = createTracker();
    expect(() => first.observe(counters(0, 667_538), 0)).toThrow('cannot be true');
    const tracker = createTracker();
    tracker.observe(counters(0), 0);
    expect(tracker.observe(counters(50), 5_000).published).toBe(10);
    expect(tracker.observe(counters(5_000_000), 10_000).published).toBe(10);
    expect(tracker.observe(counters(150), 15_000).published).toBe(10);
  });

  it('is unknown after the counters began anew, until it can be taken again', () => {
    const tracker = createTracker();
    tracker.observe(counters(1_000), 0);
    tracker.observe(counters(1_100), 5_000);
    expect(() => tracker.observe(counters(20), 10_000)).toThrow('began anew');
    expect(tracker.observe(counters(70), 15_000).published).toBe(10);
  });

  it('is none while nothing was ever counted, and the broker’s own when the first is', () => {
    const tracker = createTracker();
    expect(tracker.observe('none', 0).published).toBe(0);
    expect(tracker.observe('none', 5_000).published).toBe(0);
    expect(tracker.observe(counters(50, 10), 10_000).published).toBe(10);
    expect(tracker.observe(counters(100, 99), 15_000).published).toBe(10);
  });

  it.each([new QueueError('FIELD_MISSING', 'they are missing'), 'none' as const])(
    'is unknown while counters that were there are missing (%s), and takes their return for no messages',
    (missing) => {
      const tracker = createTracker();
      tracker.observe(counters(28_000), 0);
      tracker.observe(counters(28_000), 5_000);
      expect(() => tracker.observe(missing, 10_000)).toThrow('missing');
      expect(() => tracker.observe(missing, 20_000)).toThrow('missing');
      expect(() => tracker.observe(counters(28_000, 922), 25_000)).toThrow('began anew');
      expect(tracker.observe(counters(28_050), 30_000).published).toBe(10);
    },
  );

  it('is unknown while counters may be missing, and takes what comes then for no messages', () => {
    const tracker = createTracker();
    expect(() => tracker.observe(new QueueError('FIELD_MISSING', 'they are missing'), 0)).toThrow('missing');
    expect(() => tracker.observe(counters(28_000, 922), 5_000)).toThrow('began anew');
    expect(tracker.observe(counters(28_050), 10_000).published).toBe(10);
  });

  it('is none again once the counters of a well broker have been gone for long, as after its restart', () => {
    const tracker = createTracker();
    tracker.observe(counters(28_000), 0);
    expect(() => tracker.observe('none', 5_000)).toThrow('missing');
    expect(() => tracker.observe('none', 15_000)).toThrow('missing');
    expect(tracker.observe('none', 20_000).published).toBe(0);
  });

  it('lies between none and what a queue can carry, whatever the counters do', () => {
    const step = fc.record({ ms: fc.integer({ min: 0, max: 60_000 }), published: fc.nat() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 50 }), (steps) => {
        const tracker = createTracker();
        let at = 0;
        for (const { ms, published } of steps) {
          at += ms;
          try {
            const rate = tracker.observe(counters(published), at);
            expect(rate.published).toBeGreaterThanOrEqual(0);
            expect(rate.published).toBeLessThanOrEqual(100_000);
          } catch (thrown) {
            expect(thrown).toHaveProperty('code');
          }
        }
      }),
    );
  });
});
