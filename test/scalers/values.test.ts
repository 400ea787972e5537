import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decimal, duration, flag, list, oneOf, text, whole } from '../../src/scalers/values.ts';

const accepts = (schema: { safeParse(value: string): { success: boolean } }, value: string): boolean =>
  schema.safeParse(value).success;

describe('a number key', () => {
  test('takes plain decimals and gives exactly their value', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1e9, noNaN: true }), (value) => {
        // JavaScript prints tiny numbers with an exponent, which is allowed too.
        expect(decimal().parse(String(value))).toBe(value);
      }),
    );
    expect(decimal().parse('-2.5')).toBe(-2.5);
  });

  test.each(['NaN', 'Infinity', '1e999', '0x10', '+1', '.5', '1.', '01', '1,5', '1_000', '١', '', ' ', '1 2', '--1', 'true'])(
    'refuses %j',
    (value) => {
      expect(accepts(decimal(), value)).toBe(false);
      expect(accepts(whole(), value)).toBe(false);
    },
  );

  test('keeps its bounds: `above` is strict, `min` and `max` are not', () => {
    expect(accepts(decimal({ above: 0 }), '0')).toBe(false);
    expect(accepts(decimal({ above: 0 }), '0.001')).toBe(true);
    expect(accepts(decimal({ min: 0 }), '0')).toBe(true);
    expect(accepts(decimal({ min: 0 }), '-0.1')).toBe(false);
    expect(accepts(whole({ min: 1, max: 500 }), '500')).toBe(true);
    expect(accepts(whole({ min: 1, max: 500 }), '501')).toBe(false);
    expect(accepts(whole(), '1.0')).toBe(false);
    expect(accepts(whole(), '9007199254740993')).toBe(false);
  });
});

describe('a flag key', () => {
  test('takes the spellings of Go’s ParseBool and no others', () => {
    for (const word of ['1', 't', 'T', 'TRUE', 'true', 'True']) expect(flag().parse(word)).toBe(true);
    for (const word of ['0', 'f', 'F', 'FALSE', 'false', 'False']) expect(flag().parse(word)).toBe(false);
    for (const word of ['yes', 'on', 'tRUE', 'no', '2', 'true ']) expect(accepts(flag(), word)).toBe(false);
  });
});

describe('a duration key', () => {
  test('takes Go durations and whole milliseconds', () => {
    expect(duration().parse('3s')).toBe(3000);
    expect(duration().parse('1m30s')).toBe(90_000);
    expect(duration().parse('1.5s')).toBe(1500);
    expect(duration().parse('250ms')).toBe(250);
    expect(duration().parse('2500')).toBe(2500);
    expect(duration().parse('1h')).toBe(3_600_000);
  });

  test.each(['-1s', '3 s', 's', '1d', '1.5', '', '3S', '1e3'])('refuses %j', (value) => {
    expect(accepts(duration(), value)).toBe(false);
  });
});

test('a list is split at commas, trimmed, and has no empty element', () => {
  expect(list().parse('a, b ,c')).toEqual(['a', 'b', 'c']);
  expect(accepts(list(), 'a,,b')).toBe(false);
  expect(accepts(list(), 'a,')).toBe(false);
});

test('a word key takes its words in exactly their spelling and names them when refused', () => {
  const schema = oneOf(['sum', 'avg']);
  expect(schema.parse('sum')).toBe('sum');
  expect(schema.safeParse('Sum').error?.issues[0]?.message).toBe('must be one of sum, avg');
});

test('a text is bounded', () => {
  expect(accepts(text(), 'x'.repeat(8192))).toBe(true);
  expect(accepts(text(), 'x'.repeat(8193))).toBe(false);
});
