/**
 * Operators and functions of formulas, as Expr defines them for numbers and arrays.
 *
 * Source: https://expr-lang.org/docs/language-definition
 */
import { FormulaError, kindOf, numeric, truth, type Numbers, type Value } from './values.ts';

export function unary(operator: string, value: Value): Value {
  if (operator === '!' || operator === 'not') return !truth(operator, value);
  const number = numeric(operator, value);
  return operator === '-' ? -number : number;
}

export function arithmetic(operator: string, left: number | bigint, right: number | bigint): Value {
  if (operator === '<') return left < right;
  if (operator === '>') return left > right;
  if (operator === '<=') return left <= right;
  if (operator === '>=') return left >= right;
  if (operator === '/') return Number(left) / Number(right);
  if (operator === '**' || operator === '^') return Number(left) ** Number(right);
  if (typeof left === 'bigint' && typeof right === 'bigint') {
    if (operator === '%' && right === 0n) throw new FormulaError('% by zero');
    const exact =
      operator === '+' ? left + right : operator === '-' ? left - right : operator === '*' ? left * right : left % right;
    return BigInt.asIntN(64, exact);
  }
  if (operator === '%') throw new FormulaError('% takes whole numbers only, and values of triggers are none: int(…) makes them');
  const [a, b] = [Number(left), Number(right)];
  return operator === '+' ? a + b : operator === '-' ? a - b : a * b;
}

export function isEqual(left: Value, right: Value): boolean {
  if (Array.isArray(left) && Array.isArray(right))
    return left.length === right.length && left.every((each: Value, index) => isEqual(each, right[index] as Value));
  if (left === null || right === null) return left === right;
  if (kindOf(left) !== kindOf(right)) throw new FormulaError(`${kindOf(left)} cannot be compared with ${kindOf(right)}`);
  return !(left < right) && !(left > right) && !Number.isNaN(left) && !Number.isNaN(right);
}

const float = (value: number | bigint | undefined): number => Number(value ?? 0);
const total = (numbers: Numbers): Value =>
  numbers.reduce<number | bigint>((sum, each) => arithmetic('+', sum, each) as number, 0n);
const nonempty = (numbers: Numbers, word: string): Numbers => {
  if (numbers.length === 0) throw new FormulaError(`${word} takes one number at least`);
  return numbers;
};

/** Functions of one number. */
export const OF_NUMBER: ReadonlyMap<string, (value: number | bigint) => Value> = new Map<
  string,
  (value: number | bigint) => Value
>([
  ['abs', (value) => (value < 0 ? -value : value)],
  ['ceil', (value) => Math.ceil(Number(value))],
  ['floor', (value) => Math.floor(Number(value))],
  // Halves go away from zero.
  ['round', (value) => Math.sign(Number(value)) * Math.round(Math.abs(Number(value)))],
  ['int', (value) => (Number.isFinite(Number(value)) ? BigInt(Math.trunc(Number(value))) : 0n)],
  ['float', Number],
]);
/** Functions of numbers and of arrays of them. */
export const OF_NUMBERS: ReadonlyMap<string, (numbers: Numbers) => Value> = new Map<string, (numbers: Numbers) => Value>([
  ['max', (numbers) => nonempty(numbers, 'max').reduce((best, each) => (each > best ? each : best))],
  ['min', (numbers) => nonempty(numbers, 'min').reduce((best, each) => (each < best ? each : best))],
  ['mean', (numbers) => (numbers.length === 0 ? 0 : Number(total(numbers)) / numbers.length)],
  ['median', median],
]);
/** Functions of an array and of what a predicate makes of each of its elements. */
export const OF_ARRAY: ReadonlyMap<string, (made: readonly Value[], array: readonly Value[]) => Value> = new Map<
  string,
  (made: readonly Value[], array: readonly Value[]) => Value
>([
  ['len', (_, array) => BigInt(array.length)],
  ['sum', (made) => total(made.map((each) => numeric('sum', each)))],
  ['count', (made) => BigInt(made.filter((each) => truth('count', each)).length)],
  ['any', (made) => made.some((each) => truth('any', each))],
  ['all', (made) => made.every((each) => truth('all', each))],
  ['none', (made) => !made.some((each) => truth('none', each))],
  ['filter', (made, array) => array.filter((_, index) => truth('filter', made[index]))],
  ['map', (made) => made],
]);

function median(numbers: Numbers): number {
  const sorted = numbers.map(Number).sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? float(sorted[middle]) : (float(sorted[middle - 1]) + float(sorted[middle])) / 2;
}

/** The elements of arrays, and what is none as it is. */
export function flat(value: Value): readonly Value[] {
  return Array.isArray(value) ? (value as readonly Value[]).flatMap(flat) : [value];
}
