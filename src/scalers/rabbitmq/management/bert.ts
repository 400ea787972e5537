/**
 * Reads an answer in BERT, Erlang's own binary form of its terms, as the JSON text that the management API would have sent instead.
 * It must never make sense of bytes that are cut short or of another form, nor grow beyond what an answer may be.
 *
 * Measured on RabbitMQ 3.10: writing JSON is a third of a list's work, 76 against 50 ms of CPU for the totals of 1000 queues. The
 * form is Erlang's External Term Format: https://www.erlang.org/doc/apps/erts/erl_ext_dist.html
 */

export const BERT = 'application/bert';

const VERSION = 131;
/** Levels of lists, tuples and maps within each other; the broker's answers have half a dozen. */
const MAX_DEPTH = 32;
/** An integer of more bytes is no count, and no double holds it. */
const MAX_INTEGER_BYTES = 8;
/** Atoms that are words of JSON as well, and the empty one, which the broker takes for a value that is not there. */
const WORDS: Readonly<Record<string, string>> = { true: 'true', false: 'false', null: 'null', '': 'null' };
const MAX_WORD_BYTES = 5;

const TAG = {
  float: 70,
  smallInteger: 97,
  integer: 98,
  atom: 100,
  smallTuple: 104,
  largeTuple: 105,
  nil: 106,
  bytes: 107,
  list: 108,
  binary: 109,
  smallBig: 110,
  smallAtom: 115,
  map: 116,
  atomUtf8: 118,
  smallAtomUtf8: 119,
} as const;
const NAMES: ReadonlySet<number> = new Set([TAG.atom, TAG.smallAtom, TAG.atomUtf8, TAG.smallAtomUtf8, TAG.binary]);

export interface BertOptions {
  /** Largest JSON that is made, in bytes. */
  readonly maxBytes: number;
  /** The fields to keep of each row of a list; undefined: all. */
  readonly fields?: readonly string[] | undefined;
}

/** Of the records that are the rows of an answer. */
const ROW_DEPTH = 1;

