/**
 * Values of formulas, as Expr keeps them apart, and what is said where one is of the wrong kind.
 */

/** Integers are bigints. */
export type Value = number | bigint | boolean | null | readonly Value[];
export type Numbers = readonly (number | bigint)[];

/** Why a formula has no value; `beyond` as in `FormulaFault`. */
export class FormulaError extends Error {
  readonly beyond: boolean;
  constructor(message: string, beyond = false) {
    super(message);
    this.beyond = beyond;
  }
}

/** Positions count from 1. */
export function at(index: number): string {
  return `at character ${index + 1}`;
}

export function truth(word: string, value: Value | undefined): boolean {
  if (typeof value === 'boolean') return value;
  throw new FormulaError(`${word} takes true or false, not ${kindOf(value ?? null)}`);
}

export function numeric(word: string, value: Value | undefined): number | bigint {
  if (typeof value === 'number' || typeof value === 'bigint') return value;
  throw new FormulaError(`${word} takes numbers, not ${value === undefined ? 'nothing' : kindOf(value)}`);
}

export function kindOf(value: Value): string {
  if (value === null) return 'nil';
  if (typeof value === 'boolean') return 'true or false';
  return typeof value === 'object' ? 'an array' : 'a number';
}
