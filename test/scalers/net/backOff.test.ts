import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createBackOff } from '../../../src/scalers/net/backOff.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

it.each([
  ['whole', 1, [100, 200, 400, 800, 1_000, 1_000]],
  ['half', 0, [50, 100, 200, 400, 500, 500]],
])('doubles the pause up to the longest, of which the wait is the %s at the most jitter', (_name, random, waits) => {
  const backOff = createBackOff(100, 1_000, () => random);
  expect(backOff.retryAt).toBeLessThan(performance.now());
  for (const wait of waits) {
    backOff.failed();
    expect(backOff.retryAt - performance.now()).toBeCloseTo(wait);
    vi.advanceTimersByTime(2_000);
  }
  backOff.succeeded();
  expect(backOff.retryAt).toBeLessThan(performance.now());
  backOff.failed();
  expect(backOff.retryAt - performance.now()).toBeCloseTo(waits[0] ?? NaN);
});
