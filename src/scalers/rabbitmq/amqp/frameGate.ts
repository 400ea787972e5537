/**
 * What a broker's bytes must be before amqplib reads them: whole frames of a bounded size, of the few methods that somebody who only
 * counts messages can be sent.
 *
 * amqplib holds a message's content however long it is, counts confirmations that nobody asked for, and loses the reason why a vhost
 * is refused. Layout of the frames: https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf.
 */

/** Largest frame that is taken from a broker, in bytes; also what the tuning asks for. RabbitMQ's own default. */
export const MAX_FRAME_BYTES = 131_072;

const FRAME_METHOD = 1;
const FRAME_HEARTBEAT = 8;
const FRAME_END = 0xce;
const HEADER_BYTES = 7;

const START = 0x000a000a;
const TUNE = 0x000a001e;
const OPEN_OK = 0x000a0029;
const CLOSE = 0x000a0032;
/** connection.close-ok, .blocked, .unblocked; channel.open-ok, .close, .close-ok; queue.declare-ok. */
const OTHERS: ReadonlySet<number> = new Set([0x000a0033, 0x000a003c, 0x000a003d, 0x0014000b, 0x00140028, 0x00140029, 0x0032000b]);

/** What a peer that does not speak AMQP, or breaks it, makes of us; the message completes "the peer speaks …". */
export class ProtocolError extends Error {}

export interface FrameGate {
  /** The frames that are whole by now; throws a {@link ProtocolError} on anything else. Holds at most one frame. */
  readonly admit: (chunk: Buffer) => Buffer;
  /** What came behind connection.open-ok, which {@link admit} keeps back until the connection's listeners stand. */
  readonly release: () => Buffer;
  /** What the broker was doing for us when it sent its last frame. */
  readonly phase: 'start' | 'login' | 'open' | 'ready';
  /** Why the broker has closed the connection. */
  readonly closed: { readonly code: number; readonly text: string } | undefined;
}

export function createFrameGate(): FrameGate {
  let rest: Buffer = Buffer.alloc(0);
  let phase: FrameGate['phase'] = 'start';
  let closed: FrameGate['closed'];
  let released = false;

  function admit(chunk: Buffer): Buffer {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    while (bytes.length - at >= HEADER_BYTES && (phase !== 'ready' || released)) {
      const type = bytes.readUInt8(at);
      if (type !== FRAME_METHOD && type !== FRAME_HEARTBEAT) throw new ProtocolError(describeStranger(bytes.subarray(at)));
      const size = bytes.readUInt32BE(at + 3);
      if (size > MAX_FRAME_BYTES) throw new ProtocolError(`a frame of ${size} bytes, where ${MAX_FRAME_BYTES} were agreed`);
      const end = at + HEADER_BYTES + size + 1;
      if (bytes.length < end) break;
      if (bytes.readUInt8(end - 1) !== FRAME_END) throw new ProtocolError('a frame without its end mark');
      if (type === FRAME_METHOD) inspect(bytes.subarray(at + HEADER_BYTES, end - 1));
      at = end;
    }
    if (bytes.length - at > MAX_FRAME_BYTES + HEADER_BYTES) throw new ProtocolError('more than anybody asked for');
    // A copy, so that a few bytes do not keep a large chunk alive.
    rest = Buffer.from(bytes.subarray(at));
    return bytes.subarray(0, at);
  }

  function inspect(payload: Buffer): void {
    const method = payload.length < 4 ? 0 : payload.readUInt32BE(0);
    if (method === START) phase = 'login';
    else if (method === TUNE) phase = 'open';
    else if (method === OPEN_OK) phase = 'ready';
    else if (method === CLOSE) closed = closeReason(payload);
    else if (!OTHERS.has(method)) throw new ProtocolError(`a method that nobody asked for (${method >> 16}.${method & 0xffff})`);
  }

  return {
    admit,
    release() {
      released = true;
      return admit(Buffer.alloc(0));
    },
    get phase() {
      return phase;
    },
    get closed() {
      return closed;
    },
  };
}

function closeReason(payload: Buffer): NonNullable<FrameGate['closed']> {
  if (payload.length < 7) throw new ProtocolError('a method that ends before its arguments do');
  return { code: payload.readUInt16BE(4), text: payload.toString('utf8', 7, 7 + payload.readUInt8(6)) };
}

function describeStranger(bytes: Buffer): string {
  if (bytes.subarray(0, 4).toString('latin1') === 'AMQP') return 'another version of AMQP than 0-9-1';
  if (bytes.subarray(0, 5).toString('latin1') === 'HTTP/') return 'HTTP, not AMQP';
  if (bytes.readUInt8(0) === 0x15 && bytes.readUInt8(1) === 0x03) return 'TLS, where no TLS was offered';
  return 'something other than AMQP';
}
