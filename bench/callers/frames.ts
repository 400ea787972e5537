/**
 * gRPC calls as bare HTTP/2 frames over one connection: what grpc-js needs hundreds of microseconds for takes some ten here, so that a
 * benchmark measures the server and not its caller. It must never take an answer for a success that is none.
 */
import { once } from 'node:events';
import { connect as connectSocket } from 'node:net';

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const HEAD_BYTES = 9;
const DATA = 0;
const HEADERS = 1;
const RST_STREAM = 3;
const SETTINGS = 4;
const PING = 6;
const GOAWAY = 7;
const WINDOW_UPDATE = 8;
const END_STREAM = 1;
const ACK = 1;
const END_HEADERS = 4;

const MAX_WINDOW = 0x7f_ff_ff_ff;
/** What HTTP/2 lets a peer send before it has been told anything. */
const FIRST_WINDOW = 65_535;
/** What has been received is made known in steps of so many bytes. */
const CREDIT_BYTES = 1_048_576;
const SETTING_HEADER_TABLE_SIZE = 1;
const SETTING_INITIAL_WINDOW_SIZE = 4;

export interface FrameConnection {
  /** Sends one request message. `ended` is told once whether the call ended with OK, `heard` each message of the answer. */
  send(path: string, message: Buffer, ended: (ok: boolean) => void, heard?: () => void): void;
  close(): void;
}

interface Call {
  readonly ended: (ok: boolean) => void;
  readonly message: (() => void) | undefined;
  answered: boolean;
}

/** What each call of KEDA's client says, beside its path. */
const FIELDS = { 'content-type': 'application/grpc', 'user-agent': 'grpc-go/1.83.0', te: 'trailers' };
/** Places in HPACK's static table (RFC 7541, appendix A), which is 61 long. */
const METHOD_POST = 3;
const SCHEME_HTTP = 6;
const STATIC_NAMES: Readonly<Record<string, number>> = { ':authority': 1, ':path': 4, 'content-type': 31, 'user-agent': 58 };
const STATIC_LENGTH = 61;

/**
 * Header blocks as Go's HPACK encoder writes them: a field is told once, and from then on is its place in the table of what was told,
 * which holds 4096 bytes and so all that there is here. (Huffman codes are left out.)
 */
function createHeaderEncoder(authority: string): (path: string) => Buffer {
  const told: string[] = [];
  const text = (value: string): Buffer => Buffer.concat([Buffer.from([value.length]), Buffer.from(value)]);

  function field([name, value]: readonly [string, string]): Buffer {
    const known = told.indexOf(`${name} ${value}`);
    // The latest is the first after the static table.
    if (known >= 0) return Buffer.from([0x80 | (STATIC_LENGTH + told.length - known)]);
    told.push(`${name} ${value}`);
    const place = STATIC_NAMES[name];
    const named = place === undefined ? Buffer.concat([Buffer.from([0x40]), text(name)]) : Buffer.from([0x40 | place]);
    return Buffer.concat([named, text(value)]);
  }

  return (path) => {
    const fields = Object.entries({ ':path': path, ':authority': authority, ...FIELDS });
    return Buffer.concat([Buffer.from([0x80 | METHOD_POST, 0x80 | SCHEME_HTTP]), ...fields.map(field)]);
  };
}

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(HEAD_BYTES + payload.length);
  bytes.writeUIntBE(payload.length, 0, 3);
  bytes[3] = type;
  bytes[4] = flags;
  bytes.writeUInt32BE(stream, 5);
  payload.copy(bytes, HEAD_BYTES);
  return bytes;
}

function number32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function setting(id: number, value: number): Buffer {
  const bytes = Buffer.allocUnsafe(6);
  bytes.writeUInt16BE(id);
  bytes.writeUInt32BE(value, 2);
  return bytes;
}

