/** A trigger that has come to another kind of server than its scaler reads is told so with the right scaler's name, and never a number. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { closeAll, startRedis, type RedisServer } from '../../bed/redis.ts';
import { startRedisFake, type FakeAnswer } from '../../bed/redisFake.ts';
import { until } from '../../bed/until.ts';
import { createAsker } from './ask.ts';
import { follow } from './follow.ts';

const asker = createAsker();
let primary: RedisServer;
let replica: RedisServer;
let node: RedisServer;
let sentinel: RedisServer;
beforeAll(async () => {
  [primary, replica, node, sentinel] = await Promise.all([
    startRedis(),
    startRedis(),
    startRedis({ config: { 'cluster-enabled': 'yes' } }),
    startRedis({ sentinel: true }),
  ]);
  await primary.call('RPUSH', 'q', 'a');
  await replica.call('REPLICAOF', primary.host, primary.port);
  await until('in step', async () => (await replica.call('LLEN', 'q')) === 1);
  await node.call('CLUSTER', 'ADDSLOTSRANGE', 0, 16_383);
  await until('the cluster serves', async () => (await node.call('RPUSH', 'q', 'a')) !== undefined);
});
afterAll(async () => {
  await asker.brokers.close();
  await closeAll([primary, replica, node, sentinel]);
});

const queues: [string, Record<string, string>][] = [
  ['a name', { listName: 'q' }],
  ['a pattern', { listName: 'q*' }],
  ['a stream', { stream: 'q' }],
];
const at = (server: RedisServer, family: string, queue: Record<string, string>): Record<string, string> => ({
  scaler: 'stream' in queue ? `${family}-streams` : family,
  address: `127.0.0.1:${server.port}`,
  ...(family === 'redis-sentinel' ? { sentinelMaster: 'mymaster' } : {}),
  ...queue,
});

describe.each(queues)('%s', (_name, queue) => {
  it.each([
    ['redis', 'a node of a cluster', () => node, 'scaler redis-cluster or redis-cluster-streams'],
    ['redis', 'a sentinel', () => sentinel, 'scaler redis-sentinel or redis-sentinel-streams'],
    ['redis-cluster', 'a server alone', () => primary, 'scaler redis or redis-streams'],
    ['redis-cluster', 'a sentinel', () => sentinel, 'scaler redis-sentinel or redis-sentinel-streams'],
    ['redis-sentinel', 'a server alone', () => primary, 'scaler redis or redis-streams'],
    ['redis-sentinel', 'a node of a cluster', () => node, 'scaler redis-cluster or redis-cluster-streams'],
  ] as const)('of %s at %s is unknown', async (family, _kind, server, words) => {
    const error = await asker.refusal(at(server(), family, queue));
    expect(error).toMatchObject({ code: 'BROKER_WRONG_KIND' });
    expect(error.message).toContain(words);
  });

  it('of redis at a replica is unknown, with the scaler that finds its primary', async () => {
    const error = await asker.refusal(at(replica, 'redis', queue));
    expect(error).toMatchObject({ code: 'BROKER_NOT_PRIMARY' });
    expect(error.message).toMatch(/a replica.*scaler redis-sentinel/);
  });
});

it('a user who may not ask for the cluster or the role is told the same', async () => {
  for (const server of [node, replica]) await server.call('ACL', 'SETUSER', 'poor', 'reset', 'on', '>poor', '+llen', '~*');
  const poor = { username: 'poor', password: 'poor' };
  expect(await asker.refusal({ ...at(node, 'redis', { listName: 'q' }), ...poor })).toMatchObject({ code: 'BROKER_WRONG_KIND' });
  expect(await asker.refusal({ ...at(replica, 'redis', { listName: 'q' }), ...poor })).toMatchObject({
    code: 'BROKER_NOT_PRIMARY',
  });
});

it('a watched trigger is told when the server behind its address becomes a replica, and a number when it is a primary again', async () => {
  const server = await startRedis();
  const { samples, troubles, stop } = follow(asker, at(server, 'redis', { listName: 'q' }));
  try {
    await until('the first sample', () => samples.length > 0);
    await server.call('REPLICAOF', primary.host, primary.port);
    await until('trouble', () => troubles.some(({ code }) => code === 'BROKER_NOT_PRIMARY'), { deadlineMs: 40_000 });
    await server.call('REPLICAOF', 'NO', 'ONE');
    await until('the number', () => samples.at(-1)?.decision.value === 1);
  } finally {
    stop();
    await server.close();
  }
});

describe('what calls itself a cluster or is older than HELLO', () => {
  const proxy =
    (cluster: string): FakeAnswer =>
    ([name = '']) => {
      switch (name) {
        case 'HELLO':
          return '%2\r\n+server\r\n+redis\r\n+mode\r\n+cluster\r\n';
        case 'CLUSTER':
          return cluster;
        case 'ROLE':
          return '*1\r\n$6\r\nmaster\r\n';
        case 'LLEN':
          return ':7\r\n';
        default:
          return '+OK\r\n';
      }
    };

  it('is read where it is a proxy that has no cluster to show', async () => {
    const fake = await startRedisFake(proxy('-ERR This instance has cluster support disabled\r\n'));
    const sample = await asker.ask({ scaler: 'redis', address: fake.address, listName: 'q' });
    expect(sample.decision.value).toBe(7);
    await fake.close();
  });

  it.each([
    ['redis_mode:cluster', 'BROKER_WRONG_KIND'],
    ['redis_mode:sentinel', 'BROKER_WRONG_KIND'],
  ])('is refused by its INFO, %s', async (line, code) => {
    const info = `# Server\r\nredis_version:5.0.7\r\n${line}\r\n`;
    const fake = await startRedisFake((command, socket) => {
      if (command[0] === 'HELLO') return "-ERR unknown command 'HELLO'\r\n";
      if (command[0] === 'INFO') return `$${info.length}\r\n${info}\r\n`;
      return proxy('$0\r\n\r\n')(command, socket);
    });
    expect(await asker.refusal({ scaler: 'redis', address: fake.address, listName: 'q' })).toMatchObject({ code });
    await fake.close();
  });
});
