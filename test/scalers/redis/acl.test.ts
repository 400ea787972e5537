import { expect, it } from 'vitest';
import { readFileSync } from 'node:fs';
import { until } from '../../bed/until.ts';
import { redisBed } from './bed.ts';
import { follow } from './follow.ts';

const bed = redisBed();

it('the documented access rule is enough for all that is read and watched', async () => {
  const page = readFileSync(new URL('../../../docs/scalers/redis.md', import.meta.url), 'utf8');
  const rule = /ACL SETUSER queue-scaler (.*)/.exec(page)?.[1]?.replace('PASSWORD', 'secret').split(' ') ?? [];
  expect(rule.length).toBeGreaterThan(5);
  await bed.server.call('ACL', 'SETUSER', 'queue-scaler', ...rule);
  await bed.server.call('RPUSH', 'list', 'a');
  await bed.server.call('SADD', 'set', 'a');
  await bed.server.call('ZADD', 'zset', 1, 'a');
  await bed.server.call('HSET', 'hash', 'a', 1);
  const ids: string[] = [];
  for (let index = 0; index < 4; index++) ids.push(String(await bed.server.call('XADD', 'stream', '*', 'n', index)));
  await bed.server.call('XGROUP', 'CREATE', 'stream', 'g', ids[0] ?? '');
  // Behind the group's position, so that its lag is nil and has to be counted.
  await bed.server.call('XDEL', 'stream', ids[2] ?? '');
  await bed.server.call('ACL', 'LOG', 'RESET');
  const base = { address: bed.address, username: 'queue-scaler', password: 'secret' };
  for (const listName of ['list', 'set', 'zset', 'hash', 'l?st']) {
    expect((await bed.asker.ask({ ...base, scaler: 'redis', listName })).decision.value, listName).toBe(1);
  }
  expect((await bed.asker.ask({ ...base, scaler: 'redis', listName: 'list', databaseIndex: '1' })).decision.value).toBe(0);
  expect((await bed.asker.ask({ ...base, scaler: 'redis-streams', stream: 'stream' })).decision.value).toBe(3);
  const lag = { ...base, scaler: 'redis-streams', stream: 'stream', consumerGroup: 'g', lagCount: '1' };
  expect((await bed.asker.ask(lag)).decision.value).toBe(2);
  const { samples, stop } = follow(bed.asker, { ...base, scaler: 'redis', listName: 'watched' });
  await until('asleep', () => samples.length > 0);
  await bed.server.call('RPUSH', 'watched', 'x');
  await until('awake', () => samples.at(-1)?.decision.active === true);
  expect(samples.at(-1)?.reading.notes).toBeUndefined();
  stop();
  // Nothing was refused on the way, not even what we could do without.
  expect(await bed.server.call('ACL', 'LOG')).toEqual([]);
});

it('only commands that read are sent', async () => {
  const before = (await stats()).filter((name) => /push|pop|set|del|add|eval|script|multi/i.test(name));
  const reads = ['list', 'set', 'zset', 'hash', '*'].map((listName) =>
    bed.asker.ask({ scaler: 'redis', address: bed.address, listName }).catch(() => undefined),
  );
  await Promise.all(reads);
  const after = (await stats()).filter((name) => /push|pop|set|del|add|eval|script|multi/i.test(name));
  expect(after).toEqual(before);
});

async function stats(): Promise<string[]> {
  const info = String(await bed.server.call('INFO', 'commandstats'));
  return info.split('\r\n').flatMap((line) => /^(cmdstat_\S+?:calls=\d+)/.exec(line)?.[1] ?? []);
}
