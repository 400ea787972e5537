/**
 * The frames of AMQP 0-9-1 that a reader needs, to and from bytes. It must never hold more of a peer's bytes than one frame
 * may have, and never guess at a frame that it does not understand.
 *
 * A codec of our own, because no client library lets passive declares be pipelined on a channel, which is a fifth of the
 * broker's work. Source: the AMQP 0-9-1 specification, https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf.
 */

/** Largest frame that is taken from a broker, in bytes; also what the tuning asks for. RabbitMQ's own default. */
export const MAX_FRAME_BYTES = 131_072;
/** Most bytes of a short string, such as a queue's name. */
export const MAX_SHORT_BYTES = 255;

const FRAME_METHOD = 1;
const FRAME_HEARTBEAT = 8;
const FRAME_END = 0xce;
const HEADER_BYTES = 7;

export const PROTOCOL_HEADER = Buffer.from('AMQP\0\0\x09\x01', 'latin1');
export const HEARTBEAT = Buffer.from([FRAME_HEARTBEAT, 0, 0, 0, 0, 0, 0, FRAME_END]);

/** What a peer that does not speak AMQP, or breaks it, makes of us. */
export class ProtocolError extends Error {}

/** A method of the broker, with the arguments that matter here. */
export type Method =
  | { readonly name: 'connection.start'; readonly mechanisms: readonly string[] }
  | { readonly name: 'connection.tune'; readonly channelMax: number; readonly frameMax: number; readonly heartbeatS: number }
  | { readonly name: 'connection.open-ok' }
  | { readonly name: 'connection.close'; readonly code: number; readonly text: string }
  | { readonly name: 'connection.close-ok' }
  | { readonly name: 'connection.blocked' }
  | { readonly name: 'connection.unblocked' }
  | { readonly name: 'channel.open-ok' }
  | { readonly name: 'channel.close'; readonly code: number; readonly text: string }
  | { readonly name: 'channel.close-ok' }
  | { readonly name: 'queue.declare-ok'; readonly queue: string; readonly ready: number; readonly consumers: number };

export interface Frame {
  readonly channel: number;
  /** Undefined for a heartbeat. */
  readonly method: Method | undefined;
}

/** Takes the bytes of a connection as they come and gives whole frames; throws a {@link ProtocolError} on anything else. */
export function createFrameReader(): (chunk: Buffer) => Frame[] {
  let rest: Buffer = Buffer.alloc(0);
  return (chunk) => {
    let bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    const frames: Frame[] = [];
    while (bytes.length >= HEADER_BYTES) {
      const type = bytes.readUInt8(0);
      if (type !== FRAME_METHOD && type !== FRAME_HEARTBEAT) throw new ProtocolError(describeStranger(bytes));
      const size = bytes.readUInt32BE(3);
      if (size > MAX_FRAME_BYTES) throw new ProtocolError(`a frame of ${size} bytes, where ${MAX_FRAME_BYTES} were agreed`);
      const total = HEADER_BYTES + size + 1;
      if (bytes.length < total) break;
      if (bytes.readUInt8(total - 1) !== FRAME_END) throw new ProtocolError('a frame without its end mark');
      const channel = bytes.readUInt16BE(1);
      const method = type === FRAME_METHOD ? decode(bytes.subarray(HEADER_BYTES, total - 1)) : undefined;
      frames.push({ channel, method });
      bytes = bytes.subarray(total);
    }
    // A copy, so that a few bytes do not keep a large chunk alive.
    rest = Buffer.from(bytes);
    return frames;
  };
}

function describeStranger(bytes: Buffer): string {
  if (bytes.subarray(0, 4).toString('latin1') === 'AMQP') return 'another version of AMQP than 0-9-1';
  if (bytes.subarray(0, 5).toString('latin1') === 'HTTP/') return 'HTTP, not AMQP';
  if (bytes.readUInt8(0) === 0x15 && bytes.readUInt8(1) === 0x03) return 'TLS, where no TLS was offered';
  return 'something other than AMQP';
}

function decode(payload: Buffer): Method {
  try {
    return decodeMethod(payload);
  } catch (thrown) {
    if (thrown instanceof RangeError) throw new ProtocolError('a method that ends before its arguments do', { cause: thrown });
    throw thrown;
  }
}

