import { describe, expect, it } from 'vitest';
import { createServer } from 'node:net';
import { startRedis } from '../../bed/redis.ts';
import { freePort } from '../../bed/ports.ts';
import { MOST_ROUNDS, ROUND_MS } from '../../../src/scalers/freshness.ts';
import { until } from '../../bed/until.ts';
import { redisBed } from './fixtures.ts';
import { follow } from './follow.ts';

const bed = redisBed({ password: 'p@ss,word' });

function trigger(more: Readonly<Record<string, string>> = {}): Record<string, string> {
  return { scaler: 'redis', address: bed.address, password: 'p@ss,word', listName: 'q', ...more };
}

describe('the length of a key', () => {
  it('is counted by the key’s type, and is 0 where the key is absent', async () => {
    await bed.server.call('RPUSH', 'list', 'a', 'b', 'c');
    await bed.server.call('SADD', 'set', 'a', 'b');
    await bed.server.call('ZADD', 'zset', 1, 'a');
    await bed.server.call('HSET', 'hash', 'a', 1, 'b', 2, 'c', 3, 'd', 4);
    const values = await Promise.all(
      ['list', 'set', 'zset', 'hash', 'absent'].map(
        async (listName) => (await bed.asker.ask(trigger({ listName }))).decision.value,
      ),
    );
    expect(values).toEqual([3, 2, 1, 4, 0]);
  });

  it('follows a key that changes its type', async () => {
    const same = bed.asker.trigger(trigger({ listName: 'turncoat' }));
    const read = async (): Promise<number> => (await same.read(AbortSignal.timeout(2_000))).decision.value;
    await bed.server.call('SADD', 'turncoat', 'a', 'b');
    expect(await read()).toBe(2);
    await bed.server.call('DEL', 'turncoat');
    await bed.server.call('RPUSH', 'turncoat', 'a');
    await until('the list is counted', async () => (await read()) === 1);
  });

  it('is an error of that trigger alone for a type that has no messages', async () => {
    await bed.server.call('SET', 'string', 'x');
    const error = await bed.asker.refusal(trigger({ listName: 'string' }));
    expect(error).toMatchObject({ code: 'QUEUE_WRONG_TYPE' });
    expect(error.message).toContain('string');
  });

  it('activates above activationListLength only, and a target of the HPA stands beside it', async () => {
    await bed.server.call('RPUSH', 'q', 'a', 'b');
    const at = async (activationListLength: string): Promise<boolean> =>
      (await bed.asker.ask(trigger({ activationListLength }))).decision.active;
    expect([await at('0'), await at('1'), await at('2')]).toEqual([true, true, false]);
    expect(bed.asker.trigger(trigger()).spec).toEqual({ name: 'redis-q', target: 5 });
  });

  it('is read from the database asked for, and an impossible database is an error', async () => {
    const other = `redis://:${encodeURIComponent('p@ss,word')}@127.0.0.1:${bed.server.port}/3`;
    await bed.server.call('RPUSH', 'q', 'a');
    expect((await bed.asker.ask({ scaler: 'redis', address: other, listName: 'q' })).decision.value).toBe(0);
    await bed.server.call('MOVE', 'q', 3);
    expect((await bed.asker.ask({ scaler: 'redis', address: other, listName: 'q' })).decision.value).toBe(1);
    expect((await bed.asker.ask(trigger({ databaseIndex: '3' }))).decision.value).toBe(1);
    expect(await bed.asker.refusal(trigger({ databaseIndex: '999' }))).toMatchObject({ code: 'BROKER_REPLY_INVALID' });
  });

  it('of several names is their sum or the longest, each counted once', async () => {
    await bed.server.call('RPUSH', 'a', 1, 2, 3);
    await bed.server.call('RPUSH', 'b', 1);
    const value = async (listName: string, operation: string): Promise<number> =>
      (await bed.asker.ask(trigger({ listName, operation }))).decision.value;
    expect([await value('a, b, b', 'sum'), await value('a,b', 'max')]).toEqual([4, 3]);
  });

  it('of a pattern counts what SCAN finds, and a backslash makes the pattern a plain name', async () => {
    await bed.server.call('RPUSH', 'bull:x:wait', 1, 2);
    await bed.server.call('RPUSH', 'bull:y:wait', 1);
    await bed.server.call('RPUSH', 'bull:y:done', 1);
    await bed.server.call('RPUSH', 'bull:*:wait', 1, 2, 3, 4);
    expect((await bed.asker.ask(trigger({ listName: 'bull:?:wait' }))).decision.value).toBe(7);
    expect((await bed.asker.ask(trigger({ listName: 'bull:[xy]:wait' }))).decision.value).toBe(3);
    expect((await bed.asker.ask(trigger({ listName: 'bull:\\*:wait' }))).decision.value).toBe(4);
  });

  it('counts what workers hold as work in progress, active whatever the threshold', async () => {
    await bed.server.call('RPUSH', 'processing:1', 'x');
    const sample = await bed.asker.ask(trigger({ processingListName: 'processing:*', activationListLength: '10' }));
    expect(sample.decision).toMatchObject({ value: 1, active: true });
    expect(sample.reading.measures).toEqual({ length: 0, processing: 1 });
  });

  it.each([
    ['a list', ['RPUSH', 'held', 'a', 'b']],
    ['a set', ['SADD', 'held', 'a', 'b']],
    ['a hash, as Celery keeps it', ['HSET', 'held', 'a', 1, 'b', 2]],
    ['a sorted set', ['ZADD', 'held', 1, 'a', 2, 'b']],
  ] as const)('counts what workers hold in %s, and wakes and sleeps with it', async (_kind, [command, ...args]) => {
    const metadata = trigger({ processingListName: 'held' });
    const { samples, stop } = follow(bed.asker, metadata);
    await until('asleep', () => samples.at(-1)?.decision.active === false);
    await bed.server.call(command, ...args);
    await until('awake', () => samples.at(-1)?.decision.value === 2);
    expect((await bed.asker.ask(metadata)).reading.measures).toEqual({ length: 0, processing: 2 });
    await bed.server.call('DEL', 'held');
    await until('asleep again', () => samples.at(-1)?.decision.active === false);
    stop();
  });

  it('is an error while no key was ever seen, where a match is required', async () => {
    const metadata = trigger({ listName: 'late', requireMatch: 'true' });
    const late = bed.asker.trigger(metadata);
    await expect(late.read(AbortSignal.timeout(2_000))).rejects.toMatchObject({ code: 'QUEUE_MISSING' });
    await bed.server.call('RPUSH', 'late', 'x');
    const value = async (): Promise<number> => (await late.read(AbortSignal.timeout(2_000))).decision.value;
    await until('it is seen', async () => (await value()) === 1);
    await bed.server.call('DEL', 'late');
    // It was seen: an empty list is a list.
    await until('it is empty', async () => (await value()) === 0);
  });
});

