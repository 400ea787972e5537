/** Formulas against JavaScript's own arithmetic, against Expr's rules where the two differ, and against what is no formula. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseFormula } from '../../src/formula/formula.ts';

const VALUES = new Map([
  ['a', 7],
  ['b', 2.5],
]);

function valueOf(text: string, values: ReadonlyMap<string, number> = VALUES): number | string {
  const parsed = parseFormula(text);
  if ('fault' in parsed) return parsed.fault.message;
  const result = parsed.formula.evaluate(values);
  return 'value' in result ? result.value : result.error;
}

/** A text that is Expr and JavaScript at once, with its meaning. Floats only, as integers of Expr differ. */
type Both = readonly [text: string, value: number];
const leaf = fc.oneof(
  fc.constantFrom<Both>(['a', 7], ['b', 2.5]),
  fc.integer({ min: 0, max: 99 }).map((whole): Both => [`${whole}.5`, whole + 0.5]),
);
const { expression } = fc.letrec<{ expression: Both }>((tie) => ({
  expression: fc.oneof(
    { maxDepth: 5, withCrossShrink: true },
    leaf,
    fc
      .tuple(tie('expression'), fc.constantFrom('+', '-', '*'), tie('expression'))
      .map(([[left, l], sign, [right, r]]): Both => [
        `(${left}) ${sign} (${right})`,
        sign === '+' ? l + r : sign === '-' ? l - r : l * r,
      ]),
    fc
      .tuple(tie('expression'), fc.constantFrom('<', '>='), tie('expression'))
      .map(([[left, l], sign, [right, r]]): Both => [
        `((${left}) ${sign} (${right}) ? (${left}) : -(${right}))`,
        (sign === '<' ? l < r : l >= r) ? l : -r,
      ]),
    fc
      .array(tie('expression'), { minLength: 1, maxLength: 4 })
      .map((each): Both => [`max([${each.map(([text]) => text).join(', ')}])`, Math.max(...each.map(([, value]) => value))]),
    fc
      .array(tie('expression'), { maxLength: 4 })
      .map((each): Both => [
        `sum(filter([${each.map(([text]) => text).join(', ')}], {# > 1.5}))`,
        each.reduce((sum, [, value]) => (value > 1.5 ? sum + value : sum), 0),
      ]),
  ),
}));

describe('a formula', () => {
  test('computes as JavaScript does', () => {
    fc.assert(
      fc.property(expression, ([text, value]) => {
        expect(valueOf(text)).toBeCloseTo(value, 6);
      }),
    );
  });

  test('binds its operators as JavaScript does, without parentheses', () => {
    const operators = fc.array(fc.tuple(fc.constantFrom('+', '-', '*', '/'), fc.integer({ min: 1, max: 9 })), { maxLength: 6 });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9 }), operators, (first, more) => {
        const text = more.reduce((written, [operator, number]) => `${written} ${operator} ${number}.0`, `${first}.0`);
        // eslint-disable-next-line @typescript-eslint/no-implied-eval, @typescript-eslint/no-unsafe-call -- the oracle
        expect(valueOf(text)).toBe(new Function(`return ${text}`)());
      }),
    );
  });

  test('never throws, whatever it is', () => {
    const word = fc.constantFrom(
      'a',
      'b',
      '(',
      ')',
      '[',
      ']',
      '{',
      '}',
      '#',
      ',',
      '?',
      ':',
      '-',
      '**',
      '>',
      'not',
      'or',
      'max',
      'count',
      '1',
      '.',
      '__proto__',
      'constructor',
      ' ',
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 14 }), (words) => {
        expect(['number', 'string']).toContain(typeof valueOf(words.join('')));
      }),
      { numRuns: 1000 },
    );
  });

  test.each([
    ['-2 ** 2', -4],
    ['(-2) ** 2', 4],
    ['2 ^ 3 ^ 2', 512],
    ['2 ** -1', 0.5],
    ['-a ** 2 ?? b', -49],
    ['7 / 2', 3.5],
    ['7 % 4', 3],
    ['int(a) % 2', 1],
    ['round(-2.5)', -3],
    ['floor(b) + ceil(b)', 5],
    ['abs(-a)', 7],
    ['median([3, 1, 2, 10])', 2.5],
    ['mean(a, [b, b])', 4],
    ['min(a, b)', 2.5],
    ['count([a, b], {# > 3})', 1],
    ['count([a, b], # > 3)', 1],
    ['sum(map([1, 2, 3], {# * #}))', 14],
    ['len([a, b])', 2],
    ['all([a], {# > 1}) and not any([b], {# > 3}) ? 1 : 2', 1],
    ['none([a, b], {# < 0}) && !(a < b) || false ? 1 : 2', 1],
    ['nil ?? a', 7],
    ['a == 7 ? b != 2.5 ? 1 : 2 : 3', 2],
    ['float(1) == 1 ? 1 : 0', 1],
  ])('%s is %d', (text, value) => {
    expect(valueOf(text)).toBe(value);
  });

  test.each([
    ['', 'is empty'],
    ['a b', 'Unexpected "b" at character 3'],
    ['max(a b)', 'Unexpected "b" at character 7'],
    ['(a', 'Expected ) at character 3'],
    ['a)', 'Unexpected ")" at character 2'],
    ['a, b', 'must be one expression'],
    ['a,', 'unexpected comma at character 2'],
    ['a +', 'Expected expression after + at character 4'],
    ['b + avg(a)', 'function avg at character 5 is not known here'],
    ['a + c', 'no trigger is called c (at character 5)'],
    ['constructor', 'no trigger is called constructor (at character 1)'],
    ['a.constructor', 'members and indices are more of Expr than is evaluated here'],
    ['let x = a; x', 'let at character 1 is more of Expr than is evaluated here'],
    ['a > 2', 'gives true or false, not a number'],
    ['a % 2', '% takes whole numbers only, and values of triggers are none: int(…) makes them'],
    ['a && b', '&& takes true or false, not a number'],
    ['a ? 1 : 2', '? takes true or false, not a number'],
    ['true + 1', '+ takes numbers, not true or false'],
    ['#', '# is known in a predicate only'],
    ['a / 0', 'gives Infinity'],
    ['1 % 0', '% by zero'],
    ['max()', 'max takes one number at least'],
  ])('%s is none: %s', (text, message) => {
    expect(valueOf(text)).toBe(message);
  });

  test('tells what it reads', () => {
    const parsed = parseFormula('max([a, b]) > 1 ? count([c], {# > d}) : true ? 1 : nil');
    expect('formula' in parsed && [...parsed.formula.names]).toEqual(['a', 'b', 'c', 'd']);
  });
});
