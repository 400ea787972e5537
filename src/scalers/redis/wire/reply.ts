/**
 * Commands and replies as the rest of the folder sees them, whatever client library carries them.
 */

/** A command's name and arguments. */
export type Command = readonly [string, ...(string | number)[]];

/** Strings are UTF-8 text. Maps come as flat lists of names and values, sets as lists: both protocol versions read alike. */
export type Reply = string | number | null | ErrorReply | readonly Reply[];

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
