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
 * One-way name for settings that hold secrets: equal settings have equal fingerprints, and nothing can be read from one.
 * 128 bits of SHA-256, hexadecimal.
 */
export function fingerprint(...parts: readonly (string | number | boolean | undefined | Secret)[]): string {
  const hash = createHash('sha256');
  for (const part of parts) {
    const text = part instanceof Secret ? part.reveal() : String(part);
    hash.update(`${part === undefined ? 'u' : 's'}${Buffer.byteLength(text)}:${text}`);
  }
  return hash.digest('hex').slice(0, 32);
}

/**
 * Takes the given secrets, and the password of every URL, out of a foreign text such as a client library's message.
 * A password is also removed in its percent-encoded form.
 */
export function scrub(text: string, secrets: readonly Secret[] = []): string {
  let clean = text.replace(/(\b[a-z][a-z0-9+.-]*:\/\/)\S*@/gi, `$1${MASK}@`);
  for (const secret of secrets) {
    const value = secret.reveal();
    if (value === '') continue;
    for (const form of new Set([value, encodeURIComponent(value)])) clean = clean.replaceAll(form, MASK);
  }
  return clean;
}
