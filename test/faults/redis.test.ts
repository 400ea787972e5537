/**
 * Deployments that are killed, paused, failed over and resharded while messages wait: no reading of 0, none above the truth, no wake
 * lost; every reading and wake is counted and the counts are printed.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { Redis } from 'ioredis';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { startRedis, type RedisServer } from '../bed/redis.ts';
import { startRedisCluster } from '../bed/redisCluster.ts';
import { startSentinelSet } from '../bed/redisSentinel.ts';
import { until } from '../bed/until.ts';
import { slotOf } from '../../src/scalers/redis/topology/slots.ts';
import type { Trigger } from '../../src/scalers/triggers.ts';
import { createAsker, type Asker } from '../scalers/redis/ask.ts';
import { follow } from '../scalers/redis/follow.ts';

const LISTS = 100;
const WAITING = 5;
const SLEEPING = 100;
/** How soon the truth must be told again after the deployment has recovered. */
const RECOVERY_MS = 15_000;
const READ_EVERY_MS = 50;

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

interface Counted {
  right: number;
  held: number;
  unknown: number;
  readonly wrong: string[];
  /** When a reading last came that was right and not held, in ms of `performance.now()`. */
  rightAt: number;
}

interface Deployment {
  readonly base: Readonly<Record<string, string>>;
  push(key: string, ...values: string[]): Promise<unknown>;
}

/** Reads all the time what must stay as it is, until stopped. */
function readAll(
  triggers: readonly Trigger[],
  isTrue: (value: number) => boolean,
): { counted: Counted; readonly stop: () => Promise<void> } {
  const counted: Counted = { right: 0, held: 0, unknown: 0, wrong: [], rightAt: -Infinity };
  const stopping = new AbortController();
  const reading = (async () => {
    while (!stopping.signal.aborted) {
      const startedAt = performance.now();
      await Promise.all(
        triggers.map(async (trigger) => {
          try {
            const { reading: got, decision } = await trigger.read(AbortSignal.timeout(2_000));
            if (got.since !== undefined) counted.held++;
            else if (isTrue(decision.value)) {
              counted.right++;
              counted.rightAt = performance.now();
            } else counted.wrong.push(String(decision.value));
          } catch {
            counted.unknown++;
          }
        }),
      );
      await sleep(Math.max(0, READ_EVERY_MS - (performance.now() - startedAt)));
    }
  })();
  return {
    counted,
    stop: async () => {
      stopping.abort();
      await reading;
    },
  };
}

/** Lists that hold messages and are read all the time, and lists that sleep and are watched, through one event. */
async function through(name: string, asker: Asker, deployment: Deployment, event: () => Promise<void>): Promise<void> {
  const run = name.replaceAll(/\W+/g, '-');
  const full = Array.from({ length: LISTS }, (_, index) => `${run}:full:${index}`);
  const empty = Array.from({ length: SLEEPING }, (_, index) => `${run}:empty:${index}`);
  for (const key of full) await deployment.push(key, ...Array.from({ length: WAITING }, String));
  const triggers = full.map((listName) => asker.trigger({ ...deployment.base, listName }));
  const sleepers = empty.map((listName) => follow(asker, { ...deployment.base, listName }));
  await until('all sleepers have a first sample', () => sleepers.every(({ samples }) => samples.length > 0), {
    deadlineMs: 20_000,
  });
  const { counted, stop } = readAll(triggers, (value) => value === WAITING);
  await sleep(300);
  await event();
  const recoveredAt = performance.now();
  // Pushed as soon as somebody takes it, while the scaler may still be looking for the servers.
  for (const key of empty)
    await until(`${key} can be pushed to`, () => deployment.push(key, 'x').then(() => true), { deadlineMs: 20_000 });
  const pushedAt = performance.now();
  await until('all sleepers are awake', () => sleepers.every(({ samples }) => samples.at(-1)?.decision.active === true), {
    deadlineMs: RECOVERY_MS,
  }).catch(() => undefined);
  const wokenMs = performance.now() - pushedAt;
  const woken = sleepers.filter(({ samples }) => samples.at(-1)?.decision.active === true).length;
  await until('the truth is told again', () => counted.rightAt > recoveredAt, { deadlineMs: RECOVERY_MS });
  const toldMs = counted.rightAt - recoveredAt;
  await stop();
  const above = sleepers.flatMap(({ samples }) => samples).filter(({ decision }) => decision.value > 1).length;
  for (const sleeper of sleepers) sleeper.stop();
  const { right, held, unknown, wrong } = counted;
  process.stdout.write(
    `${name}: ${right} readings right, ${held} held, ${unknown} unknown, ${wrong.length} wrong; ${woken} of ${SLEEPING} woken, the last ${wokenMs.toFixed(0)} ms after its push; truth told at most ${Math.max(0, toldMs).toFixed(0)} ms after recovery\n`,
  );
  expect(wrong).toEqual([]);
  expect(above).toBe(0);
  expect(woken).toBe(SLEEPING);
  expect(right).toBeGreaterThan(0);
}

