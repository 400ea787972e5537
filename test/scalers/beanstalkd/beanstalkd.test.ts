import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { beanstalkd } from '../../../examples/beanstalkd/index.ts';
import { noEvents } from '../../../src/scalers/brokerEvents.ts';
import { createBrokerPool, type BrokerPool } from '../../../src/scalers/brokerPool.ts';
import type { Decision } from '../../../src/scalers/contract.ts';
import type { Reading } from '../../../src/scalers/reading.ts';
import { connectBeanstalkd, startBeanstalkd, type BeanstalkdClient, type BeanstalkdServer } from '../../bed/beanstalkd.ts';
import { makeCertificates, type Certificates } from '../../bed/certificates.ts';
import { startForwarder, type Forwarder } from '../../bed/forwarder.ts';
import { freePort } from '../../bed/ports.ts';

type Texts = Readonly<Record<string, string>>;

let server: BeanstalkdServer;
let client: BeanstalkdClient;
let brokers: BrokerPool;
const unused = await freePort();

beforeAll(async () => {
  server = await startBeanstalkd();
  client = await connectBeanstalkd(server.port);
  brokers = createBrokerPool(noEvents);
});
afterAll(async () => {
  await brokers.close();
  client.close();
  await server.close();
});

const at = (port: number): string => `127.0.0.1:${port}`;

function bind(metadata: Texts, authentication: Texts = {}) {
  const all = { scaler: 'beanstalkd', server: at(server.port), tube: 'jobs', value: '5', ...metadata };
  return beanstalkd.bind(all, authentication);
}

function read(metadata: Texts, authentication: Texts = {}): Promise<Reading> {
  const bound = bind(metadata, authentication);
  return brokers.of(bound).read(bound.question, AbortSignal.timeout(8_000));
}

async function decide(metadata: Texts): Promise<Decision> {
  const reading = await read(metadata);
  if (!reading.known) throw reading.error;
  return bind(metadata).decide(reading);
}

const failure = (code: string) => ({ known: false, error: { code } });

describe('a tube', () => {
  it('counts jobs that are ready or reserved, and those that are delayed on request', async () => {
    await client.put('mixed', 3);
    await client.put('mixed', 4, 3600);
    await client.reserve('mixed', 1);
    expect(await decide({ tube: 'mixed' })).toMatchObject({ value: 3, active: true });
    expect(await decide({ tube: 'mixed', includeDelayed: 'true' })).toMatchObject({ value: 7, active: true });
  });

  it('is active while a worker holds a job, whatever the activation value', async () => {
    await client.put('held', 1);
    await client.reserve('held', 1);
    expect(await decide({ tube: 'held', activationValue: '10' })).toMatchObject({ value: 1, active: true });
  });

  it('has no work in a job that is buried, which no worker gets', async () => {
    await client.put('buried', 1);
    await client.reserve('buried', 1);
    await client.bury('buried');
    expect(await decide({ tube: 'buried' })).toMatchObject({ value: 0, active: false });
  });

  it('that the server does not have is empty, and the reading says so', async () => {
    expect(await read({ tube: 'nowhere' })).toMatchObject({
      known: true,
      measures: { ready: 0, reserved: 0, delayed: 0 },
      notes: [expect.stringContaining('no such tube')],
    });
  });

  it.each(['-jobs', 'a b', 'a\r\nquit', 'ä', 'x'.repeat(201)])('cannot be called %j', (tube) => {
    expect(() => bind({ tube })).toThrow(/^scaler beanstalkd: tube must be/);
  });

  it.each(['host', ':1', 'host:0', 'a:1,,b:2', 'a:1,b'])('is not sought at %j', (address) => {
    expect(() => bind({ server: address })).toThrow(/^scaler beanstalkd: server must be/);
  });
});

it('is read at the next address where one takes no connection or answers nothing', async () => {
  const silent = await fake(() => undefined);
  await client.put('failover', 2);
  for (const first of [unused, silent.port])
    expect(await read({ tube: 'failover', server: `${at(first)},${at(server.port)}`, timeout: '300ms' })).toMatchObject({
      known: true,
      measures: { ready: 2 },
    });
  await silent.close();
});

it('is unknown while the server hangs, and known again afterwards', async () => {
  const metadata = { tube: 'paused', timeout: '250ms', staleAfter: '0' };
  server.pause();
  try {
    expect(await read(metadata)).toMatchObject(failure('BROKER_TIMEOUT'));
  } finally {
    server.resume();
  }
  await expect.poll(() => read(metadata), { timeout: 10_000 }).toMatchObject({ known: true, measures: { ready: 0 } });
});

