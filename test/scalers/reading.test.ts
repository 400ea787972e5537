import { describe, expect, it } from 'vitest';
import { BrokerError } from '../../src/errors.ts';
import { sharingWith, unknown, type Known, type Measures } from '../../src/scalers/reading.ts';

const known = (at: number, measures: Measures, of: readonly Measures[] = [measures], more: Partial<Known> = {}): Known => ({
  known: true,
  at,
  reader: 'LLEN',
  measures: { ...measures },
  queues: of.map((each, index) => ({ queue: `q${index}`, reader: 'LLEN', measures: { ...each } })),
  ...more,
});

describe('a reading that follows another', () => {
  it('holds the former one’s objects where nothing has changed, and is otherwise as it was read', () => {
    const former = known(1, { length: 3, processing: 1 });
    const next = known(2, { length: 3, processing: 1 }, undefined, { reader: 'LLEN+SCARD', notes: ['seen'] });
    const shared = sharingWith(former, next);
    expect(shared).toEqual(next);
    expect(shared).toMatchObject({ measures: former.measures, queues: former.queues });
    if (!shared.known) throw new Error('became unknown');
    expect(shared.measures).toBe(former.measures);
    expect(shared.queues).toBe(former.queues);
  });

  it.each<[string, Known]>([
    ['another figure', known(2, { length: 4 })],
    ['a figure less', known(2, {})],
    ['a figure more', known(2, { length: 3, processing: 0 })],
    ['a figure of another name', known(2, { ready: 3 })],
    ['another queue', known(2, { length: 3 }, [{ length: 1 }, { length: 2 }])],
    ['other figures of its queues', known(2, { length: 3 }, [{ length: 2 }])],
  ])('keeps its own where it says %s', (_, next) => {
    expect(sharingWith(known(1, { length: 3 }), next)).toEqual(next);
  });

  it('stays unknown', () => {
    const trouble = unknown(new BrokerError('BROKER_TIMEOUT', 'late'));
    expect(sharingWith(known(1, { length: 3 }), trouble)).toBe(trouble);
  });
});
