/** A primary under Sentinel that is killed, paused and failed over while messages wait, and one that wakes when another has taken over. */
import { afterAll, describe, expect, it } from 'vitest';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import type { RedisServer } from '../../bed/redis.ts';
import { startSentinelSet, type SentinelSet } from '../../bed/redisSentinel.ts';
import { until } from '../../bed/until.ts';
import { closeAfterEach, keep, keepClient, openAsker, PUSH_OPTIONS } from './fixtures.ts';
import { through, valuesWhileWaking, type Total } from './course.ts';

closeAfterEach();

function baseOf(set: SentinelSet): Record<string, string> {
  const addresses = set.sentinels.map(({ host, port }) => `${host}:${port}`).join(',');
  return { scaler: 'redis-sentinel', addresses, sentinelMaster: set.masterName };
}

/** The primary, once both replicas have all that it has and the sentinels could fail over again. */
async function replicated(set: SentinelSet): Promise<RedisServer> {
  const primary = await set.primary();
  await until(
    'both replicas have all',
    async () => {
      const role = (await primary.call('ROLE')) as [string, number, [string, string, string][]];
      return role[2].length === 2 && role[2].every(([, , offset]) => Number(offset) >= role[1] - 1_000);
    },
    { deadlineMs: 30_000 },
  );
  await sleep(200);
  return primary;
}

describe('under Sentinel', () => {
  const total: Total = { pushes: 0, woken: 0 };
  afterAll(() => {
    process.stdout.write(`under Sentinel, all in all: ${total.woken} of ${total.pushes} pushes to sleeping lists woke them\n`);
  });

  it('the primary is killed, failed over by hand and paused, and no reading is wrong and no wake lost', async () => {
    const set = keep(await startSentinelSet());
    const client = await keepClient(
      new Redis({
        ...PUSH_OPTIONS,
        sentinels: set.sentinels.map(({ host, port }) => ({ host, port })),
        name: set.masterName,
        sentinelRetryStrategy: () => 100,
      }),
    );
    const asker = openAsker();
    const settled = async (): Promise<void> => {
      await replicated(set);
    };
    const deployment = { base: baseOf(set), client, settled };
    await through(total, 'a killed primary', asker, deployment, async () => {
      const primary = await replicated(set);
      await primary.kill();
      await set.failedOver(primary);
      await primary.start();
    });
    await sleep(5_000);
    await through(total, 'a failover by hand', asker, deployment, async () => {
      const primary = await replicated(set);
      // A sentinel may begin and give up, as when it finds no replica good enough yet.
      await until(
        'a sentinel begins, and another is primary',
        async () => {
          const [leader] = set.sentinels;
          const [, port] = (await leader?.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', set.masterName)) as [string, string];
          if (Number(port) !== primary.port) return true;
          await leader?.call('SENTINEL', 'FAILOVER', set.masterName);
          return false;
        },
        { deadlineMs: 40_000, everyMs: 500 },
      );
    });
    await sleep(5_000);
    await through(total, 'a paused primary that wakes', asker, deployment, async () => {
      const primary = await replicated(set);
      primary.pause();
      await set.failedOver(primary);
      primary.resume();
    });
  });

  it('a stale primary that wakes is never believed', async () => {
    const set = keep(await startSentinelSet());
    const asker = openAsker();
    const old = await set.primary();
    await old.call('RPUSH', 'drained', ...Array.from({ length: 50 }, String));
    await old.call('RPUSH', 'filled', 'x');
    await old.call('WAIT', 2, 5_000);
    const triggers = ['drained', 'filled'].map((listName) => asker.trigger({ ...baseOf(set), listName, staleAfter: '0s' }));
    for (const trigger of triggers) await trigger.read(AbortSignal.timeout(2_000));
    old.pause();
    const next = await set.failedOver(old);
    // Now the old one would tell 50 where there is 1, and 1 where there are 50.
    await next.call('LTRIM', 'drained', 0, 0);
    await next.call('RPUSH', 'filled', ...Array.from({ length: 49 }, String));
    await sleep(500);
    const values = await valuesWhileWaking(triggers, () => {
      old.resume();
    });
    expect(values).toEqual([new Set([1]), new Set([50])]);
  });
});