function decodeMethod(payload: Buffer): Method {
  const id = (payload.readUInt16BE(0) << 16) | payload.readUInt16BE(2);
  switch (id) {
    case 0x000a000a: {
      // Two octets of version, a table of server properties, then the mechanisms.
      const mechanismsAt = 6 + 4 + payload.readUInt32BE(6);
      return { name: 'connection.start', mechanisms: longString(payload, mechanismsAt).split(' ') };
    }
    case 0x000a001e:
      return {
        name: 'connection.tune',
        channelMax: payload.readUInt16BE(4),
        frameMax: payload.readUInt32BE(6),
        heartbeatS: payload.readUInt16BE(10),
      };
    case 0x000a0029:
      return { name: 'connection.open-ok' };
    case 0x000a0032:
      return { name: 'connection.close', code: payload.readUInt16BE(4), text: shortString(payload, 6).text };
    case 0x000a0033:
      return { name: 'connection.close-ok' };
    case 0x000a003c:
      return { name: 'connection.blocked' };
    case 0x000a003d:
      return { name: 'connection.unblocked' };
    case 0x0014000b:
      return { name: 'channel.open-ok' };
    case 0x00140028:
      return { name: 'channel.close', code: payload.readUInt16BE(4), text: shortString(payload, 6).text };
    case 0x00140029:
      return { name: 'channel.close-ok' };
    case 0x0032000b: {
      const { text: queue, end } = shortString(payload, 4);
      return { name: 'queue.declare-ok', queue, ready: payload.readUInt32BE(end), consumers: payload.readUInt32BE(end + 4) };
    }
    default:
      throw new ProtocolError(`a method that nobody asked for (${payload.readUInt16BE(0)}.${payload.readUInt16BE(2)})`);
  }
}

function shortString(payload: Buffer, at: number): { readonly text: string; readonly end: number } {
  const end = at + 1 + payload.readUInt8(at);
  if (end > payload.length) throw new RangeError('short string');
  return { text: payload.toString('utf8', at + 1, end), end };
}

function longString(payload: Buffer, at: number): string {
  const end = at + 4 + payload.readUInt32BE(at);
  if (end > payload.length) throw new RangeError('long string');
  return payload.toString('utf8', at + 4, end);
}

function methodFrame(channel: number, classId: number, methodId: number, ...parts: readonly Buffer[]): Buffer {
  const size = 4 + parts.reduce((sum, part) => sum + part.length, 0);
  const head = Buffer.alloc(HEADER_BYTES + 4);
  head.writeUInt8(FRAME_METHOD, 0);
  head.writeUInt16BE(channel, 1);
  head.writeUInt32BE(size, 3);
  head.writeUInt16BE(classId, 7);
  head.writeUInt16BE(methodId, 9);
  return Buffer.concat([head, ...parts, Buffer.from([FRAME_END])]);
}

function short(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8');
  if (bytes.length > MAX_SHORT_BYTES) throw new ProtocolError(`a name of ${bytes.length} bytes, where ${MAX_SHORT_BYTES} fit`);
  return Buffer.concat([Buffer.from([bytes.length]), bytes]);
}

function long(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

function table(fields: Readonly<Record<string, string | boolean | Readonly<Record<string, boolean>>>>): Buffer {
  return long(Buffer.concat(Object.entries(fields).map(([name, value]) => Buffer.concat([short(name), field(value)]))));
}

function field(value: string | boolean | Readonly<Record<string, boolean>>): Buffer {
  if (typeof value === 'string') return Buffer.concat([Buffer.from('S'), long(Buffer.from(value, 'utf8'))]);
  if (typeof value === 'boolean') return Buffer.from([0x74, value ? 1 : 0]);
  return Buffer.concat([Buffer.from('F'), table(value)]);
}

export const encode = {
  /** `response` is the SASL mechanism's answer, given as bytes so that no text with a password is ever joined up. */
  startOk: (mechanism: string, response: Buffer, connectionName: string): Buffer =>
    methodFrame(
      0,
      10,
      11,
      table({
        product: 'keda-queue-scaler',
        connection_name: connectionName,
        // Without it a refused login is a silent end of the connection.
        capabilities: { authentication_failure_close: true },
      }),
      short(mechanism),
      long(response),
      short('en_US'),
    ),
  tuneOk: (channelMax: number, frameMax: number, heartbeatS: number): Buffer => {
    const body = Buffer.alloc(8);
    body.writeUInt16BE(channelMax, 0);
    body.writeUInt32BE(frameMax, 2);
    body.writeUInt16BE(heartbeatS, 6);
    return methodFrame(0, 10, 31, body);
  },
  open: (vhost: string): Buffer => methodFrame(0, 10, 40, short(vhost), Buffer.from([0, 0])),
  close: (): Buffer => methodFrame(0, 10, 50, Buffer.from([0, 200]), short('done'), Buffer.from([0, 0, 0, 0])),
  closeOk: (): Buffer => methodFrame(0, 10, 51),
  channelOpen: (channel: number): Buffer => methodFrame(channel, 20, 10, Buffer.from([0])),
  channelCloseOk: (channel: number): Buffer => methodFrame(channel, 20, 41),
  /** Reserved octets, the name, the bit `passive` alone, no arguments. */
  declarePassive: (channel: number, queue: string): Buffer =>
    methodFrame(channel, 50, 10, Buffer.from([0, 0]), short(queue), Buffer.from([1, 0, 0, 0, 0])),
};

/** The answer of SASL PLAIN (RFC 4616): empty authorization identity, user, password. */
export function saslPlain(user: string, password: string): Buffer {
  return Buffer.concat([Buffer.from([0]), Buffer.from(user, 'utf8'), Buffer.from([0]), Buffer.from(password, 'utf8')]);
}