export async function connectFrames(address: string): Promise<FrameConnection> {
  const [host, port] = address.split(':');
  const socket = connectSocket({ host: host ?? '', port: Number(port), noDelay: true });
  await once(socket, 'connect');
  const calls = new Map<number, Call>();
  const headers = createHeaderEncoder(address);
  let nextStream = 1;
  let window = FIRST_WINDOW;
  let received = 0;
  let rest: Buffer = Buffer.alloc(0);
  let outgoing: Buffer[] = [];
  const held: { readonly bytes: Buffer; readonly cost: number }[] = [];
  /** What the server's trailers are for OK: with no dynamic table they are the same bytes each time. Learnt from the first answer with a message. */
  let okTrailers: Buffer | undefined;

  function flush(): void {
    const bytes = Buffer.concat(outgoing);
    outgoing = [];
    socket.write(bytes);
  }
  /** All that is sent in one turn of the event loop goes out as one write. */
  function queue(bytes: Buffer): void {
    if (outgoing.push(bytes) === 1) setImmediate(flush);
  }

  function end(stream: number, ok: boolean): void {
    const call = calls.get(stream);
    calls.delete(stream);
    call?.ended(ok);
  }

  function take(type: number, flags: number, stream: number, payload: Buffer): void {
    switch (type) {
      case DATA: {
        received += payload.length;
        if (received >= CREDIT_BYTES) {
          queue(frame(WINDOW_UPDATE, 0, 0, number32(received)));
          received = 0;
        }
        const call = calls.get(stream);
        if (call !== undefined && payload.length > 0) {
          call.answered = true;
          call.message?.();
        }
        return;
      }
      case HEADERS: {
        if ((flags & END_STREAM) === 0) return;
        if (okTrailers === undefined && calls.get(stream)?.answered === true) okTrailers = Buffer.from(payload);
        end(stream, okTrailers?.equals(payload) === true);
        return;
      }
      case RST_STREAM:
        end(stream, false);
        return;
      case SETTINGS:
        if ((flags & ACK) === 0) queue(frame(SETTINGS, ACK, 0, Buffer.alloc(0)));
        return;
      case PING:
        if ((flags & ACK) === 0) queue(frame(PING, ACK, 0, Buffer.from(payload)));
        return;
      case WINDOW_UPDATE:
        if (stream !== 0) return;
        window += payload.readUInt32BE(0);
        for (let next = held[0]; next !== undefined && window >= next.cost; next = held[0]) {
          held.shift();
          window -= next.cost;
          queue(next.bytes);
        }
        return;
      case GOAWAY:
        socket.destroy(new Error('the server gives the connection up'));
    }
  }

  socket.on('data', (chunk: Buffer) => {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    while (bytes.length - at >= HEAD_BYTES) {
      const length = bytes.readUIntBE(at, 3);
      const from = at + HEAD_BYTES;
      if (bytes.length < from + length) break;
      take(bytes[at + 3] ?? 0, bytes[at + 4] ?? 0, bytes.readUInt32BE(at + 5), bytes.subarray(from, from + length));
      at = from + length;
    }
    rest = bytes.subarray(at);
  });
  socket.on('close', () => {
    for (const stream of [...calls.keys()]) end(stream, false);
  });
  socket.on('error', () => undefined);

  socket.write(
    Buffer.concat([
      PREFACE,
      frame(
        SETTINGS,
        0,
        0,
        Buffer.concat([setting(SETTING_HEADER_TABLE_SIZE, 0), setting(SETTING_INITIAL_WINDOW_SIZE, MAX_WINDOW)]),
      ),
      frame(WINDOW_UPDATE, 0, 0, number32(MAX_WINDOW - FIRST_WINDOW)),
    ]),
  );

  return {
    send(path, message, ended, heard) {
      const stream = nextStream;
      nextStream += 2;
      calls.set(stream, { ended, message: heard, answered: false });
      const body = Buffer.allocUnsafe(5 + message.length);
      body[0] = 0;
      body.writeUInt32BE(message.length, 1);
      message.copy(body, 5);
      const bytes = Buffer.concat([frame(HEADERS, END_HEADERS, stream, headers(path)), frame(DATA, END_STREAM, stream, body)]);
      if (held.length === 0 && window >= body.length) {
        window -= body.length;
        queue(bytes);
      } else held.push({ bytes, cost: body.length });
    },
    close: () => {
      socket.destroy();
    },
  };
}
