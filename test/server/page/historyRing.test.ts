import fc from 'fast-check';
import { expect, test } from 'vitest';
import { figureAt, recordFigures, STEPS, type HistoryRing } from '../../../src/server/http/page/historyRing.ts';

const SERIES = ['value', 'waiting', 'held'] as const;
/** Whole numbers, which are kept exactly. */
const figures = fc.record({ value: fc.nat(2), waiting: fc.nat(2), held: fc.nat(1) }, { requiredKeys: ['value'] });
/** Most often the same step or the next, sometimes one after a gap. */
const ahead = fc.oneof({ weight: 5, arbitrary: fc.nat(1) }, { weight: 1, arbitrary: fc.nat(2 * STEPS) });

test('a course tells each step’s highest figures of the last hour, and nothing where nothing was said', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(ahead, figures), { minLength: 1, maxLength: 300 }), (notes) => {
      const highest = new Map<number, Record<string, number>>();
      let course: HistoryRing | undefined;
      let step = 60_000_000;
      for (const [steps, said] of notes) {
        step += steps;
        course = recordFigures(course, step, said);
        const known = highest.get(step) ?? {};
        for (const [series, figure] of Object.entries(said)) known[series] = Math.max(known[series] ?? 0, figure);
        highest.set(step, known);
      }
      for (let at = step - STEPS - 5; at <= step + 5; at++) {
        const expected = at > step - STEPS ? (highest.get(at) ?? {}) : {};
        for (const series of SERIES) expect(course && figureAt(course, series, at)).toBe(expected[series]);
      }
    }),
  );
});

test('figures that never change take no room for each step, and those that do keep what they were', () => {
  let course = recordFigures(undefined, 1_000, { value: 3 });
  for (let step = 1_001; step < 1_500; step++) course = recordFigures(course, step, { value: 3 });
  expect(course.block).toBeUndefined();
  course = recordFigures(course, 1_500, { value: 4 });
  expect(course.block?.length).toBe(3 * STEPS);
  expect([1_380, 1_381, 1_499, 1_500].map((step) => figureAt(course, 'value', step))).toEqual([undefined, 3, 3, 4]);
});