describe('what a server refuses', () => {
  it.each([
    ['a wrong password', { password: 'wrong-one' }, 'BROKER_REFUSED'],
    ['an unknown user', { username: 'nobody', password: 'wrong-one' }, 'BROKER_REFUSED'],
    ['TLS to a plain port', { tls: 'enable' }, 'TLS_FAILED'],
  ])('%s is told as what it is, without the password', async (_name, more, code) => {
    const error = await bed.asker.refusal(trigger(more));
    expect(error.code).toBe(code);
    expect(JSON.stringify([error.message, String(error.cause)])).not.toContain('wrong-one');
    expect(error.message).toContain(bed.address);
  });

  it('no password where one is needed is told', async () => {
    const error = await bed.asker.refusal({ scaler: 'redis', address: bed.address, listName: 'q' });
    expect(error).toMatchObject({ code: 'BROKER_REFUSED' });
    expect(error.message).toContain('NOAUTH');
  });

  it('a port that nobody listens on is unreachable', async () => {
    const port = await freePort();
    expect(await bed.asker.refusal(trigger({ address: `127.0.0.1:${port}` }))).toMatchObject({ code: 'BROKER_UNREACHABLE' });
  });

  it('a password echoed by what answers does not leave', async () => {
    const echo = createServer((socket) => {
      socket.on('data', () => socket.write("-ERR what is 'AUTH' 'default' 's3cret-word'\r\n"));
      socket.on('error', () => undefined);
    });
    const port = await freePort();
    await new Promise<void>((resolve) => echo.listen(port, '127.0.0.1', resolve));
    const error = await bed.asker.refusal(trigger({ address: `127.0.0.1:${port}`, password: 's3cret-word' }));
    echo.close();
    expect(error.message).not.toContain('s3cret-word');
    expect(error.message).toContain('***');
  });

  it('a user without the permission to count is forbidden, not empty', async () => {
    await bed.server.call('ACL', 'SETUSER', 'poor', 'reset', 'on', '>poor', '+ping', '~*');
    expect(await bed.asker.refusal(trigger({ username: 'poor', password: 'poor' }))).toMatchObject({ code: 'BROKER_FORBIDDEN' });
  });
});

it('a pattern that may not be looked for is an error each time, and never an empty queue', async () => {
  await bed.server.call('ACL', 'SETUSER', 'short', 'reset', 'on', '>short', '+llen', '+type', '+role', '~*');
  await bed.server.call('RPUSH', 'job:1', 'x');
  const metadata = trigger({ username: 'short', password: 'short', listName: 'job:*' });
  const shared = bed.asker.trigger(metadata);
  for (let count = 0; count < 3; count++) {
    await expect(shared.read(AbortSignal.timeout(2_000))).rejects.toMatchObject({ code: 'BROKER_FORBIDDEN' });
    await new Promise((resolve) => setTimeout(resolve, 600));
  }
  const { samples, troubles, stop } = follow(bed.asker, metadata);
  await until('trouble', () => troubles.length > 0);
  await bed.server.call('ACL', 'SETUSER', 'short', '+scan');
  await until('found', () => samples.at(-1)?.decision.value === 1);
  expect(samples.map(({ decision }) => decision.value).filter((value) => value !== 1)).toEqual([]);
  stop();
});

