/** Changes of a watched key that are no push: whatever Redis tells, or does not tell, of them, the truth is told in the end. */
import { describe, expect, it } from 'vitest';
import { SAFETY_POLL_MS } from '../../../src/scalers/redis/watch/keyWatch.ts';
import { until } from '../../bed/until.ts';
import { redisBed } from './fixtures.ts';
import { follow, type Followed } from './follow.ts';

const bed = redisBed();

async function watched(listName: string, value: number, more: Readonly<Record<string, string>> = {}): Promise<Followed> {
  const followed = follow(bed.asker, { scaler: 'redis', address: bed.address, listName, ...more });
  await until('the first sample', () => valueOf(followed) === value);
  return followed;
}
const valueOf = ({ samples }: Followed): number | undefined => samples.at(-1)?.decision.value;
/** Far below the polls: the server told. */
const TOLD = { deadlineMs: 3_000, everyMs: 5 };

describe('a watched key', () => {
  it.each(['FLUSHALL', 'FLUSHDB'])(
    'is told to be empty after %s, of which the server tells without naming keys',
    async (flush) => {
      await bed.server.call('RPUSH', 'flushed', 'a', 'b');
      const followed = await watched('flushed', 2);
      await bed.server.call(flush);
      await until('empty', () => valueOf(followed) === 0, TOLD);
      // Watched as before.
      await bed.server.call('RPUSH', 'flushed', 'a');
      await until('awake', () => valueOf(followed) === 1, TOLD);
      followed.stop();
    },
  );

  it('is told to be empty when it expires, though nobody reads it', async () => {
    await bed.server.call('RPUSH', 'expiring', 'a');
    const followed = await watched('expiring', 1);
    await bed.server.call('PEXPIRE', 'expiring', 200);
    await until('empty', () => valueOf(followed) === 0, TOLD);
    followed.stop();
  });

  it.each([
    ['DEL', ['moved']],
    ['RENAME', ['moved', 'elsewhere']],
    ['LTRIM', ['moved', 1, 0]],
    ['MOVE', ['moved', 5]],
  ])('is told to be empty after %s', async (command, args) => {
    await bed.server.call('RPUSH', 'moved', 'a');
    const followed = await watched('moved', 1);
    await bed.server.call(command, ...args);
    await until('empty', () => valueOf(followed) === 0, TOLD);
    followed.stop();
  });

  it('wakes when another is renamed to it, copied or restored', async () => {
    await bed.server.call('RPUSH', 'source', 'a', 'b', 'c');
    const followed = await watched('target', 0);
    await bed.server.call('COPY', 'source', 'target');
    await until('awake', () => valueOf(followed) === 3, TOLD);
    await bed.server.call('DEL', 'target');
    await until('asleep', () => valueOf(followed) === 0, TOLD);
    await bed.server.call('RENAME', 'source', 'target');
    await until('awake again', () => valueOf(followed) === 3, TOLD);
    followed.stop();
  });

  it('is counted by its new type when that changes, and is an error while it has one that holds no messages', async () => {
    await bed.server.call('SADD', 'turning', 'a', 'b');
    const followed = await watched('turning', 2);
    await bed.server.call('DEL', 'turning');
    await bed.server.call('HSET', 'turning', 'a', 1, 'b', 2, 'c', 3);
    await until('the hash is counted', () => valueOf(followed) === 3, TOLD);
    await bed.server.call('SET', 'turning', 'text');
    await until('an error', () => followed.troubles.at(-1)?.code === 'QUEUE_WRONG_TYPE', TOLD);
    await bed.server.call('DEL', 'turning');
    await bed.server.call('ZADD', 'turning', 1, 'a');
    await until('the sorted set is counted', () => valueOf(followed) === 1, TOLD);
    expect(new Set(followed.samples.map(({ decision }) => decision.value))).not.toContain(4);
    followed.stop();
  });

  it('shows what another database held after SWAPDB, of which Redis tells nothing, at the next safety poll', async () => {
    const followed = await watched('swapped', 0);
    await bed.server.call('RPUSH', 'swapped', 'a');
    await until('awake', () => valueOf(followed) === 1, TOLD);
    await bed.server.call('DEL', 'swapped');
    await until('asleep', () => valueOf(followed) === 0, TOLD);
    const other = await watched('swapped', 0, { databaseIndex: '1' });
    await bed.server.call('RPUSH', 'swapped', 'a', 'b');
    await until('awake', () => valueOf(followed) === 2, TOLD);
    await bed.server.call('SWAPDB', 0, 1);
    await until('both see what they hold now', () => valueOf(followed) === 0 && valueOf(other) === 2, {
      deadlineMs: SAFETY_POLL_MS + 5_000,
    });
    followed.stop();
    other.stop();
  }, 60_000);

  it('that consumers wait on is told of each message, though each is gone at once', async () => {
    const followed = await watched('waited', 0);
    const before = followed.samples.length;
    const taken = bed.server.call('BLPOP', 'waited', 5);
    await until('the consumer waits', async () => String(await bed.server.call('INFO', 'clients')).includes('blocked_clients:1'));
    await bed.server.call('RPUSH', 'waited', 'a');
    expect(await taken).toEqual(['waited', 'a']);
    await until('read again', () => followed.samples.length > before, TOLD);
    expect(valueOf(followed)).toBe(0);
    followed.stop();
  });
});

describe('a stream’s group', () => {
  it('is told of anew within seconds when it reads and acknowledges, of which Redis tells nothing', async () => {
    const id = String(await bed.server.call('XADD', 's', '*', 'n', 1));
    await bed.server.call('XGROUP', 'CREATE', 's', 'g', '0');
    const followed = follow(bed.asker, {
      ...{ scaler: 'redis-streams', address: bed.address, stream: 's', consumerGroup: 'g', lagCount: '1' },
    });
    await until('unread', () => followed.samples.at(-1)?.reading.measures['lag'] === 1);
    await bed.server.call('XREADGROUP', 'GROUP', 'g', 'c', 'STREAMS', 's', '>');
    await until('pending', () => followed.samples.at(-1)?.reading.measures['pending'] === 1);
    await bed.server.call('XACK', 's', 'g', id);
    await until('done', () => followed.samples.at(-1)?.decision.active === false);
    expect(followed.samples.slice(0, -1).every(({ decision }) => decision.active)).toBe(true);
    followed.stop();
  });
});
