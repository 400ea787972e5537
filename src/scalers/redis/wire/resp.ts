/**
 * The Redis serialization protocol, versions 2 and 3 (https://redis.io/docs/latest/develop/reference/protocol-spec/): commands to
 * bytes, bytes to replies. It must never guess: bytes that are not the protocol end the stream with an error.
 */

/** A command's name and arguments. */
export type Command = readonly [string, ...(string | number)[]];

/** Maps come as flat lists of names and values, sets as lists, so that both protocol versions read alike. */
export type Reply = string | number | boolean | null | ErrorReply | readonly Reply[];

/** An error that the server answered in place of a reply: an error code in capitals and a text. */
export class ErrorReply {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  /** The first word, such as `WRONGTYPE`, `MOVED` or the general `ERR`. */
  get code(): string {
    return /^[A-Z]+/.exec(this.text)?.[0] ?? 'ERR';
  }
}

export type Fields = ReadonlyMap<string, Reply>;

/** A flat list of names and values as a map; anything else as an empty one. */
export function fieldsOf(reply: Reply): Fields {
  const fields = new Map<string, Reply>();
  if (!Array.isArray(reply)) return fields;
  for (let at = 0; at + 1 < reply.length; at += 2) {
    const name: unknown = reply[at];
    if (typeof name === 'string') fields.set(name, reply[at + 1] as Reply);
  }
  return fields;
}

export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
}

/** A stream's `XINFO STREAM` carries two whole entries; nothing else that is read here comes near. */
const MAX_BULK_BYTES = 64 * 1024 * 1024;
const MAX_ELEMENTS = 1_000_000;
const MAX_DEPTH = 8;
const MAX_LINE_BYTES = 64 * 1024;

export function encode(commands: readonly Command[]): Buffer {
  let text = '';
  for (const command of commands) {
    text += `*${command.length}\r\n`;
    for (const part of command) {
      const argument = String(part);
      text += `$${Buffer.byteLength(argument)}\r\n${argument}\r\n`;
    }
  }
  return Buffer.from(text);
}

export interface Decoder {
  /** Throws a {@link ProtocolError}, after which the stream is beyond repair. */
  write(chunk: Buffer): void;
}

/** `onPush` gets what the server says unasked (version 3 only); everything else is a reply to a command, in order. */
export function createDecoder(onReply: (reply: Reply) => void, onPush: (push: readonly Reply[]) => void): Decoder {
  let buffer: Buffer = Buffer.alloc(0);
  let waiting: Buffer[] = [];
  let waitingBytes = 0;
  /** Bytes without which parsing again is useless. */
  let neededBytes = 0;

  return {
    write(chunk) {
      waiting.push(chunk);
      waitingBytes += chunk.length;
      if (buffer.length + waitingBytes < neededBytes) return;
      buffer = buffer.length === 0 && waiting.length === 1 ? chunk : Buffer.concat([buffer, ...waiting]);
      waiting = [];
      waitingBytes = 0;
      neededBytes = 0;
      const cursor: Cursor = { buffer, at: 0, needed: 0 };
      for (;;) {
        const start = cursor.at;
        const push = buffer[start] === PUSH;
        const value = parse(cursor, 0);
        if (value === INCOMPLETE) {
          buffer = buffer.subarray(start);
          neededBytes = Math.max(0, cursor.needed - start);
          return;
        }
        if (push) onPush(Array.isArray(value) ? (value as readonly Reply[]) : []);
        else onReply(value);
      }
    },
  };
}

const INCOMPLETE = Symbol('incomplete');
const PUSH = 0x3e; // >
const CR = 0x0d;
const LF = 0x0a;

interface Cursor {
  readonly buffer: Buffer;
  at: number;
  /** Offset that the buffer must reach before the value under way can be whole. */
  needed: number;
}

function parse(cursor: Cursor, depth: number): Reply | typeof INCOMPLETE {
  const line = readLine(cursor);
  if (line === INCOMPLETE) return INCOMPLETE;
  const text = line.slice(1);
  switch (line.charAt(0)) {
    case '+':
      return text;
    case '-':
      return new ErrorReply(text);
    case ':':
      return integer(text);
    case '$':
    case '=': {
      const bulk = parseBulk(cursor, text);
      // A verbatim string starts with its format, as in `txt:`.
      return typeof bulk === 'string' && line.startsWith('=') ? bulk.slice(4) : bulk;
    }
    case '!': {
      const bulk = parseBulk(cursor, text);
      return typeof bulk === 'string' ? new ErrorReply(bulk) : bulk;
    }
    case '*':
    case '~':
    case '>':
      return parseList(cursor, text, 1, depth);
    case '%':
      return parseList(cursor, text, 2, depth);
    case '|': {
      // Attributes belong to the value that follows; nothing here asks for any.
      const attributes = parseList(cursor, text, 2, depth);
      return attributes === INCOMPLETE ? INCOMPLETE : parse(cursor, depth);
    }
    case '_':
      return null;
    case '#':
      if (text !== 't' && text !== 'f') throw new ProtocolError('a boolean that is neither true nor false');
      return text === 't';
    case ',':
      return text;
    case '(':
      return text;
    default:
      throw new ProtocolError(`a reply that starts with byte ${cursor.buffer[cursor.at - line.length - 2] ?? -1}`);
  }
}

function readLine(cursor: Cursor): string | typeof INCOMPLETE {
  const end = cursor.buffer.indexOf(LF, cursor.at);
  if (end < 0) {
    if (cursor.buffer.length - cursor.at > MAX_LINE_BYTES) throw new ProtocolError('a line without end');
    return INCOMPLETE;
  }
  if (end === cursor.at || cursor.buffer[end - 1] !== CR) throw new ProtocolError('a line that does not end in CR LF');
  const line = cursor.buffer.toString('utf8', cursor.at, end - 1);
  cursor.at = end + 1;
  return line;
}

function parseBulk(cursor: Cursor, text: string): string | null | typeof INCOMPLETE {
  const length = integer(text);
  if (length === -1) return null;
  if (length < 0 || length > MAX_BULK_BYTES) throw new ProtocolError(`a string of ${length} bytes`);
  const end = cursor.at + length;
  if (cursor.buffer.length < end + 2) {
    cursor.needed = end + 2;
    return INCOMPLETE;
  }
  if (cursor.buffer[end] !== CR || cursor.buffer[end + 1] !== LF) throw new ProtocolError('a string longer than announced');
  const value = cursor.buffer.toString('utf8', cursor.at, end);
  cursor.at = end + 2;
  return value;
}

function parseList(cursor: Cursor, text: string, width: number, depth: number): Reply | typeof INCOMPLETE {
  const length = integer(text);
  if (length === -1) return null;
  if (length < 0 || length > MAX_ELEMENTS) throw new ProtocolError(`a list of ${length} elements`);
  if (depth >= MAX_DEPTH) throw new ProtocolError(`lists more than ${MAX_DEPTH} deep`);
  const values: Reply[] = [];
  for (let index = 0; index < length * width; index++) {
    const value = parse(cursor, depth + 1);
    if (value === INCOMPLETE) return INCOMPLETE;
    values.push(value);
  }
  return values;
}

function integer(text: string): number {
  if (!/^[+-]?\d{1,19}$/.test(text)) throw new ProtocolError('a number that is none');
  return Number(text);
}
