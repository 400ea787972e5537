/**
 * Holds a text that must not leave the process, so that printing, logging or serialising the holder shows `***`.
 */
import { createHash } from 'node:crypto';
import { inspect } from 'node:util';

const MASK = '***';

export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** The text itself, for the one place that sends it to its broker. */
  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return MASK;
  }

  toJSON(): string {
    return MASK;
  }

  [inspect.custom](): string {
    return MASK;
  }
}

/**
 * One-way name for settings that hold secrets: equal settings have equal fingerprints, and nothing can be read from one. Settings are
 * texts, numbers, booleans, undefined, secrets, and arrays, maps and plain objects of them; the order of an object's fields has no
 * part in it. 128 bits of SHA-256, hexadecimal. Throws on anything else, as two functions could not be told apart.
 */
export function fingerprint(...parts: readonly unknown[]): string {
  const texts: string[] = [];
  const add = (value: unknown): void => {
    if (typeof value === 'string') texts.push(`s${value.length}:${value}`);
    else if (value === undefined || typeof value === 'number' || typeof value === 'boolean') texts.push(`p${String(value)};`);
    else if (value instanceof Secret) add(value.reveal());
    else if (value instanceof Map) add([...(value as ReadonlyMap<unknown, unknown>)]);
    else if (Array.isArray(value)) {
      texts.push(`a${value.length}:`);
      value.forEach(add);
    } else if (typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype) {
      const names = Object.keys(value).sort();
      texts.push(`o${names.length}:`, ...names.map((name) => `s${name.length}:${name}`));
      for (const name of names) add((value as Readonly<Record<string, unknown>>)[name]);
    } else throw new TypeError(`a ${typeof value} has no fingerprint`);
  };
  parts.forEach(add);
  return createHash('sha256').update(texts.join('')).digest('hex').slice(0, 32);
}

/** From so many characters on a secret is nothing that other words hold by chance. */
const TELLING_LENGTH = 8;
const WORD = String.raw`[\p{L}\p{N}_]`;

/**
 * Takes the given secrets, and the password of every URL, out of a foreign text such as a client library's message. A password is also
 * removed in its percent-encoded form. Only whole words are: a mask inside one would show what a short secret is. A long one is removed with
 * the word that holds it.
 */
export function scrub(text: string, secrets: readonly Secret[] = []): string {
  let clean = text.replace(/(\b[a-z][a-z0-9+.-]*:\/\/)\S*@/gi, `$1${MASK}@`);
  for (const secret of secrets) {
    const value = secret.reveal();
    if (value === '') continue;
    for (const form of new Set([value, encodeURIComponent(value)])) clean = clean.replaceAll(wordOf(form), MASK);
  }
  return clean;
}

function wordOf(secret: string): RegExp {
  const literal = secret.replaceAll(/[\\^$.*+?()[\]{}|/]/g, String.raw`\$&`);
  if (secret.length >= TELLING_LENGTH) return new RegExp(`${WORD}*${literal}${WORD}*`, 'gu');
  const before = new RegExp(`^${WORD}`, 'u').test(secret) ? `(?<!${WORD})` : '';
  const after = new RegExp(`${WORD}$`, 'u').test(secret) ? `(?!${WORD})` : '';
  return new RegExp(`${before}${literal}${after}`, 'gu');
}
