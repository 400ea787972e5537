/** Patterns of keys, what they leave out, and keys that are no queue under them. */
import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { matches } from '../../../src/scalers/redis/names.ts';
import { until } from '../../bed/until.ts';
import { faults, minimal } from './bound.ts';
import { redisBed } from './fixtures.ts';
import { follow } from './follow.ts';

const bed = redisBed();

function trigger(more: Readonly<Record<string, string>>): Record<string, string> {
  return { scaler: 'redis', address: bed.address, ...more };
}
const value = async (more: Readonly<Record<string, string>>): Promise<number> =>
  (await bed.asker.ask(trigger(more))).decision.value;

it('a pattern means to us what it means to the server', async () => {
  const client = new Redis({ port: bed.server.port, protocol: 2 });
  const words = ['a', 'b', 'c', '*', '?', '[', ']', '^', '-', '\\'];
  const word = fc.array(fc.constantFrom(...words), { minLength: 1, maxLength: 7 }).map((each) => each.join(''));
  try {
    await fc.assert(
      fc.asyncProperty(word, fc.uniqueArray(word, { minLength: 20, maxLength: 20 }), async (text, keys) => {
        await client.flushall();
        await client.mset(...keys.flatMap((key) => [key, '']));
        const found = await client.keys(text);
        expect(keys.filter((key) => matches({ text, glob: true }, key)).sort()).toEqual(found.sort());
      }),
      { numRuns: 400 },
    );
  } finally {
    client.disconnect();
  }
});

it('an escape in a class stands for one character, whatever the class has taken', () => {
  expect(['a', ']', 'aa'].map((key) => matches({ text: '[a\\]a', glob: true }, key))).toEqual([true, true, false]);
});

it('a pattern is compared byte by byte, as the server does', () => {
  expect(['?', '??', 'é', '[é]'].map((text) => matches({ text, glob: true }, 'é'))).toEqual([false, true, true, false]);
});

it('a pattern that would take exponential time takes none', () => {
  const started = performance.now();
  expect(matches({ text: 'a*'.repeat(1_000) + 'b', glob: true }, 'a'.repeat(10_000))).toBe(false);
  expect(performance.now() - started).toBeLessThan(2_000);
});

describe('what is left out', () => {
  it('is what exclude names, by name and by pattern, waiting or in progress', async () => {
    for (const key of ['jobs:a', 'jobs:b', 'jobs:a:dead', 'jobs:c:dead', 'held:a', 'held:dead'])
      await bed.server.call('RPUSH', key, 'x');
    expect(await value({ listName: 'jobs:*' })).toBe(4);
    expect(await value({ listName: 'jobs:*', exclude: '*:dead' })).toBe(2);
    expect(await value({ listName: 'jobs:*', exclude: '*:dead,jobs:b' })).toBe(1);
    expect(await value({ listName: 'jobs:*', processingListName: 'held:*', exclude: '*:dead' })).toBe(3);
    // Two triggers of one broker, one pattern.
    const read = async (exclude: string): Promise<number> =>
      (await bed.asker.trigger(trigger({ listName: 'jobs:*', exclude })).read(AbortSignal.timeout(2_000))).decision.value;
    expect(await Promise.all([read(''), read('*:dead')])).toEqual([4, 2]);
    // A key that is named counts.
    expect(await value({ listName: 'jobs:*,jobs:a:dead', exclude: '*:dead' })).toBe(3);
  });

  it('is a fault where there is no pattern', () => {
    const plain = { ...minimal('redis'), address: 'a:1', exclude: 'x' };
    expect(faults(plain)).toEqual(['exclude']);
    expect(faults({ ...plain, listName: 'q*' })).toEqual([]);
  });

  it('wakes nobody', async () => {
    const { samples, stop } = follow(bed.asker, trigger({ listName: 'new:*', exclude: '*:dead' }));
    await until('the first sample', () => samples.length > 0);
    await bed.server.call('RPUSH', 'new:dead', 'x');
    await bed.server.call('RPUSH', 'new:a', 'x');
    await until('awake', () => samples.at(-1)?.decision.active === true);
    expect(samples.every(({ decision }) => decision.value <= 1)).toBe(true);
    stop();
  });
});

describe('a key without a length', () => {
  it('is left out of what a pattern finds, and told of', async () => {
    for (const key of ['jobs:a', 'jobs:b']) await bed.server.call('RPUSH', key, 'x');
    await bed.server.call('SET', 'jobs:lock', 'x');
    for (let stray = 0; stray < 5; stray++) await bed.server.call('XADD', `jobs:events:${stray}`, '*', 'n', 1);
    const sample = await bed.asker.ask(trigger({ listName: 'jobs:*' }));
    expect(sample.decision.value).toBe(2);
    expect(sample.reading.queues.map(({ queue }) => queue).sort()).toEqual(['jobs:a', 'jobs:b']);
    expect(sample.reading.notes?.join()).toMatch(/left out, as they have no length: jobs:.*, … \(6 in all\)/);
  });

  it('does not keep a watched pattern from waking, and counts once it is a list', async () => {
    await bed.server.call('SET', 'mixed:lock', 'x');
    const { samples, troubles, stop } = follow(bed.asker, trigger({ listName: 'mixed:*' }));
    await until('the first sample', () => samples.at(-1)?.decision.value === 0);
    await bed.server.call('DEL', 'mixed:lock');
    await bed.server.call('RPUSH', 'mixed:lock', 'x');
    await until('awake', () => samples.at(-1)?.decision.value === 1);
    expect(troubles).toEqual([]);
    stop();
  });

  it('is an error where it is named, also beside a pattern that finds it', async () => {
    await bed.server.call('SET', 'jobs:lock', 'x');
    expect(await bed.asker.refusal(trigger({ listName: 'jobs:*,jobs:lock' }))).toMatchObject({ code: 'QUEUE_WRONG_TYPE' });
  });

  it('is not what a required match asks for', async () => {
    await bed.server.call('SET', 'jobs:lock', 'x');
    const error = await bed.asker.refusal(trigger({ listName: 'jobs:*', requireMatch: 'true' }));
    expect(error).toMatchObject({ code: 'QUEUE_MISSING' });
  });
});
