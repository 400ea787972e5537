import { expect, it } from 'vitest';
import { readFileSync } from 'node:fs';
import type { RedisServer } from '../../bed/redis.ts';
import { startRedisCluster } from '../../bed/redisCluster.ts';
import { startSentinelSet } from '../../bed/redisSentinel.ts';
import { until } from '../../bed/until.ts';
import { slotOf } from '../../../src/scalers/redis/topology/slots.ts';
import { createAsker } from './ask.ts';
import { redisBed } from './fixtures.ts';
import { follow } from './follow.ts';

const bed = redisBed();
const page = readFileSync(new URL('../../../docs/scalers/redis.md', import.meta.url), 'utf8');

/** The words of the documented rule for a user of that name, with a password that is known here. */
function ruleOf(user: string): string[] {
  const rule = new RegExp(`ACL SETUSER ${user} (.*)`).exec(page)?.[1];
  if (rule === undefined) throw new Error(`the page has no rule for ${user}`);
  return rule.replace('PASSWORD', 'secret').split(' ');
}

const RULE = ruleOf('queue-scaler');
const CLUSTER_RULE = [...RULE, '+cluster|nodes'];
const SENTINEL_RULE = ruleOf('queue-scaler-sentinel');

async function allow(server: RedisServer, rule: readonly string[]): Promise<void> {
  await server.call('ACL', 'SETUSER', 'queue-scaler', 'reset');
  await server.call('ACL', 'SETUSER', 'queue-scaler', ...rule);
  await server.call('ACL', 'LOG', 'RESET');
}

/** Fills one key of each kind, a stream whose group's lag is nil and has to be counted, and one that is too long for it. */
async function fill(server: RedisServer): Promise<void> {
  const call: RedisServer['call'] = (command, ...args) => server.call(command, ...args);
  await call('RPUSH', '{k}list', 'a');
  await call('SADD', '{k}set', 'a');
  await call('ZADD', '{k}zset', 1, 'a');
  await call('HSET', '{k}hash', 'a', 1);
  const ids: string[] = [];
  for (let index = 0; index < 4; index++) ids.push(String(await call('XADD', '{k}stream', '*', 'n', index)));
  await call('XGROUP', 'CREATE', '{k}stream', 'g', ids[0] ?? '');
  // Behind the group's position.
  await call('XDEL', '{k}stream', ids[2] ?? '');
  await call('EVAL', "for n = 1, 120 do redis.call('XADD', KEYS[1], '*', 'n', n) end", 1, '{k}many');
  await call('XGROUP', 'CREATE', '{k}many', 'g', 0);
}

/** What each of the readings gives: its value, the code of its error, or how a push is noticed. */
async function readAll(base: Readonly<Record<string, string>>, family: string, server: RedisServer): Promise<string[]> {
  // Of its own: no session is left from when there were other rights.
  const asker = createAsker();
  const heard: string[] = [];
  const ask = async (what: string, metadata: Readonly<Record<string, string>>): Promise<void> => {
    const said = await asker.ask({ ...base, ...metadata }).then(
      ({ decision }) => String(decision.value),
      (error: unknown) => (error as { code: string }).code,
    );
    heard.push(`${what} ${said}`);
  };
  for (const kind of ['list', 'set', 'zset', 'hash']) await ask(kind, { scaler: family, listName: `{k}${kind}` });
  await ask('pattern', { scaler: family, listName: '{k}l?st' });
  if (family === 'redis') await ask('database', { scaler: family, listName: '{k}list', databaseIndex: '1' });
  const streams = { scaler: `${family}-streams`, stream: '{k}stream' };
  await ask('length', streams);
  await ask('lag', { ...streams, consumerGroup: 'g', lagCount: '1' });
  await ask('many', { ...streams, stream: '{k}many', consumerGroup: 'g', lagCount: '1' });
  await server.call('DEL', '{k}watched');
  const { samples, troubles, stop } = follow(asker, { ...base, scaler: family, listName: '{k}watched' });
  await until('a first sample or none', () => samples.length + troubles.length > 0);
  if (samples.length === 0) heard.push(`watch ${troubles[0]?.code ?? ''}`);
  else {
    await server.call('RPUSH', '{k}watched', 'x');
    await until('awake', () => samples.at(-1)?.decision.active === true);
    heard.push(samples.at(-1)?.reading.notes === undefined ? 'watch told' : 'watch polled');
  }
  stop();
  await asker.close();
  return heard;
}

const ALL = ['list 1', 'set 1', 'zset 1', 'hash 1', 'pattern 1', 'database 0', 'length 3', 'lag 2', 'many 120', 'watch told'];
const WITHOUT_DATABASES = ALL.filter((said) => !said.startsWith('database'));

