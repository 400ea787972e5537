import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { until } from '../../bed/until.ts';
import { computeLag } from '../../../src/scalers/redis/read/streamLag.ts';
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
    // Set to an arbitrary id in the middle, more left than is worth counting: unknown.
    for (let index = 0; index < 12; index++) await add(10);
    await bed.server.call('XGROUP', 'SETID', 's', 'g', ids[3] ?? '');
    const error = await bed.asker.refusal(trigger({ lagCount: '5' }));
    expect(error).toMatchObject({ code: 'FIELD_MISSING' });
    // Set to the very start or end, the ids prove it.
    await bed.server.call('XGROUP', 'SETID', 's', 'g', '$');
    expect(await decide({ lagCount: '5' })).toMatchObject({ value: 0, active: false });
    await bed.server.call('XGROUP', 'SETID', 's', 'g', '0-1');
    expect(await decide({ lagCount: '5' })).toMatchObject({ value: 129 });
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
});

describe('the computed lag', () => {
  it('is never more than the stream’s length, and exact where it is given', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { maxLength: 30 }), fc.nat(30), fc.boolean(), (kept, position, countersKnown) => {
        // Entry n has id n-0; those not kept were deleted; the group has read up to `position`.
        const entries = kept.flatMap((keep, index) => (keep ? [index + 1] : []));
        const read = Math.min(position, kept.length);
        const truth = entries.filter((id) => id > read).length;
        const deleted = kept.lastIndexOf(false) + 1;
        const entry = (id: number | undefined) => (id === undefined ? null : [`${id}-0`, ['f', 'v']]);
        const stream = fieldsOf([
          ...['length', entries.length, 'entries-added', kept.length, 'max-deleted-entry-id', `${deleted}-0`],
          ...['first-entry', entry(entries[0]), 'last-entry', entry(entries.at(-1))],
        ]);
        const group = fieldsOf(['last-delivered-id', `${read}-0`, 'entries-read', countersKnown ? read : null]);
        const lag = computeLag(group, stream);
        if (typeof lag === 'number') expect(lag).toBe(truth);
        else expect(truth).toBeGreaterThan(0);
      }),
    );
  });
});
