/**
 * The types that a trigger key's text can have, as strict zod schemas: a text means one thing or is a fault, never a guess.
 */
import { z } from 'zod';
import { BOOLEAN, isTrue } from '../keda.ts';

const MAX_TEXT = 8192;

/** Any text that is not empty. */
export function text() {
  return z.string().max(MAX_TEXT, `must be at most ${MAX_TEXT} characters`);
}

/** One of the given words, in exactly this spelling. */
export function oneOf<const Words extends readonly [string, ...string[]]>(words: Words) {
  return z.enum(words, `must be one of ${words.join(', ')}`);
}

/** `true` or `false` in the spellings that KEDA takes. */
export function flag() {
  return z.string().regex(BOOLEAN, 'must be true or false').transform(isTrue);
}

/** A finite decimal number within the bounds: no sign but `-`, no `NaN`, no hexadecimal, no number too large to hold. */
export function decimal(bounds: { readonly min?: number; readonly above?: number; readonly max?: number } = {}) {
  const { min = -Infinity, above = -Infinity, max = Number.MAX_SAFE_INTEGER } = bounds;
  return z
    .string()
    .regex(/^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/, 'must be a number such as 20 or 0.5')
    .transform(Number)
    .refine((value) => value >= min && value > above && value <= max, `must be a number ${describeBounds(min, above, max)}`);
}

/** A whole number within the bounds, which are inclusive. */
export function whole(bounds: { readonly min?: number; readonly max?: number } = {}) {
  const { min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER } = bounds;
  return z
    .string()
    .regex(/^-?(?:0|[1-9]\d*)$/, 'must be a whole number such as 20')
    .transform(Number)
    .refine((value) => value >= min && value <= max, `must be a whole number ${describeBounds(min, -Infinity, max)}`);
}

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** A duration as KEDA takes it: Go's `1m30s`, `500ms`, `1.5s`, or a whole number of milliseconds. Result in milliseconds. */
export function duration(bounds: { readonly minMs?: number; readonly maxMs?: number } = {}) {
  const { minMs = 0, maxMs = 86_400_000 } = bounds;
  return z
    .string()
    .regex(/^(?:\d+|(?:\d+(?:\.\d+)?(?:ms|s|m|h))+)$/, 'must be a duration such as 3s, 500ms or 1m30s, or whole milliseconds')
    .transform((word) =>
      /^\d+$/.test(word)
        ? Number(word)
        : [...word.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)].reduce(
            (total, [, amount, unit]) => total + Number(amount) * (UNIT_MS[unit ?? ''] ?? NaN),
            0,
          ),
    )
    .refine((ms) => ms >= minMs && ms <= maxMs, `must lie between ${minMs} ms and ${maxMs} ms`);
}

/** A comma-separated list; elements are trimmed and none may be empty. */
export function list() {
  return text()
    .transform((words) => words.split(',').map((word) => word.trim()))
    .refine((words) => words.every((word) => word !== ''), 'must be a comma-separated list without empty elements');
}

function describeBounds(min: number, above: number, max: number): string {
  const lower = above > -Infinity ? `above ${above}` : min > -Infinity ? `of at least ${min}` : '';
  const upper = max < Number.MAX_SAFE_INTEGER ? `at most ${max}` : '';
  return [lower, upper].filter(Boolean).join(' and ') || 'that fits in 53 bits';
}