/** Throws unless the bytes are one whole term of the kinds that the management API sends, and its JSON is no larger than it may be. */
export function jsonOfBert(bytes: Buffer, { maxBytes, fields }: BertOptions): string {
  const out = createText(maxBytes);
  const wanted = fields?.map((field) => Buffer.from(field));
  let at = 0;

  function take(length: number): number {
    const start = at;
    at += length;
    if (at > bytes.length) throw new Error('a term is cut short');
    return start;
  }

  function byte(): number {
    const value = bytes[at++];
    if (value === undefined) throw new Error('a term is cut short');
    return value;
  }

  const length16 = (): number => bytes.readUInt16BE(take(2));
  const length32 = (): number => bytes.readUInt32BE(take(4));

  function term(depth: number): void {
    if (depth > MAX_DEPTH) throw new Error('terms are nested too deep');
    const tag = byte();
    switch (tag) {
      case TAG.smallInteger:
        out.write(`${byte()}`);
        return;
      case TAG.integer:
        out.write(`${bytes.readInt32BE(take(4))}`);
        return;
      case TAG.smallBig:
        out.write(`${bigInteger(byte())}`);
        return;
      case TAG.float: {
        const value = bytes.readDoubleBE(take(8));
        if (!Number.isFinite(value)) throw new Error('a float is no number');
        out.write(`${value}`);
        return;
      }
      case TAG.nil:
        out.write('[]');
        return;
      case TAG.bytes:
        // A list of small integers, which Erlang packs like a text.
        sequence(length16(), () => {
          out.write(`${byte()}`);
        });
        return;
      case TAG.list:
        list(length32(), depth);
        return;
      case TAG.smallTuple:
        items(byte(), depth);
        return;
      case TAG.largeTuple:
        items(length32(), depth);
        return;
      case TAG.map:
        record(length32(), depth, false);
        return;
      default: {
        const start = name(tag);
        const word = tag === TAG.binary || at - start > MAX_WORD_BYTES ? undefined : WORDS[bytes.toString('latin1', start, at)];
        if (word === undefined) text(tag, start);
        else out.write(word);
      }
    }
  }

  function bigInteger(length: number): bigint {
    if (length > MAX_INTEGER_BYTES) throw new Error('an integer is beyond all counts');
    const negative = byte() !== 0;
    let value = 0n;
    for (let index = 0; index < length; index++) value |= BigInt(byte()) << BigInt(8 * index);
    return negative ? -value : value;
  }

  /** Takes an atom or a binary, and gives where its text begins. */
  function name(tag: number): number {
    if (!NAMES.has(tag)) throw new Error(`a term is of the unknown kind ${tag}`);
    const isShort = tag === TAG.smallAtom || tag === TAG.smallAtomUtf8;
    return take(tag === TAG.binary ? length32() : isShort ? byte() : length16());
  }

  function text(tag: number, start: number): void {
    out.quote(bytes, start, at, tag === TAG.atom || tag === TAG.smallAtom);
  }

  function sequence(count: number, one: () => void): void {
    out.write('[');
    for (let index = 0; index < count; index++) {
      if (index > 0) out.write(',');
      one();
    }
    out.write(']');
  }

  function items(count: number, depth: number): void {
    sequence(count, () => {
      term(depth + 1);
    });
  }

  /** A record's fields, which are pairs in a list or stand one after the other in a map. What stands in a list besides is left out. */
  function record(count: number, depth: number, inPairs: boolean): void {
    out.write('{');
    let separator = '';
    for (let index = 0; index < count; index++) {
      const before = out.length();
      out.write(separator);
      const isField = !inPairs || isPair();
      if (inPairs && isField) take(2);
      if (isField && field(depth)) separator = ',';
      else {
        if (!isField) term(depth + 1);
        out.cut(before);
      }
    }
    out.write('}');
  }

  /** A key is a text even if it is `true`. Returns whether the field was kept. */
  function field(depth: number): boolean {
    const tag = byte();
    const start = name(tag);
    if (depth === ROW_DEPTH && wanted?.some((each) => isAt(each, start, at)) === false) {
      skip();
      return false;
    }
    text(tag, start);
    out.write(':');
    term(depth + 1);
    return true;
  }

  /** Passes over a term, whatever it holds. */
  function skip(): void {
    for (let terms = 1; terms > 0; terms--) {
      const tag = byte();
      if (tag === TAG.smallInteger) take(1);
      else if (tag === TAG.integer) take(4);
      else if (tag === TAG.float) take(8);
      else if (tag === TAG.smallBig) take(byte() + 1);
      else if (tag === TAG.bytes) take(length16());
      // Its end is a term as well.
      else if (tag === TAG.list) terms += length32() + 1;
      else if (tag === TAG.smallTuple) terms += byte();
      else if (tag === TAG.largeTuple) terms += length32();
      else if (tag === TAG.map) terms += 2 * length32();
      else if (tag !== TAG.nil) name(tag);
    }
  }

  function isAt(expected: Buffer, start: number, end: number): boolean {
    if (expected.length !== end - start) return false;
    for (let index = start; index < end; index++) if (bytes[index] !== expected[index - start]) return false;
    return true;
  }

  function list(count: number, depth: number): void {
    // A list whose first member is a pair with a name is a record.
    if (isPair()) record(count, depth, true);
    else items(count, depth);
    if (byte() !== TAG.nil) throw new Error('a list has no end');
  }

  function isPair(): boolean {
    return bytes[at] === TAG.smallTuple && bytes[at + 1] === 2 && NAMES.has(bytes[at + 2] ?? 0);
  }

  if (byte() !== VERSION) throw new Error('there is no term');
  term(0);
  if (at !== bytes.length) throw new Error('there is more than one term');
  return out.toString();
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const SPACE = 0x20;
/** Of one byte in JSON, as `\u001f`. */
const MAX_ESCAPED_BYTES = 6;

/** UTF-8 that grows up to a bound; no string is made of any of its pieces. */
function createText(maxBytes: number) {
  let buffer = Buffer.allocUnsafe(Math.min(maxBytes, 65_536));
  let length = 0;

  function reserve(more: number): void {
    const wanted = length + more;
    if (wanted <= buffer.length) return;
    if (wanted > maxBytes) throw new Error(`the terms have more than ${maxBytes} bytes as JSON`);
    const larger = Buffer.allocUnsafe(Math.min(maxBytes, Math.max(wanted, 2 * buffer.length)));
    buffer.copy(larger, 0, 0, length);
    buffer = larger;
  }

  function write(ascii: string): void {
    reserve(ascii.length);
    for (let index = 0; index < ascii.length; index++) buffer[length++] = ascii.charCodeAt(index);
  }

  return {
    write,
    /** Writes bytes as a JSON string. */
    quote(from: Buffer, start: number, end: number, isLatin1: boolean): void {
      write('"');
      reserve(MAX_ESCAPED_BYTES * (end - start));
      for (let index = start; index < end; index++) {
        const code = from[index] ?? 0;
        if (code < SPACE) write(`\\u${code.toString(16).padStart(4, '0')}`);
        else if (code === QUOTE || code === BACKSLASH) {
          buffer[length++] = BACKSLASH;
          buffer[length++] = code;
        } else if (isLatin1 && code >= 0x80) {
          buffer[length++] = 0xc0 | (code >> 6);
          buffer[length++] = 0x80 | (code & 0x3f);
        } else buffer[length++] = code;
      }
      write('"');
    },
    length: () => length,
    cut(to: number): void {
      length = to;
    },
    toString: () => buffer.toString('utf8', 0, length),
  };
}
