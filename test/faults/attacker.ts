/**
 * A hostile client as a process: `attacker.ts ATTACK HOST:PORT MS REDIS_PORT`. It does one thing as fast as its rate allows, and must never
 * be polite about what comes back.
 */
import { randomBytes } from 'node:crypto';
import { connect as connectHttp2, constants, type ClientHttp2Session } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { ScaledObjectRef } from '../../src/server/grpc/gen/externalscaler.ts';

const [, , attack = '', address = '', ms = '0', redisPort = ''] = process.argv;
const [host = '', port = '0'] = address.split(':');
const endAt = performance.now() + Number(ms);
const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const PATH = '/externalscaler.ExternalScaler/';
/** Pause between two rounds: the attacks are to be told apart from a machine that is merely full. */
const ROUND_MS = 20;

const sockets = new Set<Socket>();
function open(): Socket {
  const socket = connect(Number(port), host);
  sockets.add(socket);
  socket
    .on('error', () => undefined)
    .on('close', () => sockets.delete(socket))
    .resume();
  return socket;
}

/** In MB; by its default of 10 Node's client gives a connection up at some 16 000 streams. */
const CLIENT_MEMORY_MB = 1_000;

function session(settings = {}): ClientHttp2Session {
  const opened = connectHttp2(`http://${address}`, { settings, maxSessionMemory: CLIENT_MEMORY_MB });
  opened.on('error', () => undefined).on('goaway', () => undefined);
  return opened;
}

function frame(type: number, flags: number, stream: number, payload: Buffer, length = payload.length): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}
const SETTINGS = frame(4, 0, 0, Buffer.alloc(0));

const headers = (method: string) => ({
  ':method': 'POST',
  ':path': `${PATH}${method}`,
  'content-type': 'application/grpc',
  te: 'trailers',
});

function request(queue: number): Buffer {
  const message = ScaledObjectRef.encode({
    name: `attack-${queue}`,
    namespace: 'default',
    scalerMetadata: { scaler: 'redis', address: `127.0.0.1:${redisPort}`, listName: `attack-${queue}` },
  }).finish();
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

const ATTACKS: Record<string, () => void> = {
  'random bytes': () => open().end(randomBytes(4_096)),
  'HTTP/1': () => open().write('GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n'),
  'huge frames': () => {
    const socket = open();
    socket.write(Buffer.concat([Buffer.from(PREFACE), SETTINGS, frame(0, 0, 1, randomBytes(16_384), 0xff_ff_ff)]));
  },
  'headers without end': () => {
    const socket = open();
    socket.write(Buffer.concat([Buffer.from(PREFACE), SETTINGS, frame(1, 0, 1, Buffer.alloc(1_000, 0x40))]));
    for (let more = 0; more < 100; more++) socket.write(frame(9, 0, 1, Buffer.alloc(1_000, 0x40)));
  },
  'reset streams': (() => {
    let used: ClientHttp2Session | undefined;
    return () => {
      if (used === undefined || used.destroyed || used.closed) used = session();
      for (let streams = 0; streams < 100; streams++) {
        const stream = used.request(headers('IsActive'));
        stream.on('error', () => undefined);
        stream.close(constants.NGHTTP2_CANCEL);
      }
    };
  })(),
  '20 000 streams': (() => {
    let used: ClientHttp2Session | undefined;
    let opened = 0;
    return () => {
      used ??= session();
      for (let streams = 0; streams < 100 && opened < 20_000 && !used.destroyed; streams++) {
        const stream = used.request(headers('StreamIsActive'));
        stream.on('error', () => undefined).resume();
        stream.end(request(opened++));
      }
    };
  })(),
  'half-open sockets': () => {
    if (sockets.size < 400) open();
  },
  'streams never read': (() => {
    let used: ClientHttp2Session | undefined;
    let opened = 0;
    return () => {
      used ??= session({ initialWindowSize: 0 });
      for (let streams = 0; streams < 20 && opened < 2_000 && !used.destroyed; streams++) {
        const stream = used.request(headers('StreamMetricSpec'));
        stream.on('error', () => undefined);
        stream.end(request(opened++));
      }
    };
  })(),
};

const act = ATTACKS[attack];
if (act === undefined) throw new Error(`no attack ${attack}; there are ${Object.keys(ATTACKS).join(', ')}`);
while (performance.now() < endAt) {
  act();
  await sleep(ROUND_MS);
}
// Everything breaks off without a farewell.
process.kill(process.pid, 'SIGKILL');
