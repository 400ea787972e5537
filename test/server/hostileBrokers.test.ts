/** Whatever a host that a trigger names may send: it ends its own connection, and the running server answers everyone else. */
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { status } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startRedis, type RedisServer } from '../bed/redis.ts';
import { emptyPrimary, startRedisFake } from '../bed/redisFake.ts';
import { startScalerProcess, type ScalerProcess } from '../bed/scaler.ts';
import { createKedaClient, type KedaClient } from '../keda/client.ts';
import { closing, frame, openOk, short, startFakeAmqp, u32, type FakeAmqpOptions } from '../scalers/rabbitmq/fakeAmqp.ts';

let redis: RedisServer;
let scaler: ScalerProcess;
let keda: KedaClient;

beforeAll(async () => {
  redis = await startRedis();
  scaler = await startScalerProcess(['--kubernetes', 'off']);
  keda = createKedaClient(scaler.grpc);
}, 120_000);
afterAll(async () => {
  keda.close();
  await scaler.close();
  await redis.close();
});

interface Peer {
  readonly port: number;
  close(): Promise<unknown>;
}

const noise = Buffer.from(Array.from({ length: 4096 }, (_, index) => (index * 73 + 19) & 0xff));

async function talker(greet: (socket: Socket) => void): Promise<Peer> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
    greet(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Well behaved until it is asked for a length, and then sends the bytes. */
async function afterLogin(bytes: string | Buffer): Promise<Peer> {
  const fake = await startRedisFake((command, socket) => {
    if (command[0] !== 'LLEN') return emptyPrimary(command, socket);
    socket.write(bytes);
    return undefined;
  });
  return { port: Number(fake.address.split(':')[1]), close: () => fake.close() };
}

const amqp = (options: FakeAmqpOptions) => (): Promise<Peer> => startFakeAmqp(options);
const redisTalk = (bytes: string | Buffer) => (): Promise<Peer> =>
  talker((socket) => void socket.on('data', () => socket.write(bytes)));
const redisLater = (bytes: string | Buffer) => (): Promise<Peer> => afterLogin(bytes);
const ack = frame(1, 60, 80, u32(0), Buffer.from([0xff, 0xff, 0xff, 0xf0, 0]));
const answerOn = (channel: number): Buffer => frame(channel, 50, 11, short('q'), u32(1), u32(0));
const onOpen = (bytes: Buffer): FakeAmqpOptions => ({
  onOpen: ({ socket }) => void socket.write(Buffer.concat([openOk, bytes])),
});
const onDeclare = (bytes: Buffer): FakeAmqpOptions => ({ onDeclare: ({ socket }) => void socket.write(bytes) });

const PEERS: readonly [string, 'amqp' | 'redis', () => Promise<Peer>][] = [
  ['noise in place of AMQP', 'amqp', amqp({ onConnection: (socket) => void socket.write(noise) })],
  ['HTTP in place of AMQP', 'amqp', amqp({ onConnection: (socket) => void socket.end('HTTP/1.1 400 Bad Request\r\n\r\n') })],
  ['silence in place of AMQP', 'amqp', amqp({ onConnection: () => undefined })],
  ['an answer behind the opening, before anyone listens', 'amqp', amqp(onOpen(answerOn(9)))],
  ['noise behind the opening, before anyone listens', 'amqp', amqp(onOpen(noise))],
  ['a second opening in the same read', 'amqp', amqp(onOpen(openOk))],
  ['the end of the connection in the read that opens it', 'amqp', amqp(onOpen(closing(0, 320, 'CONNECTION_FORCED - bye')))],
  [
    'a confirmation of four thousand million messages',
    'amqp',
    amqp(onDeclare(Buffer.concat([ack, closing(1, 404, 'NOT_FOUND')]))),
  ],
  ['two answers to one question', 'amqp', amqp(onDeclare(Buffer.concat([answerOn(1), answerOn(1), answerOn(1)])))],
  ['a frame of 2 GB', 'amqp', amqp(onDeclare(Buffer.from([1, 0, 1, 0x7f, 0xff, 0xff, 0xff, 0, 50, 0, 11])))],
  ['a method that AMQP does not have', 'amqp', amqp(onDeclare(frame(1, 77, 1)))],
  ['noise in place of Redis', 'redis', redisTalk(noise)],
  ['a push of nil', 'redis', redisLater('>1\r\n_\r\n')],
  ['a push of nil at login', 'redis', redisTalk('>1\r\n_\r\n')],
  ['a nil that nobody asked for', 'redis', redisLater(':0\r\n_\r\n_\r\n')],
  ['replies that nobody asked for', 'redis', redisLater(':0\r\n:0\r\n:0\r\n')],
  ['a string of 2 GB', 'redis', redisLater('$2000000000\r\nxxx')],
  ['a line without end', 'redis', redisLater('+'.padEnd(70_000, 'x'))],
  ['lists that no heap has room for', 'redis', redisLater('*33000000\r\n'.repeat(8))],
];

/** Those that answer what they were asked, and go on. */
const ANSWERS: ReadonlySet<string> = new Set([
  'two answers to one question',
  'a nil that nobody asked for',
  'replies that nobody asked for',
]);

test.each(PEERS)('%s is the trouble of its own trigger', { timeout: 60_000 }, async (name, protocol, start) => {
  const peer = await start();
  const at = `127.0.0.1:${peer.port}`;
  const hostile = keda.trigger({
    metadata:
      protocol === 'amqp'
        ? { scaler: 'rabbitmq', queueName: 'q', host: `amqp://u:p@${at}`, management: 'off', timeout: '1s', staleAfter: '0s' }
        : { scaler: 'redis', listName: 'q', address: at, staleAfter: '0s' },
  });
  const calm = keda.trigger({ metadata: { scaler: 'redis', listName: `calm ${name}`, address: `127.0.0.1:${redis.port}` } });
  const ask = (reference: unknown): Promise<unknown> => keda.call('IsActive', reference, 5_000);
  try {
    for (let round = 0; round < 3; round++) {
      const [answered, others] = await Promise.all([
        ask(hostile.reference).then(
          (reply) => reply,
          (error: unknown) => (error as { code: number }).code,
        ),
        ask(calm.reference),
      ]);
      // Some give an answer before their nonsense; all others are unknown.
      if (!ANSWERS.has(name)) expect(answered).toBe(status.UNAVAILABLE);
      expect(others).toEqual({ result: false });
    }
    expect((await fetch(`http://${scaler.http}/livez`)).status).toBe(200);
  } finally {
    await peer.close();
  }
});

test('the process is the one that was started', async () => {
  expect(
    await keda.call(
      'IsActive',
      keda.trigger({ metadata: { scaler: 'redis', listName: 'q', address: `127.0.0.1:${redis.port}` } }).reference,
    ),
  ).toEqual({
    result: false,
  });
  expect(scaler.log.filter((line) => line.includes('a failure that nobody'))).toEqual([]);
  expect(() => process.kill(scaler.pid, 0)).not.toThrow();
});
