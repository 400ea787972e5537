/**
 * Numbers as KEDA's two field types want them: the float exact, the integer for KEDA up to 2.16, which knows no float.
 */

/**
 * A value or target as an integer field: rounded, but anything above zero stays above zero, because a 0 there would mean
 * "no work" or an invalid target; zero stays zero, because a later KEDA falls back to the integer when the float is zero.
 */
export function asInteger(value: number): number {
  if (value > 0 && value < 1) return 1;
  return Math.min(Math.round(value), Number.MAX_SAFE_INTEGER);
}
