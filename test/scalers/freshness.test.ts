import { expect, test } from 'vitest';
import { array, assert, integer, property } from 'fast-check';
import { MOST_ROUNDS, noteAsk, ROUND_MS, roundsApart, type Asks } from '../../src/scalers/freshness.ts';

function asksAt(...times: readonly number[]): Asks {
  const asks: Asks = { at: -Infinity, intervalMs: 0 };
  for (const time of times) noteAsk(asks, time);
  return asks;
}

/** Asks every so often for a while, each time twice as KEDA does. */
function regularly(everyMs: number): { readonly asks: Asks; readonly now: number } {
  const times = Array.from({ length: 20 }, (_, index) => [index * everyMs, index * everyMs + 3]).flat();
  return { asks: asksAt(...times), now: times.at(-1) ?? 0 };
}

test('a reading is at most about half as old as the time between two asks, within its bounds', () => {
  const seconds = [1, 2, 5, 10, 15, 30];
  expect(
    seconds.map((each) => {
      const { asks, now } = regularly(each * 1_000);
      return roundsApart(asks, now);
    }),
  ).toEqual([1, 1, 2, 4, 4, 4]);
});

test('one ask alone makes it read often at first, and less and less often while no other comes', () => {
  expect([1, 2, 3, 6, 60].map((second) => roundsApart(asksAt(0), second * ROUND_MS))).toEqual([1, 1, 2, 4, 4]);
});

test('a faster pace is taken up within a few asks, and one pause changes little', () => {
  const slow = Array.from({ length: 10 }, (_, index) => index * 30_000);
  const from = slow.at(-1) ?? 0;
  const fast = Array.from({ length: 10 }, (_, index) => from + (index + 1) * 1_000);
  const asks = asksAt(...slow, ...fast);
  expect(roundsApart(asks, fast.at(-1) ?? 0)).toBe(1);
  noteAsk(asks, (fast.at(-1) ?? 0) + 300_000);
  expect(roundsApart(asks, asks.at)).toBeLessThanOrEqual(2);
});

test('whatever the asks, rounds nest: one pace is a multiple of each faster one', () => {
  assert(
    property(array(integer({ min: 0, max: 400_000 }), { minLength: 1 }), integer({ min: 0, max: 400_000 }), (gaps, wait) => {
      let now = 0;
      const asks = asksAt(...gaps.map((gap) => (now += gap)));
      const apart = roundsApart(asks, now + wait);
      expect([1, 2, MOST_ROUNDS]).toContain(apart);
    }),
  );
});
