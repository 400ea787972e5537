/**
 * A Redis server for what a real one won't do on command: it speaks the protocol, answers as it is told, and counts who comes and what
 * is asked.
 */
import { createServer, type AddressInfo, type Socket } from 'node:net';

export interface RedisFake {
  readonly address: string;
  /** Connections that were made so far. */
  connections(): number;
  /** When each of them was made, in ms of `performance.now()`. */
  readonly connectedAt: readonly number[];
  /** Commands that were heard so far, by name. */
  heard(name: string): number;
  close(): Promise<void>;
}

/** Bytes to answer a command with, now or later, before whatever comes behind it; undefined for none. */
export type FakeAnswer = (command: readonly string[], socket: Socket) => string | undefined | Promise<string>;

/** A primary in version 3 of the protocol on which every key is an empty list. */
export const emptyPrimary: FakeAnswer = ([name = '']) => {
  switch (name) {
    case 'HELLO':
      return '%1\r\n+server\r\n+redis\r\n';
    case 'ROLE':
      return '*1\r\n$6\r\nmaster\r\n';
    case 'LLEN':
      return ':0\r\n';
    default:
      return '+OK\r\n';
  }
};

export async function startRedisFake(answer: FakeAnswer, greet: (socket: Socket) => void = () => undefined): Promise<RedisFake> {
  const sockets = new Set<Socket>();
  const heard = new Map<string, number>();
  const connectedAt: number[] = [];
  const listener = createServer((socket) => {
    connectedAt.push(performance.now());
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => undefined);
    let before = Promise.resolve();
    let received = '';
    socket.on('data', (chunk) => {
      received += chunk.toString('latin1');
      for (;;) {
        const [command, rest] = firstCommand(received);
        if (command === undefined) return;
        received = rest;
        const name = command[0] ?? '';
        heard.set(name, (heard.get(name) ?? 0) + 1);
        const answered = answer(command, socket);
        before = before.then(async () => {
          const bytes = await answered;
          if (bytes !== undefined && !socket.destroyed) socket.write(bytes);
        });
      }
    });
    greet(socket);
  });
  await new Promise<void>((resolve) => {
    listener.listen(0, '127.0.0.1', resolve);
  });
  return {
    address: `127.0.0.1:${(listener.address() as AddressInfo).port}`,
    connections: () => connectedAt.length,
    connectedAt,
    heard: (name) => heard.get(name) ?? 0,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => listener.close(resolve));
    },
  };
}

/** The first whole command in bytes that are given as Latin-1, and what stands behind it. */
function firstCommand(received: string): [command: readonly string[] | undefined, rest: string] {
  const [header, count] = /^\*(\d+)\r\n/.exec(received) ?? [];
  if (header === undefined) return [undefined, received];
  const words: string[] = [];
  let at = header.length;
  while (words.length < Number(count)) {
    const [prefix, length] = /^\$(\d+)\r\n/.exec(received.slice(at, at + 16)) ?? [];
    if (prefix === undefined) return [undefined, received];
    const end = at + prefix.length + Number(length);
    if (received.length < end + 2) return [undefined, received];
    words.push(Buffer.from(received.slice(at + prefix.length, end), 'latin1').toString());
    at = end + 2;
  }
  return [words, received.slice(at)];
}
