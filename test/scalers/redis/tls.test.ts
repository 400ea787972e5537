import { afterAll, beforeAll, expect, it } from 'vitest';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { scalerOf } from '../../../src/scalers/registry.ts';
import { noEvents } from '../../../src/scalers/brokerEvents.ts';
import { createBrokerPool, type BrokerPool } from '../../../src/scalers/brokerPool.ts';
import type { Reading } from '../../../src/scalers/reading.ts';
import { slotOf } from '../../../src/scalers/redis/topology/slots.ts';
import { LOCALHOST_EXTENSIONS, makeCertificates, type Certificates } from '../../bed/certificates.ts';
import { startRedis, type RedisServer } from '../../bed/redis.ts';
import { startRedisCluster } from '../../bed/redisCluster.ts';
import { startSentinelSet } from '../../bed/redisSentinel.ts';

const folder = mkdtempSync(join(tmpdir(), 'queue-scaler-tls-'));
let certificates: Certificates;
let server: RedisServer;
let stranger: RedisServer;
let brokers: BrokerPool;

beforeAll(async () => {
  certificates = makeCertificates(folder);
  const { ca } = certificates;
  server = await startRedis({ tls: { ...certificates.server, ca, client: certificates.client }, password: 'pass' });
  stranger = await startRedis({ tls: { ...certificates.otherHost, ca } });
  brokers = createBrokerPool(noEvents);
});
afterAll(async () => {
  await brokers.close();
  await server.close();
  await stranger.close();
  rmSync(folder, { recursive: true, force: true });
});

const pem = (file: string): string => readFileSync(file, 'utf8');

function read(metadata: Record<string, string>, authentication: Record<string, string>): Promise<Reading> {
  const all = { scaler: 'redis', listName: 'q', ...metadata };
  const bound = scalerOf(all).bind(all, authentication);
  return brokers.of(bound).read(bound.question, AbortSignal.timeout(5_000));
}

it('TLS with the authority, a client certificate and its key from a TriggerAuthentication is read', async () => {
  const { client, ca } = certificates;
  const authentication = { ca: pem(ca), cert: pem(client.cert), key: pem(client.key), password: 'pass' };
  expect(await read({ address: `localhost:${server.port}` }, { ...authentication, tls: 'enable' })).toMatchObject({
    known: true,
    measures: { length: 0 },
  });
  expect(await read({ address: `rediss://localhost:${server.port}` }, authentication)).toMatchObject({ known: true });
});

it.each([
  ['an unknown authority', () => ({ address: `rediss://localhost:${server.port}` }), () => ({ password: 'pass' })],
  [
    'no client certificate where one is wanted',
    () => ({ address: `rediss://localhost:${server.port}` }),
    () => ({ password: 'pass', ca: pem(certificates.ca) }),
  ],
  [
    'another host’s certificate',
    () => ({ address: `rediss://localhost:${stranger.port}` }),
    () => ({ ca: pem(certificates.ca) }),
  ],
])('%s is told as a failure of TLS or of the connection, never as a number', async (_name, metadata, authentication) => {
  const reading = await read(metadata(), authentication());
  expect(reading).toMatchObject({ known: false });
  if (!reading.known) expect(['TLS_FAILED', 'BROKER_UNREACHABLE']).toContain(reading.error.code);
});

it('another host’s certificate is taken where the trigger says so', async () => {
  const reading = await read({ address: `rediss://localhost:${stranger.port}`, insecureSkipVerify: 'true' }, {});
  expect(reading).toMatchObject({ known: true });
});

it('no TLS to a TLS port is an error that names the remedy', async () => {
  const reading = await read({ address: `localhost:${stranger.port}` }, {});
  expect(reading).toMatchObject({ known: false, error: { code: 'BROKER_UNREACHABLE' } });
  if (!reading.known) expect(reading.error.message).toContain('rediss://');
});

it('servers and sentinels that speak TLS only and demand certificates are read, each with its own credentials', async () => {
  const { client, ca } = certificates;
  // Servers and sentinels are each other's clients, too.
  const member = certificates.issue('member', 'localhost', `${LOCALHOST_EXTENSIONS.trim()},clientAuth\n`);
  const set = await startSentinelSet({ tls: { ...member, ca, client }, password: 'data', sentinelPassword: 'watch' });
  try {
    await (await set.primary()).call('RPUSH', 'q', 'a', 'b');
    const addresses = set.sentinels.map(({ port }) => `localhost:${port}`).join(',');
    const metadata = { scaler: 'redis-sentinel', addresses, sentinelMaster: set.masterName };
    const pems = { tls: 'enable', ca: pem(ca), cert: pem(client.cert), key: pem(client.key) };
    const passwords = { password: 'data', sentinelPassword: 'watch' };
    expect(await read(metadata, { ...pems, ...passwords })).toMatchObject({ known: true, measures: { length: 2 } });
    const urls = addresses.replaceAll('localhost', 'rediss://localhost');
    expect(await read({ ...metadata, addresses: urls }, { ...pems, ...passwords })).toMatchObject({ known: true });

    expect(await read(metadata, { ...pems, ...passwords, sentinelPassword: 'data' })).toMatchObject({
      error: { code: 'BROKER_REFUSED' },
    });
    expect(await read(metadata, { ...pems, ...passwords, password: 'watch' })).toMatchObject({
      error: { code: 'BROKER_REFUSED' },
    });
    expect(await read(metadata, { tls: 'enable', ...passwords })).toMatchObject({ known: false, error: { code: 'TLS_FAILED' } });
    expect(await read(metadata, passwords)).toMatchObject({ known: false, error: { code: 'BROKER_UNREACHABLE' } });
  } finally {
    await set.close();
  }
});

it('a cluster that speaks TLS only is read by the names that its nodes announce, as its certificates hold no addresses', async () => {
  const { ca } = certificates;
  const named = certificates.issue('named', 'node', 'subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n');
  const cluster = await startRedisCluster({ tls: { ...named, ca }, config: { 'cluster-announce-hostname': 'localhost' } });
  try {
    const [node] = cluster.nodes;
    const names = Array.from({ length: 12 }, (_, index) => `q:${index}`);
    for (const [index, name] of names.entries()) await (await cluster.ownerOf(slotOf(name))).call('RPUSH', name, index, index);
    const metadata = { scaler: 'redis-cluster', listName: names.join(','), address: `localhost:${node?.port ?? 0}` };
    const secured = await read(metadata, { tls: 'enable', ca: pem(ca) });
    expect(secured).toMatchObject({ known: true, measures: { length: 24 } });
    expect(await read({ ...metadata, address: `127.0.0.1:${node?.port ?? 0}` }, { tls: 'enable', ca: pem(ca) })).toMatchObject({
      error: { code: 'TLS_FAILED' },
    });
  } finally {
    await cluster.close();
  }
});