describe('over TLS', () => {
  const folder = mkdtempSync(join(tmpdir(), 'queue-scaler-beanstalkd-'));
  const pem = (file: string): string => readFileSync(file, 'utf8');
  let certificates: Certificates;
  let proxy: Forwarder;
  let stranger: Forwarder;

  beforeAll(async () => {
    certificates = makeCertificates(folder);
    const tls = ({ cert, key }: { cert: string; key: string }) => ({
      cert: pem(cert),
      key: pem(key),
      ca: pem(certificates.ca),
    });
    proxy = await startForwarder(server.port, { ...tls(certificates.server), requestCert: true, rejectUnauthorized: true });
    stranger = await startForwarder(server.port, tls(certificates.otherHost));
  });
  afterAll(async () => {
    await proxy.close();
    await stranger.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it('is read with the authority, a client certificate and its key', async () => {
    const { ca, client: own } = certificates;
    await client.put('tls', 1);
    const authentication = { ca: pem(ca), cert: pem(own.cert), key: pem(own.key) };
    expect(await read({ tube: 'tls', tls: 'enable', server: `localhost:${proxy.port}` }, authentication)).toMatchObject({
      known: true,
      measures: { ready: 1 },
    });
  });

  it.each([
    ['an unknown authority', () => ({ server: `localhost:${proxy.port}` }), () => ({})],
    ['another host’s certificate', () => ({ server: `localhost:${stranger.port}` }), () => ({ ca: pem(certificates.ca) })],
    ['a key that is none', () => ({}), () => ({ ca: pem(certificates.ca), cert: '-----BEGIN x', key: '-----BEGIN y' })],
    ['a plain port', () => ({ timeout: '500ms' }), () => ({ ca: pem(certificates.ca) })],
  ])('fails with TLS_FAILED on %s', async (_name, metadata, authentication) => {
    expect(await read({ tls: 'enable', ...metadata() }, authentication())).toMatchObject(failure('TLS_FAILED'));
  });
});

describe('a hostile server', () => {
  it.each([
    ['another protocol', 'HTTP/1.1 400 Bad Request\r\n\r\n', 'BROKER_REPLY_INVALID'],
    ['an error', 'INTERNAL_ERROR\r\n', 'BROKER_REPLY_INVALID'],
    ['a line that never ends', 'O'.repeat(100_000), 'BROKER_REPLY_INVALID'],
    ['a body of a gigabyte', `OK 999999999\r\n${'x'.repeat(100_000)}`, 'BROKER_REPLY_INVALID'],
    ['a length that is none', 'OK -1\r\n', 'BROKER_REPLY_INVALID'],
    ['half a body', 'OK 20\r\n---\n', 'BROKER_TIMEOUT'],
    ['no counts', 'OK 4\r\n---\n\r\n', 'FIELD_MISSING'],
    ['a count that is none', stats('current-jobs-ready: -5'), 'FIELD_MISSING'],
    ['a count beyond all bounds', stats(`current-jobs-ready: ${'9'.repeat(40)}`), 'FIELD_MISSING'],
  ])('that sends %s is unknown, and others are read meanwhile', async (_name, bytes, code) => {
    const hostile = await fake((socket) => void socket.write(bytes));
    const reading = read({ server: at(hostile.port), timeout: '400ms' });
    expect(await read({ tube: 'nowhere' })).toMatchObject({ known: true });
    expect(await reading).toMatchObject(failure(code));
    await hostile.close();
  });

  it('that answers more than it was asked loses its connection', async () => {
    const hostile = await fake((socket) => void socket.write('NOT_FOUND\r\nNOT_FOUND\r\nNOT_FOUND\r\n'));
    await read({ server: at(hostile.port) });
    await expect.poll(() => hostile.open(), { timeout: 5_000 }).toBe(0);
    await hostile.close();
  });

  it('that closes every connection at once is unreachable', async () => {
    const hostile = await fake((socket) => void socket.end());
    expect(await read({ server: at(hostile.port) })).toMatchObject(failure('BROKER_UNREACHABLE'));
    await hostile.close();
  });
});

function stats(ready: string): string {
  const body = `---\n${ready}\ncurrent-jobs-reserved: 0\ncurrent-jobs-delayed: 0\n`;
  return `OK ${body.length}\r\n${body}\r\n`;
}

/** A server that does as it is told with whatever it is asked. */
async function fake(answer: (socket: Socket) => void) {
  const sockets = new Set<Socket>();
  const listener = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket)).on('error', () => undefined);
    socket.on('data', () => {
      answer(socket);
    });
  });
  await new Promise<void>((resolve) => {
    listener.listen(0, '127.0.0.1', resolve);
  });
  return {
    port: (listener.address() as AddressInfo).port,
    open: () => sockets.size,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => listener.close(resolve));
    },
  };
}
