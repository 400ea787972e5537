import { afterAll, beforeAll, expect, it } from 'vitest';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { redis } from '../../../src/scalers/redis/lists.ts';
import { noEvents } from '../../../src/scalers/events.ts';
import { createSamplers, type Samplers } from '../../../src/scalers/samplers.ts';
import type { Reading } from '../../../src/scalers/reading.ts';
import { makeCertificates, type Certificates } from '../../bed/certificates.ts';
import { startRedis, type RedisServer } from '../../bed/redis.ts';

const folder = mkdtempSync(join(tmpdir(), 'queue-scaler-tls-'));
let certificates: Certificates;
let server: RedisServer;
let stranger: RedisServer;
let samplers: Samplers;

beforeAll(async () => {
  certificates = makeCertificates(folder);
  const { ca } = certificates;
  server = await startRedis({ tls: { ...certificates.server, ca, client: certificates.client }, password: 'pass' });
  stranger = await startRedis({ tls: { ...certificates.otherHost, ca } });
  samplers = createSamplers(noEvents);
});
afterAll(async () => {
  await samplers.close();
  await server.close();
  await stranger.close();
  rmSync(folder, { recursive: true, force: true });
});

const pem = (file: string): string => readFileSync(file, 'utf8');

function read(metadata: Record<string, string>, authentication: Record<string, string>): Promise<Reading> {
  const bound = redis.bind({ scaler: 'redis', listName: 'q', ...metadata }, authentication);
  return samplers.of(bound).read(bound.question, AbortSignal.timeout(5_000));
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
