import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openSocket } from '../../../src/scalers/net/socket.ts';
import { tlsSettings } from '../../../src/scalers/net/tls.ts';
import { freePort } from '../../bed/ports.ts';

const never = new AbortController().signal;
const accepted = new Set<Socket>();
let server: Server;
let port: number;

beforeAll(async () => {
  server = createServer((socket) => {
    accepted.add(socket.on('error', () => undefined));
    socket.write('greeting');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  port = (server.address() as AddressInfo).port;
});
afterAll(() => {
  for (const socket of accepted) socket.destroy();
  server.close();
});

const open = (more: { port?: number; tls?: boolean; ca?: string; signal?: AbortSignal } = {}): Promise<Socket> =>
  openSocket({
    address: { host: '127.0.0.1', port: more.port ?? port },
    tls: more.tls === true ? tlsSettings({ ca: more.ca }, true) : undefined,
    timeoutMs: 300,
    signal: more.signal ?? never,
  });

it('opens a socket that speaks', async () => {
  const socket = await open();
  const [greeting] = (await once(socket, 'data')) as [Buffer];
  expect(greeting.toString()).toBe('greeting');
  socket.destroy();
});

it.each([
  ['a port that nobody listens on', async () => open({ port: await freePort() }), 'BROKER_UNREACHABLE'],
  ['a port without TLS', () => open({ tls: true }), 'TLS_FAILED'],
  ['an authority that is none', () => open({ tls: true, ca: '-----BEGIN CERTIFICATE-----\nx' }), 'TLS_FAILED'],
  ['a signal that has aborted', () => open({ signal: AbortSignal.abort() }), 'BROKER_TIMEOUT'],
])('says what is wrong with %s', async (_name, asked, code) => {
  await expect(asked()).rejects.toMatchObject({ code });
});

it('says that a silent peer took no part in a handshake, and lets its connection go', async () => {
  const silent = createServer((socket) => void socket.on('error', () => undefined));
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const connected = once(silent, 'connection') as Promise<[Socket]>;
  await expect(open({ tls: true, port: (silent.address() as AddressInfo).port })).rejects.toMatchObject({ code: 'TLS_FAILED' });
  const [peer] = await connected;
  if (!peer.closed) await once(peer.resume(), 'close');
  silent.close();
});

it('is destroyed by what one of its listeners throws, and nothing else is', async () => {
  const [socket, other] = [await open(), await open()];
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.on('data', () => {
    throw new Error('a listener’s own');
  });
  await closed;
  expect(socket.errored?.message).toBe('a listener’s own');
  expect(other.destroyed).toBe(false);
  other.destroy();
});
