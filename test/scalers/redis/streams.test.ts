import { describe, expect, it } from 'vitest';
import { until } from '../../bed/until.ts';
import { fieldsOf } from '../../../src/scalers/redis/wire/reply.ts';
import type { Decision } from '../../../src/scalers/contract.ts';
import { redisBed } from './fixtures.ts';
import { follow } from './follow.ts';

const bed = redisBed();

function trigger(more: Readonly<Record<string, string>> = {}): Record<string, string> {
  return { scaler: 'redis-streams', address: bed.address, stream: 's', consumerGroup: 'g', ...more };
}
const decide = async (more: Readonly<Record<string, string>>): Promise<Decision> => (await bed.asker.ask(trigger(more))).decision;
async function add(count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let index = 0; index < count; index++) ids.push(String(await bed.server.call('XADD', 's', '*', 'n', index)));
  return ids;
}

describe('a stream', () => {
  it('is counted by length without a group', async () => {
    await add(3);
    const metadata = { ...trigger({ streamLength: '7' }) };
    delete metadata['consumerGroup'];
    expect((await bed.asker.ask(metadata)).decision).toMatchObject({ value: 3, active: true });
    expect(bed.asker.trigger(metadata).spec).toEqual({ name: 'redis-streams-s', target: 7 });
  });

  it('counts as lag what the group has not read and what it has not acknowledged', async () => {
    const ids = await add(5);
    await bed.server.call('XGROUP', 'CREATE', 's', 'g', '0');
    expect(await decide({ lagCount: '5' })).toMatchObject({ value: 5, active: true });
    await bed.server.call('XREADGROUP', 'GROUP', 'g', 'c', 'COUNT', 5, 'STREAMS', 's', '>');
    expect(await decide({ lagCount: '5', activationLagCount: '50' })).toMatchObject({ value: 5, active: true });
    await bed.server.call('XACK', 's', 'g', ...ids);
    expect(await decide({ lagCount: '5' })).toMatchObject({ value: 0, active: false });
  });

  it('wakes on one entry with activationLagCount 0, and above the threshold otherwise', async () => {
    await bed.server.call('XGROUP', 'CREATE', 's', 'g', '$', 'MKSTREAM');
    expect(await decide({ lagCount: '5' })).toMatchObject({ value: 0, active: false });
    await add(1);
    expect(await decide({ lagCount: '5' })).toMatchObject({ value: 1, active: true });
    expect(await decide({ lagCount: '5', activationLagCount: '1' })).toMatchObject({ value: 1, active: false });
  });

  it('in pending mode has the pending entries as value, and is active over unread ones too', async () => {
    await add(4);
    await bed.server.call('XGROUP', 'CREATE', 's', 'g', '0');
    expect(await decide({})).toMatchObject({ value: 0, active: true });
    await bed.server.call('XREADGROUP', 'GROUP', 'g', 'c', 'COUNT', 3, 'STREAMS', 's', '>');
    expect(await decide({})).toMatchObject({ value: 3, active: true });
  });

  it('is all unread to a group that nobody has created, and empty where it is absent', async () => {
    expect(await decide({ lagCount: '5' })).toMatchObject({ value: 0, active: false });
    expect(await bed.asker.refusal(trigger({ requireMatch: 'true' }))).toMatchObject({ code: 'QUEUE_MISSING' });
    await add(2);
    expect(await decide({ lagCount: '5' })).toMatchObject({ value: 2, active: true });
  });

  it('is an error where it is no stream', async () => {
    await bed.server.call('RPUSH', 's', 'x');
    expect(await bed.asker.refusal(trigger({ lagCount: '5' }))).toMatchObject({ code: 'QUEUE_WRONG_TYPE' });
  });

  it('has its lag computed or counted where Redis says nil, and never taken for 0', async () => {
    const ids = await add(10);
    await bed.server.call('XGROUP', 'CREATE', 's', 'g', '0');
    await bed.server.call('XREADGROUP', 'GROUP', 'g', 'c', 'COUNT', 2, 'STREAMS', 's', '>');
    await bed.server.call('XACK', 's', 'g', ids[0] ?? '', ids[1] ?? '');
    await bed.server.call('XDEL', 's', ids[5] ?? '');
    const groups = (await bed.server.call('XINFO', 'GROUPS', 's')) as string[][];
    expect(fieldsOf(groups[0] ?? []).get('lag')).toBeNull();
    expect(await decide({ lagCount: '5' })).toMatchObject({ value: 7, active: true });
    // Set to an arbitrary id in the middle: few before it are counted as well as few behind it, and many of both are unknown.
    for (let index = 0; index < 24; index++) await add(10);
    await bed.server.call('XGROUP', 'SETID', 's', 'g', ids[3] ?? '');
    expect(await decide({ lagCount: '5' })).toMatchObject({ value: 245 });
    const [[middle = ''] = []] = ((await bed.server.call('XRANGE', 's', '-', '+', 'COUNT', 120)) as string[][]).slice(-1);
    await bed.server.call('XGROUP', 'SETID', 's', 'g', middle);
    expect(await bed.asker.refusal(trigger({ lagCount: '5' }))).toMatchObject({ code: 'FIELD_MISSING' });
    // Set to the very start or end, the ids prove it.
    await bed.server.call('XGROUP', 'SETID', 's', 'g', '$');
    expect(await decide({ lagCount: '5' })).toMatchObject({ value: 0, active: false });
    await bed.server.call('XGROUP', 'SETID', 's', 'g', '0-1');
    expect(await decide({ lagCount: '5' })).toMatchObject({ value: 249 });
  });

  it('does not count what was trimmed before the group read it', async () => {
    await bed.server.call('XGROUP', 'CREATE', 's', 'g', '0', 'MKSTREAM');
    await add(10);
    const read = async (count: number): Promise<void> => {
      await bed.server.call('XREADGROUP', 'GROUP', 'g', 'c', 'COUNT', count, 'NOACK', 'STREAMS', 's', '>');
    };
    await read(1);
    for (let index = 0; index < 20; index++) await bed.server.call('XADD', 's', 'MAXLEN', 5, '*', 'n', index);
    expect(await decide({ lagCount: '5' })).toMatchObject({ value: 5, active: true });
    await read(2);
    expect(await decide({ lagCount: '5' })).toMatchObject({ value: 3, active: true });
    await read(100);
    expect(await decide({ lagCount: '5' })).toMatchObject({ value: 0, active: false });
    // Nor where nothing is left at all.
    await add(5);
    await bed.server.call('XTRIM', 's', 'MAXLEN', 0);
    expect(await decide({ lagCount: '5' })).toMatchObject({ value: 0, active: false });
  });

  it('follows what Redis counts too much while more is left than is worth counting', async () => {
    await bed.server.call('XGROUP', 'CREATE', 's', 'g', '0', 'MKSTREAM');
    const many = async (count: number): Promise<void> => {
      await bed.server.call('EVAL', `for n = 1, ${count} do redis.call('XADD', 's', '*', 'n', n) end`, 0);
    };
    const read = async (count: number): Promise<void> => {
      await bed.server.call('XREADGROUP', 'GROUP', 'g', 'c', 'COUNT', count, 'NOACK', 'STREAMS', 's', '>');
    };
    await many(1_000);
    await read(10);
    await bed.server.call('XTRIM', 's', 'MAXLEN', 900);
    const standing = bed.asker.trigger(trigger({ lagCount: '5' }));
    const value = async (): Promise<number> => (await standing.read(AbortSignal.timeout(2_000))).decision.value;
    await until('all is unread', async () => (await value()) === 900);
    await read(50);
    await until('few are read', async () => (await value()) === 850);
    await read(350);
    await until('what was read is no longer', async () => (await value()) === 500);
    await many(300);
    await read(100);
    await until('what was added is', async () => (await value()) === 700);
    await read(650);
    await until('the rest', async () => (await value()) === 50);
  });

  it('wakes a watched trigger within milliseconds of an entry', async () => {
    await bed.server.call('XGROUP', 'CREATE', 's', 'g', '$', 'MKSTREAM');
    const { samples, stop } = follow(bed.asker, trigger({ lagCount: '5' }));
    await until('the first sample', () => samples.length > 0);
    const before = performance.now();
    await add(1);
    await until('awake', () => samples.at(-1)?.decision.active === true, { everyMs: 1 });
    expect(performance.now() - before).toBeLessThan(150);
    stop();
  });

  it('is told to be done soon after, so that what follows is news', async () => {
    await bed.server.call('XGROUP', 'CREATE', 's', 'g', '$', 'MKSTREAM');
    const { samples, stop } = follow(bed.asker, trigger({ lagCount: '5' }));
    await until('asleep', () => samples.at(-1)?.decision.active === false);
    for (let round = 0; round < 3; round++) {
      const [id = ''] = await add(1);
      await until('awake', () => samples.at(-1)?.decision.active === true, { deadlineMs: 1_000, everyMs: 1 });
      await bed.server.call('XREADGROUP', 'GROUP', 'g', 'c', 'STREAMS', 's', '>');
      await bed.server.call('XACK', 's', 'g', id);
      // Far below the poll of a sleeping group; the server tells nothing of it.
      await until('asleep again', () => samples.at(-1)?.decision.active === false, { deadlineMs: 2_500 });
    }
    stop();
  });
});
