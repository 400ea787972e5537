/** Windows of the clock: what is open when, in which time zone, and what KEDA would refuse. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createCronTrigger, parseCron, type CronWindow } from '../../src/local/keda/cron.ts';

const OFFICE = { timezone: 'Europe/Berlin', start: '0 6 * * *', end: '0 20 * * *', desiredReplicas: '3' };

function windowOf(metadata: Readonly<Record<string, string>>): CronWindow {
  const parsed = parseCron(metadata);
  if ('faults' in parsed) throw new Error(parsed.faults.join('; '));
  return parsed;
}

function faultsOf(change: Readonly<Record<string, string>>): string[] {
  const parsed = parseCron({ ...OFFICE, ...change });
  return 'faults' in parsed ? parsed.faults.map(([key]) => key) : [];
}

describe('a window of the clock', () => {
  test.each([
    // Summer in Berlin is two hours ahead of UTC, winter one.
    ['2026-07-01T03:59:59Z', false, 1, '2026-07-01T04:00:00.000Z'],
    ['2026-07-01T04:00:00Z', true, 3, '2026-07-01T18:00:00.000Z'],
    ['2026-07-01T18:00:00Z', false, 1, '2026-07-02T04:00:00.000Z'],
    ['2026-12-01T04:30:00Z', false, 1, '2026-12-01T05:00:00.000Z'],
    ['2026-03-28T20:00:00Z', false, 1, '2026-03-29T04:00:00.000Z'],
  ])('at %s is active: %s', (now, active, value, until) => {
    expect(windowOf(OFFICE).at(new Date(now))).toEqual({ active, value, until: new Date(until) });
  });

  test('may be one over midnight, or of certain weekdays', () => {
    const night = windowOf({ ...OFFICE, timezone: 'UTC', start: '0 22 * * *', end: '0 2 * * *' });
    expect(night.at(new Date('2026-07-01T23:00:00Z')).active).toBe(true);
    expect(night.at(new Date('2026-07-01T03:00:00Z')).active).toBe(false);
    const week = windowOf({ ...OFFICE, timezone: 'UTC', start: '0 6 * * MON', end: '0 20 * * 5' });
    expect(week.at(new Date('2026-07-01T03:00:00Z')).active).toBe(true);
    expect(week.at(new Date('2026-07-04T03:00:00Z')).active).toBe(false);
  });

  test('holds until the time that it tells, and changes then', () => {
    const hours = fc.tuple(fc.integer({ min: 0, max: 23 }), fc.integer({ min: 0, max: 23 })).filter(([a, b]) => a !== b);
    const time = fc.date({ min: new Date('2026-01-01'), max: new Date('2027-01-01'), noInvalidDate: true });
    fc.assert(
      fc.property(hours, time, ([from, to], now) => {
        const window = windowOf({ ...OFFICE, timezone: 'UTC', start: `0 ${from} * * *`, end: `0 ${to} * * *` });
        const state = window.at(now);
        const hour = now.getUTCHours();
        expect(state.active).toBe(from < to ? hour >= from && hour < to : hour >= from || hour < to);
        expect(window.at(new Date(state.until.getTime() - 1)).active).toBe(state.active);
        expect(window.at(state.until).active).toBe(!state.active);
      }),
    );
  });

  test('is the metric of a trigger', async () => {
    const trigger = createCronTrigger({
      index: 1,
      targetType: 'AverageValue',
      useCachedMetrics: false,
      window: windowOf(OFFICE),
    });
    const { signal } = new AbortController();
    expect(await trigger.metrics(signal, signal)).toEqual({
      ok: true,
      value: [{ name: 's1-cron-Europe-Berlin-06xxx-020xxx', target: 1 }],
    });
    expect(await trigger.read('s1-cron', signal, signal)).toMatchObject({ ok: true });
  });

  test('is refused with all its faults', () => {
    expect(faultsOf({ timezone: '', start: '', end: ' ', desiredReplicas: '' })).toEqual([
      'timezone',
      'start',
      'end',
      'desiredReplicas',
    ]);
    expect(faultsOf({ timezone: 'Mars/Base' })).toEqual(['timezone']);
    expect(faultsOf({ desiredReplicas: '2.5' })).toEqual(['desiredReplicas']);
    expect(faultsOf({ end: OFFICE.start })).toEqual(['end']);
    for (const start of ['@daily', '0 0 6 * * *', '0 25 * * *', '0 6 L * *', '0 6 * * 5#2', '0 6 31 2 *', 'six'])
      expect(faultsOf({ start }), start).toEqual(['start']);
    for (const start of ['*/15 6-8,10 ? JAN-JUL MON-WED', '0 6 1 * 1']) expect(faultsOf({ start }), start).toEqual([]);
  });
});
