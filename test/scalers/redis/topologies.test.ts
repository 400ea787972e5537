import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Redis } from 'ioredis';
import { startRedis } from '../../bed/redis.ts';
import { startRedisCluster, type RedisCluster } from '../../bed/redisCluster.ts';
import { startSentinelSet, type SentinelSet } from '../../bed/redisSentinel.ts';
import { startForwarder } from '../../bed/forwarder.ts';
import { freePort } from '../../bed/ports.ts';
import { until } from '../../bed/until.ts';
import { slotOf } from '../../../src/scalers/redis/topology/slots.ts';
import { createAsker, type Asker } from './ask.ts';
import { follow } from './follow.ts';

let asker: Asker;
beforeAll(() => {
  asker = createAsker();
});
afterAll(() => asker.close());

/** The steps of KEDA's own end-to-end tests of lists and streams, from what Redis holds to what is told of it. */
async function walkThrough(
  base: Readonly<Record<string, string>>,
  family: string,
  call: (command: string, ...args: (string | number)[]) => Promise<unknown>,
): Promise<void> {
  const told = async (metadata: Readonly<Record<string, string>>): Promise<[number, boolean]> => {
    const { decision } = await asker.ask({ ...base, ...metadata });
    return [decision.value, decision.active];
  };
  const numbers = (count: number): string[] => Array.from({ length: count }, String);
  const list = { scaler: family, listName: 'walk', listLength: '5', activationListLength: '10' };
  await call('RPUSH', 'walk', ...numbers(5));
  expect(await told(list)).toEqual([5, false]);
  await call('RPUSH', 'walk', ...numbers(395));
  expect(await told(list)).toEqual([400, true]);
  await call('DEL', 'walk');
  expect(await told(list)).toEqual([0, false]);

  const add = async (count: number): Promise<void> => {
    for (let index = 0; index < count; index++) await call('XADD', 'steps', '*', 'n', index);
  };
  const stream = { scaler: `${family}-streams`, stream: 'steps' };
  const lag = { ...stream, consumerGroup: 'g', lagCount: '12', activationLagCount: '10' };
  const pending = { ...stream, consumerGroup: 'g', pendingEntriesCount: '10' };
  await call('XGROUP', 'CREATE', 'steps', 'g', '$', 'MKSTREAM');
  await add(10);
  expect([await told(lag), await told(pending), await told(stream)]).toEqual([
    [10, false],
    // Different from KEDA: unread entries wake, as nobody else would read them.
    [0, true],
    [10, true],
  ]);
  await add(1);
  expect(await told(lag)).toEqual([11, true]);
  await add(89);
  expect([await told(lag), await told({ ...stream, streamLength: '10' })]).toEqual([
    [100, true],
    [100, true],
  ]);
  const [[, entries]] = (await call('XREADGROUP', 'GROUP', 'g', 'c', 'STREAMS', 'steps', '>')) as [[string, [string][]]];
  // Different from KEDA: what is pending is work, also where the lag is counted.
  expect([await told(lag), await told(pending)]).toEqual([
    [100, true],
    [100, true],
  ]);
  await call('XACK', 'steps', 'g', ...entries.map(([id]) => id));
  expect([await told(lag), await told(pending)]).toEqual([
    [0, false],
    [0, false],
  ]);
}

it('alone, lists and streams are told of as KEDA does, but for the differences', async () => {
  const server = await startRedis();
  try {
    await walkThrough({ address: `127.0.0.1:${server.port}` }, 'redis', (command, ...args) => server.call(command, ...args));
  } finally {
    await server.close();
  }
});

describe('under Sentinel', () => {
  let set: SentinelSet;
  let base: Record<string, string>;
  beforeAll(async () => {
    set = await startSentinelSet({ password: 'data', sentinelPassword: 'watch' });
    base = {
      scaler: 'redis-sentinel',
      addresses: set.sentinels.map(({ host, port }) => `${host}:${port}`).join(','),
      sentinelMaster: set.masterName,
      sentinelPassword: 'watch',
      password: 'data',
    };
  });
  afterAll(() => set.close());

  it('the primary is read, with the sentinels’ own password', async () => {
    const primary = await set.primary();
    await primary.call('RPUSH', 'q', 'a', 'b');
    expect((await asker.ask({ ...base, listName: 'q' })).decision.value).toBe(2);
    const wrong = await asker.refusal({ ...base, sentinelPassword: 'other', listName: 'q' });
    expect(wrong).toMatchObject({ code: 'BROKER_REFUSED' });
    expect(await asker.refusal({ ...base, sentinelMaster: 'nobody', listName: 'q' })).toMatchObject({
      code: 'BROKER_REPLY_INVALID',
    });
  });

  it('lists and streams are told of as KEDA does, but for the differences', async () => {
    const primary = await set.primary();
    await walkThrough(base, 'redis-sentinel', (command, ...args) => primary.call(command, ...args));
  });

  it('a NAT map leads to a primary that announces another network’s address', async () => {
    const primary = await set.primary();
    const other = set.servers.find((server) => server !== primary);
    // The map sends us to a replica, which says so and is not believed.
    const natMap = `127.0.0.1:${primary.port}=127.0.0.1:${other?.port ?? 0}`;
    const error = await asker.refusal({ ...base, natMap, listName: 'q' });
    expect(error).toMatchObject({ code: 'BROKER_NOT_PRIMARY' });
    expect(error.message).toContain('replica');

    // And here to the primary behind a forwarder, which nobody else knows of.
    const forwarder = await startForwarder(primary.port);
    try {
      await primary.call('RPUSH', 'behind', 'a');
      const through = { ...base, natMap: `127.0.0.1:${primary.port}=127.0.0.1:${forwarder.port}`, listName: 'behind' };
      expect((await asker.ask(through)).decision.value).toBe(1);
      expect(forwarder.connections()).toBeGreaterThan(0);
    } finally {
      await forwarder.close();
    }
  });

  it('a push to a watched list is told by the primary, also by the next one', async () => {
    const primary = await set.primary();
    await primary.call('DEL', 'watched');
    const { samples, stop } = follow(asker, { ...base, listName: 'watched' });
    await until('the first sample', () => samples.length > 0);
    await primary.kill();
    const next = await set.failedOver(primary);
    await next.call('RPUSH', 'watched', 'x');
    await until('awake', () => samples.at(-1)?.decision.active === true);
    expect(samples.every(({ decision }) => decision.value <= 1)).toBe(true);
    stop();
  });
});

