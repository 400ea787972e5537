import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createGathering, GATHER_MS } from '../../../src/scalers/rabbitmq/gathering.ts';

let closing: AbortController;

beforeEach(() => {
  vi.useFakeTimers();
  closing = new AbortController();
});
afterEach(() => {
  closing.abort();
  vi.useRealTimers();
});

/** When sweeps of so many questions each, one every 20 ms, may begin. */
async function begins(sweeps: readonly number[], everyMs = 20): Promise<number[]> {
  const gathered = createGathering(closing.signal);
  const start = performance.now();
  const times: Promise<number>[] = [];
  for (const questions of sweeps) {
    times.push(gathered(questions).then(() => performance.now() - start));
    await vi.advanceTimersByTimeAsync(everyMs);
  }
  await vi.advanceTimersByTimeAsync(1_000);
  return Promise.all(times);
}

it('never holds back a sweep that comes alone, nor small ones', async () => {
  expect(await begins([1000])).toEqual([0]);
  expect(await begins([1000, 1000, 1000], 500)).toEqual([0, 500, 1000]);
  expect(await begins([3, 3, 3])).toEqual([0, 20, 40]);
});

it('gathers sweeps in a row, none for longer than it says', async () => {
  const times = await begins(Array.from({ length: 20 }, () => 50));
  expect(new Set(times).size).toBeLessThanOrEqual(6);
  for (const [index, at] of times.entries()) expect(at - index * 20).toBeLessThanOrEqual(GATHER_MS);
});

it('holds nothing back any more once the conversation is closed', async () => {
  const gathered = createGathering(closing.signal);
  await gathered(50);
  const held = gathered(50);
  closing.abort();
  await expect(held).resolves.toBeUndefined();
});