function open(): Asker {
  const asker = createAsker();
  closers.push(() => asker.close());
  return asker;
}

describe('a single server', () => {
  it('is killed, stopped and paused, and comes back with its messages', async () => {
    const server = await startRedis({ persistent: true });
    closers.push(() => server.close());
    const asker = open();
    const deployment: Deployment = {
      base: { scaler: 'redis', address: `127.0.0.1:${server.port}` },
      push: (key, ...values) => server.call('RPUSH', key, ...values),
    };
    await through('a killed server', asker, deployment, async () => {
      await server.kill();
      await sleep(1_000);
      await server.start();
    });
    await through('a stopped server', asker, deployment, async () => {
      await server.stop();
      await sleep(1_000);
      await server.start();
    });
    await through('a paused server', asker, deployment, async () => {
      server.pause();
      await sleep(3_000);
      server.resume();
    });
    await through('cut connections', asker, deployment, async () => {
      for (let cut = 0; cut < 10; cut++) {
        await server.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
        await sleep(50);
      }
    });
  });
});

describe('under Sentinel', () => {
  it('the primary is killed, paused and failed over by hand', async () => {
    const set = await startSentinelSet();
    closers.push(() => set.close());
    const asker = open();
    const push = async (key: string, ...values: string[]): Promise<unknown> => {
      const primary = await set.primary();
      const done = await primary.call('RPUSH', key, ...values);
      return done;
    };
    const deployment: Deployment = {
      base: {
        scaler: 'redis-sentinel',
        addresses: set.sentinels.map(({ host, port }) => `${host}:${port}`).join(','),
        sentinelMaster: set.masterName,
      },
      push,
    };
    const replicated = async (): Promise<RedisServer> => {
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
    };
    await through('a killed primary', asker, deployment, async () => {
      const primary = await replicated();
      await primary.kill();
      await set.failedOver(primary);
      await primary.start();
    });
    await sleep(5_000);
    await through('a failover by hand', asker, deployment, async () => {
      const primary = await replicated();
      await until(
        'a sentinel agrees',
        async () => (await set.sentinels[0]?.call('SENTINEL', 'FAILOVER', set.masterName)) === 'OK',
        { deadlineMs: 20_000, everyMs: 500 },
      );
      await set.failedOver(primary);
    });
    await sleep(5_000);
    await through('a paused primary that wakes', asker, deployment, async () => {
      const primary = await replicated();
      primary.pause();
      await set.failedOver(primary);
      primary.resume();
    });
  });

  it('a stale primary that wakes is never believed', async () => {
    const set = await startSentinelSet();
    closers.push(() => set.close());
    const asker = open();
    const old = await set.primary();
    await old.call('RPUSH', 'drained', ...Array.from({ length: 50 }, String));
    await old.call('RPUSH', 'filled', 'x');
    await old.call('WAIT', 2, 5_000);
    const base = {
      scaler: 'redis-sentinel',
      addresses: set.sentinels.map(({ host, port }) => `${host}:${port}`).join(','),
      sentinelMaster: set.masterName,
    };
    const triggers = ['drained', 'filled'].map((listName) => asker.trigger({ ...base, listName, staleAfter: '0s' }));
    for (const trigger of triggers) await trigger.read(AbortSignal.timeout(2_000));
    old.pause();
    const next = await set.failedOver(old);
    // Now the old one would tell 50 where there is 1, and 1 where there are 50.
    await next.call('LTRIM', 'drained', 0, 0);
    await next.call('RPUSH', 'filled', ...Array.from({ length: 49 }, String));
    await sleep(500);
    const values = { drained: new Set<number>(), filled: new Set<number>() };
    const endsAt = performance.now() + 6_000;
    let resumed = false;
    while (performance.now() < endsAt) {
      if (!resumed && performance.now() > endsAt - 4_000) {
        old.resume();
        resumed = true;
      }
      await Promise.all(
        triggers.map(async (trigger, index) => {
          const sample = await trigger.read(AbortSignal.timeout(1_000)).catch(() => undefined);
          if (sample !== undefined) values[index === 0 ? 'drained' : 'filled'].add(sample.decision.value);
        }),
      );
      await sleep(20);
    }
    expect(values).toEqual({ drained: new Set([1]), filled: new Set([50]) });
  });
});

