import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { BrokerError, toQueueScalerError } from '../../../src/errors.ts';
import { createEndpoints } from '../../../src/scalers/net/failover.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

it('a refused login is tried again after growing pauses, and by new endpoints at once', async () => {
  const refused = new BrokerError('BROKER_REFUSED', 'the login is refused');
  const times: number[] = [];
  let right = false;
  const run = (): Promise<string> => {
    times.push(performance.now());
    return right ? Promise.resolve('welcome') : Promise.reject(refused);
  };
  // Each pause is its longest.
  const endpoints = createEndpoints(['a', 'b'], () => 1);
  const startedAt = performance.now();
  const ask = (): Promise<unknown> => endpoints.attempt(run, toQueueScalerError).catch((error: unknown) => error);
  for (let ms = 0; ms < 60_000; ms += 100, vi.advanceTimersByTime(100)) expect(await ask()).toBe(refused);
  expect(times.map((time) => Math.round((time - startedAt) / 1_000))).toEqual([0, 1, 3, 7, 15, 31]);

  right = true;
  expect(await createEndpoints(['a', 'b']).attempt(run, toQueueScalerError)).toBe('welcome');
  vi.advanceTimersByTime(30_000);
  expect(await ask()).toBe('welcome');
  right = false;
  await ask();
  vi.advanceTimersByTime(1_100);
  const before = times.length;
  await ask();
  expect(times).toHaveLength(before + 1);
});