describe('a watched trigger', () => {
  it('hears of a message within milliseconds, of the end of work, and again', async () => {
    const { samples, stop } = follow(bed.asker, trigger({ listName: 'watched' }));
    await until('the first sample', () => samples.length > 0);
    for (let round = 0; round < 3; round++) {
      const before = performance.now();
      await bed.server.call('RPUSH', 'watched', 'x');
      await until('awake', () => samples.at(-1)?.decision.active === true, { everyMs: 1 });
      // Far below every poll: the server told.
      expect(performance.now() - before).toBeLessThan(150);
      await bed.server.call('DEL', 'watched');
      await until('asleep', () => samples.at(-1)?.decision.active === false);
    }
    stop();
  });

  it('is not read again while the server would have told of a change, as it does at once', async () => {
    const pulse = follow(bed.asker, trigger({ listName: 'pulse' }));
    const { stop } = follow(bed.asker, trigger({ listName: 'vouched' }));
    const watched = bed.asker.trigger(trigger({ listName: 'vouched' }));
    const ageMs = (): number => performance.now() - (watched.latest()?.reading.at ?? Infinity);
    await until('an old reading is vouched for', async () => {
      // The server is believed because it has just been heard of.
      await bed.server.call('RPUSH', 'pulse', 'x');
      return ageMs() > (MOST_ROUNDS + 1) * ROUND_MS && ageMs() < Infinity;
    });
    await bed.server.call('RPUSH', 'vouched', 'x');
    await until('the change shows', () => watched.latest()?.decision.value === 1, { deadlineMs: 1_000 });
    pulse.stop();
    stop();
    const readAt = watched.latest()?.reading.at ?? Infinity;
    await until('it is read as nobody vouches any more', () => (watched.latest()?.reading.at ?? 0) > readAt);
  });

  it('hears what was pushed while its server was away, and is told meanwhile that nothing is known', async () => {
    const lasting = await startRedis({ persistent: true });
    const { samples, troubles, stop } = follow(bed.asker, {
      scaler: 'redis',
      address: `127.0.0.1:${lasting.port}`,
      listName: 'q',
    });
    try {
      await until('the first sample', () => samples.length > 0);
      await lasting.kill();
      await until('trouble', () => troubles.length > 0 || samples.at(-1)?.reading.since !== undefined);
      await lasting.start();
      await lasting.call('RPUSH', 'q', 'x');
      await until('awake', () => samples.at(-1)?.decision.active === true);
      expect(samples.every((sample) => sample.decision.value <= 1)).toBe(true);
    } finally {
      stop();
      await lasting.close();
    }
  });

  it('is woken by polling where the server refuses to track, and says so', async () => {
    await bed.server.call('ACL', 'SETUSER', 'blind', 'reset', 'on', '>blind', '+llen', '+type', '~*');
    const { samples, stop } = follow(bed.asker, trigger({ username: 'blind', password: 'blind', listName: 'polled' }));
    await until('the first sample', () => samples.length > 0);
    await bed.server.call('RPUSH', 'polled', 'x');
    await until('awake', () => samples.at(-1)?.decision.active === true);
    expect(samples.at(-1)?.reading.notes?.join()).toMatch(/polling.*NOPERM/);
    stop();
  });

  it('hears of keys that come to match its pattern', async () => {
    const { samples, stop } = follow(bed.asker, trigger({ listName: 'glob:*:wait' }));
    await until('the first sample', () => samples.length > 0);
    await bed.server.call('RPUSH', 'glob:new:wait', 'x');
    await until('awake', () => samples.at(-1)?.decision.value === 1);
    stop();
  });
});

describe('one client', () => {
  it('serves a thousand triggers, watched or not, over one connection', async () => {
    const before = await clients();
    const triggers = Array.from({ length: 1_000 }, (_, index) => bed.asker.trigger(trigger({ listName: `many:${index}` })));
    let heard = 0;
    const watched = triggers.slice(0, 500).map((each) => each.watch({ sample: () => heard++, trouble: () => undefined }));
    const samples = await Promise.all(triggers.map((each) => each.read(AbortSignal.timeout(5_000))));
    expect(samples).toHaveLength(1_000);
    await until('all watched triggers have heard', () => heard >= 500);
    expect((await clients()) - before).toBeLessThanOrEqual(1);
    for (const stop of watched) stop();
  });
});

async function clients(): Promise<number> {
  const list = String(await bed.server.call('CLIENT', 'LIST'));
  return list.split('\n').filter((line) => line.includes('name=keda-queue-scaler')).length;
}