it('the documented rule is enough for all that is read and watched on a server', async () => {
  const { server } = bed;
  await fill(server);
  await allow(server, RULE);
  expect(await readAll({ address: bed.address, username: 'queue-scaler', password: 'secret' }, 'redis', server)).toEqual(ALL);
  // Nothing was refused on the way, not even what we could do without.
  expect(await server.call('ACL', 'LOG')).toEqual([]);
});

it('each command of the rule is needed: without it something fails, or the server tells of a refusal', async () => {
  const { server } = bed;
  await fill(server);
  const needless: string[] = [];
  for (const command of RULE.filter((word) => word.startsWith('+'))) {
    await allow(server, [...RULE, `-${command.slice(1)}`]);
    const heard = await readAll({ address: bed.address, username: 'queue-scaler', password: 'secret' }, 'redis', server);
    const refused = (await server.call('ACL', 'LOG')) as unknown[];
    if (heard.join() === ALL.join() && refused.length === 0) needless.push(command);
  }
  expect(needless).toEqual([]);
});

it('the rule and cluster|nodes are enough in a cluster', async () => {
  const cluster = await startRedisCluster();
  try {
    const owner = await cluster.ownerOf(slotOf('{k}list'));
    await fill(owner);
    for (const node of cluster.nodes) await allow(node, CLUSTER_RULE);
    const base = { addresses: cluster.addresses, username: 'queue-scaler', password: 'secret' };
    expect(await readAll(base, 'redis-cluster', owner)).toEqual(WITHOUT_DATABASES);
    for (const node of cluster.nodes) expect(await node.call('ACL', 'LOG')).toEqual([]);
    for (const node of cluster.nodes) await allow(node, RULE);
    expect(await bed.asker.refusal({ ...base, scaler: 'redis-cluster', listName: '{k}list' })).toMatchObject({
      code: 'BROKER_FORBIDDEN',
    });
  } finally {
    await cluster.close();
  }
});

it('the rule at the servers and the other at the sentinels are enough under Sentinel', async () => {
  const set = await startSentinelSet();
  try {
    const primary = await set.primary();
    await fill(primary);
    for (const server of set.servers) await allow(server, RULE);
    for (const sentinel of set.sentinels) await allow(sentinel, SENTINEL_RULE);
    const base = {
      addresses: set.sentinels.map(({ host, port }) => `${host}:${port}`).join(','),
      sentinelMaster: set.masterName,
      ...{ username: 'queue-scaler', password: 'secret', sentinelUsername: 'queue-scaler', sentinelPassword: 'secret' },
    };
    expect(await readAll(base, 'redis-sentinel', primary)).toEqual(WITHOUT_DATABASES);
    for (const server of [primary, ...set.sentinels]) expect(await server.call('ACL', 'LOG')).toEqual([]);
    const metadata = { ...base, scaler: 'redis-sentinel', listName: '{k}list' };
    for (const sentinel of set.sentinels) await allow(sentinel, [...SENTINEL_RULE, '-sentinel|master']);
    expect((await bed.asker.ask(metadata)).decision.value).toBe(1);
    for (const sentinel of set.sentinels) await allow(sentinel, [...SENTINEL_RULE, '-sentinel|get-master-addr-by-name']);
    expect(await bed.asker.refusal(metadata)).toMatchObject({ code: 'BROKER_FORBIDDEN' });
  } finally {
    await set.close();
  }
});

it('only commands that read are sent', async () => {
  await fill(bed.server);
  await bed.server.call('CONFIG', 'RESETSTAT');
  await allow(bed.server, ['on', '>secret', '+@all', '~*']);
  const base = { address: bed.address, username: 'queue-scaler', password: 'secret' };
  const names = ['{k}list', '{k}set', '{k}zset', '{k}hash', '{k}l*'];
  for (const listName of names) await bed.asker.ask({ ...base, scaler: 'redis', listName });
  await bed.asker.ask({ ...base, scaler: 'redis-streams', stream: '{k}stream', consumerGroup: 'g', lagCount: '1' });
  const info = String(await bed.server.call('INFO', 'commandstats'));
  const sent = [...info.matchAll(/cmdstat_([^:]+):/g)].map(([, name]) => name);
  const allowed = RULE.flatMap((word) => (word.startsWith('+') ? [word.slice(1)] : []));
  // Beside ours: what this test and its bed send.
  const own = ['hello', 'acl|setuser', 'acl|log', 'info', 'config|resetstat', 'auth', 'client|setinfo'];
  expect(sent.filter((name) => name !== undefined && !allowed.includes(name) && !own.includes(name))).toEqual([]);
});
