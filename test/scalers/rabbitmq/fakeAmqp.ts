/** A broker that speaks AMQP 0-9-1 just far enough to open connections and channels, and then misbehaves as it is told. */
import { createServer, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';

export interface FakeAmqp {
  readonly port: number;
  /** Connections now open. */
  readonly open: number;
  /** Connections ever taken. */
  readonly taken: number;
  /** Queue names asked for, in order. */
  readonly declared: readonly string[];
  /** Heartbeats that came. */
  readonly heartbeats: number;
  /** Reads that brought declares. */
  readonly declaringReads: number;
  close(): Promise<void>;
}

export interface FakeClient {
  readonly socket: Socket;
  send(channel: number, classId: number, methodId: number, ...parts: readonly Buffer[]): void;
  declareOk(channel: number, queue: string, ready: number, consumers?: number): void;
  closeChannel(channel: number, code: number, text: string): void;
}

export interface FakeAmqpOptions {
  /** In place of the whole protocol: what happens when a connection comes. */
  readonly onConnection?: (socket: Socket) => void;
  /** In place of the answer to StartOk. */
  readonly onLogin?: (client: FakeClient) => void;
  /** In place of connection.open-ok. */
  readonly onOpen?: (client: FakeClient) => void;
  /** In place of an answer of 1 message. Frames that come on a closed channel are not told. */
  readonly onDeclare?: (client: FakeClient, channel: number, queue: string) => void;
  /** What the broker asks for; 60 where not given. It never sends one itself. */
  readonly heartbeatS?: number;
  /** Channels that a user may have. */
  readonly userLimit?: number;
  /** False leaves the opening of channels without an answer. */
  readonly opensChannels?: () => boolean;
}

export function short(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8');
  return Buffer.concat([Buffer.from([bytes.length]), bytes]);
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function long(text: string): Buffer {
  return Buffer.concat([u32(Buffer.byteLength(text)), Buffer.from(text)]);
}

export function frame(channel: number, classId: number, methodId: number, ...parts: readonly Buffer[]): Buffer {
  const payload = Buffer.concat([Buffer.from([0, classId, 0, methodId]), ...parts]);
  const head = Buffer.alloc(7);
  head.writeUInt8(1, 0);
  head.writeUInt16BE(channel, 1);
  head.writeUInt32BE(payload.length, 3);
  return Buffer.concat([head, payload, Buffer.from([0xce])]);
}

export const start = frame(0, 10, 10, Buffer.from([0, 9]), u32(0), long('PLAIN EXTERNAL'), long('en_US'));

export const openOk = frame(0, 10, 41, Buffer.from([0]));

/** connection.close or, on a channel, channel.close. */
export function closing(channel: number, code: number, text: string): Buffer {
  const [classId, methodId] = channel === 0 ? [10, 50] : [20, 40];
  return frame(channel, classId, methodId, Buffer.from([code >> 8, code & 255]), short(text), Buffer.alloc(4));
}

export async function startFakeAmqp(options: FakeAmqpOptions = {}): Promise<FakeAmqp> {
  const sockets = new Set<Socket>();
  const declared: string[] = [];
  const counts = { heartbeats: 0, declaringReads: 0 };
  let taken = 0;
  const server = createServer((socket) => {
    taken++;
    sockets.add(socket);
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
    if (options.onConnection !== undefined) options.onConnection(socket);
    else speak(socket, options, declared, counts);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    get open() {
      return sockets.size;
    },
    get taken() {
      return taken;
    },
    declared,
    get heartbeats() {
      return counts.heartbeats;
    },
    get declaringReads() {
      return counts.declaringReads;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

interface Counts {
  heartbeats: number;
  declaringReads: number;
}

function speak(socket: Socket, options: FakeAmqpOptions, declared: string[], counts: Counts): void {
  const closed = new Set<number>();
  const client: FakeClient = {
    socket,
    send: (channel, classId, methodId, ...parts) => void socket.write(frame(channel, classId, methodId, ...parts)),
    declareOk: (channel, queue, ready, consumers = 0) => {
      client.send(channel, 50, 11, short(queue), u32(ready), u32(consumers));
    },
    closeChannel: (channel, code, text) => {
      closed.add(channel);
      client.send(channel, 20, 40, Buffer.from([code >> 8, code & 255]), short(text), Buffer.from([0, 50, 0, 10]));
    },
  };
  let bytes = Buffer.alloc(0);
  let greeted = false;
  socket.on('data', (chunk) => {
    bytes = Buffer.concat([bytes, chunk]);
    if (!greeted && bytes.length >= 8) {
      greeted = true;
      bytes = bytes.subarray(8);
      socket.write(start);
    }
    const before = declared.length;
    while (bytes.length >= 8) {
      const end = 8 + bytes.readUInt32BE(3);
      if (bytes.length < end) break;
      const channel = bytes.readUInt16BE(1);
      const isMethod = bytes.readUInt8(0) === 1;
      const payload = bytes.subarray(7, end - 1);
      bytes = bytes.subarray(end);
      if (isMethod) take(channel, payload);
      else counts.heartbeats++;
    }
    if (declared.length > before) counts.declaringReads++;
  });

  function take(channel: number, payload: Buffer): void {
    const method = `${payload.readUInt16BE(0)}.${payload.readUInt16BE(2)}`;
    if (method === '20.41') closed.delete(channel);
    if (closed.has(channel)) return;
    switch (method) {
      case '10.11':
        if (options.onLogin !== undefined) options.onLogin(client);
        else client.send(0, 10, 30, Buffer.from([7, 255]), u32(131_072), Buffer.from([0, options.heartbeatS ?? 60]));
        return;
      case '10.40':
        if (options.onOpen !== undefined) options.onOpen(client);
        else socket.write(openOk);
        return;
      case '10.50':
        client.send(0, 10, 51);
        return;
      case '20.10':
        if (channel > (options.userLimit ?? Infinity)) {
          const reason = `NOT_ALLOWED - number of channels opened for user 'user' has reached the maximum allowed user limit of (${options.userLimit})`;
          socket.write(closing(0, 530, reason));
        } else if (options.opensChannels?.() ?? true) client.send(channel, 20, 11, u32(0));
        return;
      case '50.10': {
        const queue = payload.toString('utf8', 7, 7 + payload.readUInt8(6));
        declared.push(queue);
        if (options.onDeclare !== undefined) options.onDeclare(client, channel, queue);
        else client.declareOk(channel, queue, 1);
      }
    }
  }
}
