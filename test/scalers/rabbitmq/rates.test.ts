import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRateTracker } from '../../../src/scalers/rabbitmq/read/rates.ts';
import type { Counters } from '../../../src/scalers/rabbitmq/management/queueStats.ts';

const WINDOW_MS = 30_000;

function counters(published: number, own = 0): Counters {
  return { published, delivered: 0, acknowledged: 0, rates: { published: own, delivered: 0, acknowledged: 0 } };
}

describe('a rate', () => {
  it('is the broker’s own until the counters have been seen long enough, and then theirs', () => {
    const tracker = createRateTracker();
    const at = (ms: number, published: number, own = 0) =>
      tracker.observe('q', counters(published, own), ms, WINDOW_MS).published;
    expect(at(0, 100, 3)).toBe(3);
    expect(at(5_000, 150, 667_538)).toBe(10);
    expect(at(10_000, 150)).toBe(5);
  });

  it('is taken over the window, not over all time', () => {
    const tracker = createRateTracker();
    let rate = NaN;
    // 10 a second for a minute, then nothing for 40 s.
    for (let ms = 0; ms <= 100_000; ms += 5_000) {
      rate = tracker.observe('q', counters(Math.min(ms, 60_000) / 100), ms, WINDOW_MS).published;
      if (ms === 60_000) expect(rate).toBe(10);
    }
    expect(rate).toBe(0);
  });

  it('is never one that no queue can have: 667 538 a second is refused, from samples and from counters', () => {
    const first = createRateTracker();
    expect(() => first.observe('q', counters(0, 667_538), 0, WINDOW_MS)).toThrow('cannot be true');
    const tracker = createRateTracker();
    tracker.observe('q', counters(0), 0, WINDOW_MS);
    expect(tracker.observe('q', counters(50), 5_000, WINDOW_MS).published).toBe(10);
    expect(tracker.observe('q', counters(5_000_000), 10_000, WINDOW_MS).published).toBe(10);
    expect(tracker.observe('q', counters(150), 15_000, WINDOW_MS).published).toBe(10);
  });

  it('is unknown after the counters began anew, until it can be taken again', () => {
    const tracker = createRateTracker();
    tracker.observe('q', counters(1_000), 0, WINDOW_MS);
    tracker.observe('q', counters(1_100), 5_000, WINDOW_MS);
    expect(() => tracker.observe('q', counters(20), 10_000, WINDOW_MS)).toThrow('began anew');
    expect(tracker.observe('q', counters(70), 15_000, WINDOW_MS).published).toBe(10);
  });

  it('lies between none and what a queue can carry, whatever the counters do', () => {
    const step = fc.record({ ms: fc.integer({ min: 0, max: 60_000 }), published: fc.nat() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 50 }), (steps) => {
        const tracker = createRateTracker();
        let at = 0;
        for (const { ms, published } of steps) {
          at += ms;
          try {
            const rate = tracker.observe('q', counters(published), at, WINDOW_MS);
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