describe('in a cluster', () => {
  it('a primary is killed and paused, and slots move to another', async () => {
    const cluster = await startRedisCluster();
    closers.push(() => cluster.close());
    const client = new Redis.Cluster(
      cluster.nodes.map(({ host, port }) => ({ host, port })),
      { redisOptions: { protocol: 2 } },
    );
    client.on('error', () => undefined);
    closers.push(async () => {
      client.disconnect();
      await setImmediate();
    });
    const asker = open();
    const deployment: Deployment = {
      base: { scaler: 'redis-cluster', addresses: cluster.addresses },
      push: (key, ...values) => client.rpush(key, ...values),
    };
    const replicated = async (): Promise<void> => {
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
    };
    const takenOver = (from: RedisServer, slot: number): Promise<boolean> =>
      until('a replica takes over', async () => (await cluster.ownerOf(slot)).port !== from.port, { deadlineMs: 30_000 });

    await through('a killed primary of three', asker, deployment, async () => {
      await replicated();
      const primary = await cluster.ownerOf(0);
      await primary.kill();
      await takenOver(primary, 0);
      await primary.start();
    });
    await through('a paused primary of three that wakes', asker, deployment, async () => {
      await replicated();
      const primary = await cluster.ownerOf(8_000);
      primary.pause();
      await takenOver(primary, 8_000);
      primary.resume();
    });
    await through('a failover by hand in a cluster', asker, deployment, async () => {
      await replicated();
      const primary = await cluster.ownerOf(16_000);
      for (const node of cluster.nodes) {
        const [role, , masterPort] = (await node.call('ROLE')) as [string, string, number];
        if (role === 'slave' && masterPort === primary.port) await node.call('CLUSTER', 'FAILOVER');
      }
      await takenOver(primary, 16_000);
    });
    await through('a reshard', asker, deployment, async () => {
      await replicated();
      const from = await cluster.ownerOf(0);
      const to = await cluster.ownerOf(16_000);
      const [fromId, toId] = [String(await from.call('CLUSTER', 'MYID')), String(await to.call('CLUSTER', 'MYID'))];
      const slots = new Set<number>();
      for (let index = 0; index < LISTS; index++)
        for (const kind of ['full', 'empty']) slots.add(slotOf(`a-reshard:${kind}:${index}`));
      for (const slot of slots) {
        if ((await cluster.ownerOf(slot)).port !== from.port) continue;
        await to.call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', fromId);
        await from.call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', toId);
        for (const key of (await from.call('CLUSTER', 'GETKEYSINSLOT', slot, 100)) as string[])
          await from.call('MIGRATE', '127.0.0.1', to.port, key, 0, 5_000);
        for (const node of [to, from]) await node.call('CLUSTER', 'SETSLOT', slot, 'NODE', toId);
      }
    });
  });
});

describe('a cluster’s primary that sleeps through a failover', () => {
  it('is never believed when it wakes', async () => {
    const cluster = await startRedisCluster();
    closers.push(() => cluster.close());
    const asker = open();
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
    const next = await until(
      'a replica takes over',
      async () => {
        const owner = await cluster.ownerOf(slot);
        return owner.port === old.port ? undefined : owner;
      },
      { deadlineMs: 30_000 },
    );
    await next.call('LTRIM', drained, 0, 0);
    await next.call('RPUSH', filled, ...Array.from({ length: 49 }, String));
    const values = [new Set<number>(), new Set<number>()];
    const endsAt = performance.now() + 6_000;
    let resumed = false;
    while (performance.now() < endsAt) {
      if (!resumed && performance.now() > endsAt - 4_000) {
        old.resume();
        resumed = true;
      }
      await Promise.all(
        triggers.map(async (trigger, index) => {
          const sample = await trigger.read(AbortSignal.timeout(1_000)).catch(() => undefined);
          if (sample !== undefined) values[index]?.add(sample.decision.value);
        }),
      );
      await sleep(20);
    }
    expect(values).toEqual([new Set([1]), new Set([50])]);
  });
});

describe('ten thousand pushes', () => {
  it('to sleeping lists wake every one of them, while connections are cut', async () => {
    const server = await startRedis({ persistent: true });
    closers.push(() => server.close());
    const asker = open();
    const lists = 10_000;
    const client = new Redis(server.url, { protocol: 2 });
    closers.push(async () => {
      client.disconnect();
      await setImmediate();
    });
    const sleepers = Array.from({ length: lists }, (_, index) =>
      follow(asker, { scaler: 'redis', address: `127.0.0.1:${server.port}`, listName: `q:${index}` }),
    );
    await until('all sleep', () => sleepers.every(({ samples }) => samples.at(-1)?.decision.active === false), {
      deadlineMs: 60_000,
      everyMs: 100,
    });
    const startedAt = performance.now();
    for (let index = 0; index < lists; index++) {
      await client.rpush(`q:${index}`, 'x');
      if (index % 1_000 === 500) await server.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    }
    const pushedAt = performance.now();
    const awake = (): number => sleepers.filter(({ samples }) => samples.at(-1)?.decision.active === true).length;
    await until('all are awake', () => awake() === lists, { deadlineMs: 20_000, everyMs: 50 }).catch(() => undefined);
    process.stdout.write(
      `${awake()} of ${lists} sleeping lists woken; pushed within ${(pushedAt - startedAt).toFixed(0)} ms, the last awake ${(performance.now() - pushedAt).toFixed(0)} ms later\n`,
    );
    expect(awake()).toBe(lists);
    for (const sleeper of sleepers) sleeper.stop();
  });
});
