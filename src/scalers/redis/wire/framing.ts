/**
 * Checks the frames of a server's replies before ioredis decodes them, and bounds what one reply may take.
 *
 * The decoder of ioredis 6 takes any byte for a digit, holds a string of any length, and allocates a list when its length is
 * announced: 60 bytes of nested `*33000000` exhaust the heap, which ends the process. This reads frame headers only
 * (https://redis.io/docs/latest/develop/reference/protocol-spec/); what they hold is the decoder's business.
 */

export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
}

/** `XINFO STREAM` carries two whole entries, `XRANGE` a hundred; nothing else that we read comes near. */
const MAX_REPLY_BYTES = 64 * 1024 * 1024;
const MAX_REPLY_ELEMENTS = 1_000_000;
const MAX_LINE_BYTES = 64 * 1024;
const LF = 0x0a;

/** A scalar, the header of a string with its length in bytes, or the header of an aggregate with its number of elements. */
const LINE = /^(?:[+\-,(][^\r\n]*|:[+-]?\d{1,19}|_|[$*]-1|([$=!])(\d{1,8})|([*~>%])(\d{1,7}))\r\n$/;

/** Takes the chunks of one connection in order; throws a {@link ProtocolError}, after which the stream is beyond repair. */
export function createFrameCheck(): (chunk: Buffer) => void {
  let line = '';
  /** Bytes of the string under way, and of the line break behind it, that are still to come. */
  let stringBytes = 0;
  /** Values of the reply under way that are still to come. */
  let expected = 1;
  let elements = 0;
  let bytes = 0;

  function header(): void {
    const match = LINE.exec(line);
    if (match === null) throw new ProtocolError(`a line that starts with ${JSON.stringify(line.slice(0, 20))}`);
    const [, string, length, aggregate, count] = match;
    expected--;
    if (string !== undefined) {
      if (Number(length) > MAX_REPLY_BYTES || (string === '=' && Number(length) < 4))
        throw new ProtocolError(`a string of ${length ?? ''} bytes`);
      stringBytes = Number(length) + 2;
    } else if (aggregate !== undefined) {
      const announced = Number(count) * (aggregate === '%' ? 2 : 1);
      expected += announced;
      elements += announced;
      if (elements > MAX_REPLY_ELEMENTS) throw new ProtocolError(`a reply of more than ${MAX_REPLY_ELEMENTS} elements`);
    }
    line = '';
  }

  return (chunk) => {
    let at = 0;
    while (at < chunk.length) {
      const start = at;
      if (stringBytes > 0) {
        at = Math.min(at + stringBytes, chunk.length);
        stringBytes -= at - start;
      } else {
        at = chunk.indexOf(LF, at) + 1 || chunk.length;
        line += chunk.toString('latin1', start, at);
        if (line.length > MAX_LINE_BYTES) throw new ProtocolError('a line without end');
        if (line.endsWith('\n')) header();
      }
      bytes += at - start;
      if (bytes > MAX_REPLY_BYTES) throw new ProtocolError(`a reply of more than ${MAX_REPLY_BYTES} bytes`);
      if (expected > 0 || stringBytes > 0) continue;
      expected = 1;
      elements = 0;
      bytes = 0;
    }
  };
}