describe('in a cluster', () => {
  let cluster: RedisCluster;
  let client: InstanceType<typeof Redis.Cluster>;
  let base: Record<string, string>;
  beforeAll(async () => {
    cluster = await startRedisCluster();
    client = new Redis.Cluster(
      cluster.nodes.map(({ host, port }) => ({ host, port })),
      { redisOptions: { protocol: 2 } },
    );
    base = { scaler: 'redis-cluster', addresses: cluster.nodes[0] === undefined ? '' : `127.0.0.1:${cluster.nodes[0].port}` };
  });
  afterAll(async () => {
    client.disconnect();
    await cluster.close();
  });

  it('keys of all slots are read and patterns found on every node', async () => {
    const names = Array.from({ length: 30 }, (_, index) => `jobs:${index}`);
    for (const name of names) await client.rpush(name, 'a', 'b');
    expect((await asker.ask({ ...base, listName: names.join(',') })).decision.value).toBe(60);
    expect((await asker.ask({ ...base, listName: 'jobs:*' })).decision.value).toBe(60);
    await client.xadd('stream', '*', 'field', 'value');
    const stream = { ...base, scaler: 'redis-cluster-streams', stream: 'stream', consumerGroup: 'late', lagCount: '5' };
    expect((await asker.ask(stream)).decision).toMatchObject({ value: 1, active: true });
  });

  it('lists and streams are told of as KEDA does, but for the differences', async () => {
    const [walk, steps] = [await cluster.ownerOf(slotOf('walk')), await cluster.ownerOf(slotOf('steps'))];
    await walkThrough(base, 'redis-cluster', (command, ...args) =>
      (command.startsWith('X') ? steps : walk).call(command, ...args),
    );
  });

  it('a NAT map leads to nodes that announce ports which nobody reaches', async () => {
    const ports = await Promise.all(cluster.nodes.map(() => freePort()));
    const names = Array.from({ length: 30 }, (_, index) => `nat:${index}`);
    for (const name of names) await client.rpush(name, 'a');
    try {
      for (const [index, node] of cluster.nodes.entries())
        await node.call('CONFIG', 'SET', 'cluster-announce-port', ports[index] ?? 0);
      await until('every node has heard of it', async () => {
        const said = await Promise.all(cluster.nodes.map((node) => node.call('CLUSTER', 'NODES')));
        return said.every((text) => ports.every((port) => String(text).includes(`:${port}@`)));
      });
      const listName = names.join(',');
      expect(await asker.refusal({ ...base, listName })).toMatchObject({ code: 'BROKER_CLUSTER_DOWN' });
      const natMap = cluster.nodes.map(({ port }, index) => `127.0.0.1:${ports[index] ?? 0}=127.0.0.1:${port}`).join(',');
      expect((await asker.ask({ ...base, natMap, listName })).decision.value).toBe(names.length);
    } finally {
      for (const node of cluster.nodes) await node.call('CONFIG', 'SET', 'cluster-announce-port', 0);
      await cluster.settled();
    }
  });

  it('a sleeping list is woken while and after its slot moves to another node', async () => {
    const slot = slotOf('{m}a');
    const source = await cluster.ownerOf(slot);
    const target = await cluster.ownerOf((slot + 8_192) % 16_384);
    expect(target.port).not.toBe(source.port);
    const [sourceId, targetId] = [String(await source.call('CLUSTER', 'MYID')), String(await target.call('CLUSTER', 'MYID'))];
    await client.rpush('{m}kept', 'a', 'b', 'c');
    const sleeping = ['{m}a', '{m}b'].map((listName) => follow(asker, { ...base, listName }));
    const kept = follow(asker, { ...base, listName: '{m}kept' });
    await until('the first samples', () => [...sleeping, kept].every(({ samples }) => samples.length > 0));

    await target.call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', sourceId);
    await source.call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', targetId);
    await client.rpush('{m}a', 'x');
    await until('awake while the slot moves', () => sleeping[0]?.samples.at(-1)?.decision.active === true);
    await source.call('MIGRATE', '127.0.0.1', target.port, '{m}kept', 0, 5_000);
    for (const node of [target, source]) await node.call('CLUSTER', 'SETSLOT', slot, 'NODE', targetId);
    await client.rpush('{m}b', 'x');
    await until('awake after it moved', () => sleeping[1]?.samples.at(-1)?.decision.active === true);
    expect(kept.samples.map(({ decision }) => decision.value).filter((value) => value !== 3)).toEqual([]);
    for (const each of [...sleeping, kept]) each.stop();
  });
});
