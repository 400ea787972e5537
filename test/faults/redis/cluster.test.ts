/** A cluster whose primaries are killed, paused, failed over and relieved of slots while messages wait. */
import { afterAll, describe, expect, it } from 'vitest';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import type { RedisServer } from '../../bed/redis.ts';
import { startRedisCluster, type RedisCluster } from '../../bed/redisCluster.ts';
import { until } from '../../bed/until.ts';
import { slotOf } from '../../../src/scalers/redis/topology/slots.ts';
import { closeAfterEach, keep, keepClient, openAsker, PUSH_OPTIONS } from './fixtures.ts';
import { listsOf, through, valuesWhileWaking, type Total } from './course.ts';

closeAfterEach();

async function replicated(cluster: RedisCluster): Promise<void> {
  await cluster.settled();
  await until(
    'every replica is in step',
    async () => {
      const roles = (await Promise.all(cluster.nodes.map((node) => node.call('ROLE')))) as unknown[][];
      const replicas = roles.filter(([role]) => role === 'slave');
      return replicas.length === 3 && replicas.every((role) => role[3] === 'connected');
    },
    { deadlineMs: 30_000 },
  );
  await sleep(300);
}

/** The node that serves the slot when it is no longer the given one. */
function takenOver(cluster: RedisCluster, from: RedisServer, slot: number): Promise<RedisServer> {
  return until(
    'a replica takes over',
    async () => {
      const owner = await cluster.ownerOf(slot);
      return owner.port === from.port ? undefined : owner;
    },
    { deadlineMs: 30_000 },
  );
}

/** Moves slots with all their keys, as `redis-cli --cluster reshard` does. */
async function moveSlots(slots: Iterable<number>, from: RedisServer, to: RedisServer): Promise<void> {
  const [fromId, toId] = [String(await from.call('CLUSTER', 'MYID')), String(await to.call('CLUSTER', 'MYID'))];
  for (const slot of slots) {
    await to.call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', fromId);
    await from.call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', toId);
    for (const key of (await from.call('CLUSTER', 'GETKEYSINSLOT', slot, 100)) as string[])
      await from.call('MIGRATE', '127.0.0.1', to.port, key, 0, 5_000);
    for (const node of [to, from]) await node.call('CLUSTER', 'SETSLOT', slot, 'NODE', toId);
  }
}

describe('in a cluster', () => {
  const total: Total = { pushes: 0, woken: 0 };
  afterAll(() => {
    process.stdout.write(`in a cluster, all in all: ${total.woken} of ${total.pushes} pushes to sleeping lists woke them\n`);
  });

  it('a primary is killed, paused and failed over, and slots move, and no reading is wrong and no wake lost', async () => {
    const cluster = keep(await startRedisCluster());
    const client = await keepClient(
      new Redis.Cluster(
        cluster.nodes.map(({ host, port }) => ({ host, port })),
        { redisOptions: PUSH_OPTIONS, clusterRetryStrategy: () => 100, slotsRefreshInterval: 500 },
      ),
    );
    const asker = openAsker();
    const deployment = {
      base: { scaler: 'redis-cluster', addresses: cluster.addresses },
      client,
      settled: () => replicated(cluster),
    };
    await through(total, 'a killed primary of three', asker, deployment, async () => {
      await replicated(cluster);
      const primary = await cluster.ownerOf(0);
      await primary.kill();
      await takenOver(cluster, primary, 0);
      await primary.start();
    });
    await through(total, 'a paused primary of three that wakes', asker, deployment, async () => {
      await replicated(cluster);
      const primary = await cluster.ownerOf(8_000);
      primary.pause();
      await takenOver(cluster, primary, 8_000);
      primary.resume();
    });
    await through(total, 'a failover by hand in a cluster', asker, deployment, async () => {
      await replicated(cluster);
      const primary = await cluster.ownerOf(16_000);
      for (const node of cluster.nodes) {
        const [role, , masterPort] = (await node.call('ROLE')) as [string, string, number];
        if (role === 'slave' && masterPort === primary.port) await node.call('CLUSTER', 'FAILOVER');
      }
      await takenOver(cluster, primary, 16_000);
    });
    await through(total, 'a reshard', asker, deployment, async () => {
      await replicated(cluster);
      const from = await cluster.ownerOf(0);
      const to = await cluster.ownerOf(16_000);
      const { full, sleeping } = listsOf('a reshard');
      const slots = new Set<number>();
      for (const key of [...full, ...sleeping.slice(0, full.length)]) {
        const slot = slotOf(key);
        if ((await cluster.ownerOf(slot)).port === from.port) slots.add(slot);
      }
      await moveSlots(slots, from, to);
    });
  });

  it('a primary that sleeps through a failover is never believed when it wakes', async () => {
    const cluster = keep(await startRedisCluster());
    const asker = openAsker();
    const [drained, filled] = ['{stale}drained', '{stale}filled'];
    const slot = slotOf(drained);
    const old = await cluster.ownerOf(slot);
    await old.call('RPUSH', drained, ...Array.from({ length: 50 }, String));
    await old.call('RPUSH', filled, 'x');
    await old.call('WAIT', 1, 5_000);
    const base = { scaler: 'redis-cluster', addresses: cluster.addresses, staleAfter: '0s' };
    const triggers = [drained, filled].map((listName) => asker.trigger({ ...base, listName }));
    for (const trigger of triggers) await trigger.read(AbortSignal.timeout(2_000));
    old.pause();
    const next = await takenOver(cluster, old, slot);
    await next.call('LTRIM', drained, 0, 0);
    await next.call('RPUSH', filled, ...Array.from({ length: 49 }, String));
    const values = await valuesWhileWaking(triggers, () => {
      old.resume();
    });
    expect(values).toEqual([new Set([1]), new Set([50])]);
  });
});
