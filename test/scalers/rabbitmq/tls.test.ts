import { execFileSync } from 'node:child_process';
import type { AddressInfo } from 'node:net';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { QueueScalerError } from '../../../src/errors.ts';
import { noEvents } from '../../../src/scalers/brokerEvents.ts';
import type { Reading } from '../../../src/scalers/reading.ts';
import { rabbitmq } from '../../../src/scalers/rabbitmq/index.ts';
import { createBrokerPool } from '../../../src/scalers/brokerPool.ts';
import { makeCertificates, type Certificates } from '../../bed/certificates.ts';
import { startRabbit, type RabbitNode } from '../../bed/rabbitmq.ts';
import { connectQueues } from './queues.ts';

const KEY_PASSWORD = 'a key’s p@ss word';
const DEPTH = 3;
const folder = mkdtempSync(join(tmpdir(), 'queue-scaler-tls-'));
let certificates: Certificates;
let encryptedKey: string;
let node: RabbitNode;

/** A broker that demands a client's certificate of everybody, and takes its common name for a user. */
beforeAll(async () => {
  certificates = makeCertificates(folder);
  const { ca, server, client } = certificates;
  encryptedKey = join(folder, 'client.encrypted.key');
  execFileSync('openssl', ['pkcs8', '-topk8', '-in', client.key, '-out', encryptedKey, '-passout', 'stdin'], {
    input: KEY_PASSWORD,
  });
  node = await startRabbit({
    plugins: ['rabbitmq_auth_mechanism_ssl'],
    tls: { ...server, ca, verifyPeer: true },
    config: { 'auth_mechanisms.1': 'PLAIN', 'auth_mechanisms.2': 'EXTERNAL', ssl_cert_login_from: 'common_name' },
  });
  const queues = await connectQueues(node.amqpUrl());
  await queues.declare('q');
  await queues.put('q', DEPTH);
  await queues.close();
});
afterAll(async () => {
  await node.close();
  rmSync(folder, { recursive: true, force: true });
});

type Texts = Readonly<Record<string, string>>;
const pem = (file: string): string => readFileSync(file, 'utf8');
const withCertificate = (): Texts => {
  const { ca, client } = certificates;
  return { tls: 'enable', ca: pem(ca), cert: pem(client.cert), key: pem(client.key) };
};

async function read(metadata: Texts, authentication: Texts): Promise<Reading> {
  const brokers = createBrokerPool(noEvents);
  try {
    const bound = rabbitmq.bind({ scaler: 'rabbitmq', queueName: 'q', ...metadata }, authentication);
    return await brokers.of(bound).read(bound.question, AbortSignal.timeout(5_000));
  } finally {
    await brokers.close();
  }
}

async function refusal(metadata: Texts, authentication: Texts): Promise<QueueScalerError> {
  const reading = await read(metadata, authentication);
  if (reading.known) throw new Error(`read ${JSON.stringify(reading.measures)} where an error was due`);
  return reading.error;
}

const amqps = (): Texts => ({ host: `amqps://localhost:${node.amqpsPort}`, management: 'off' });
const https = (): Texts => ({ host: `https://localhost:${node.httpsPort}` });
const GUEST = { username: 'guest', password: 'guest' };

describe('a client’s certificate', () => {
  it('logs in by SASL EXTERNAL, without a password', async () => {
    expect(await read(amqps(), withCertificate())).toMatchObject({ known: true, measures: { ready: DEPTH } });
  });

  it('may have an encrypted key, with its password', async () => {
    const authentication = { ...withCertificate(), key: pem(encryptedKey), keyPassword: KEY_PASSWORD };
    expect(await read(amqps(), authentication)).toMatchObject({ known: true, measures: { ready: DEPTH } });
    expect(await read(https(), { ...authentication, ...GUEST })).toMatchObject({ known: true, measures: { messages: DEPTH } });
  });

  it('whose key has another password is a TLS error without that password', async () => {
    const error = await refusal(amqps(), { ...withCertificate(), key: pem(encryptedKey), keyPassword: 'another-s3cret' });
    expect(error).toMatchObject({ code: 'TLS_FAILED' });
    expect(String(error)).not.toContain('s3cret');
  });

  it('is shown beside a user and password too, by AMQP and by HTTP', async () => {
    expect(await read(amqps(), { ...withCertificate(), ...GUEST })).toMatchObject({ known: true, measures: { ready: DEPTH } });
    expect(await read(https(), { ...withCertificate(), ...GUEST })).toMatchObject({
      known: true,
      measures: { messages: DEPTH },
    });
  });

  it('of a user whom the broker does not know is refused', async () => {
    const stranger = certificates.issue('stranger', 'stranger', 'extendedKeyUsage=clientAuth\n');
    const authentication = { ...withCertificate(), cert: pem(stranger.cert), key: pem(stranger.key) };
    expect(await refusal(amqps(), authentication)).toMatchObject({ code: 'BROKER_REFUSED' });
  });

  it('that is missing where the broker demands one is an error', async () => {
    const without = { ca: pem(certificates.ca), ...GUEST };
    expect((await refusal(amqps(), without)).code).toMatch(/TLS_FAILED|BROKER_UNREACHABLE/);
    expect((await refusal(https(), without)).code).toMatch(/TLS_FAILED|BROKER_UNREACHABLE/);
  });
});

it('a vhost that does not exist is refused with the broker’s reason over TLS too', async () => {
  const error = await refusal({ ...amqps(), vhostName: 'absent' }, { ...withCertificate(), ...GUEST });
  expect(error).toMatchObject({ code: 'BROKER_FORBIDDEN' });
  expect(error.message).toContain('vhost absent not found');
});

describe('the broker’s certificate', () => {
  it('of an unknown authority is refused, unless unsafeSsl takes any', async () => {
    const withoutAuthority = Object.fromEntries(Object.entries(withCertificate()).filter(([name]) => name !== 'ca'));
    for (const road of [amqps(), https()]) {
      expect(await refusal(road, { ...withoutAuthority, ...GUEST })).toMatchObject({ code: 'TLS_FAILED' });
      expect(await read({ ...road, unsafeSsl: 'true' }, { ...withoutAuthority, ...GUEST })).toMatchObject({ known: true });
    }
  });

  it('that stands for another name than the one asked is refused', async () => {
    const { cert, key } = certificates.otherHost;
    const impostor = createServer({ cert: pem(cert), key: pem(key) });
    await new Promise<void>((resolve) => impostor.listen(0, '127.0.0.1', resolve));
    try {
      const host = `localhost:${(impostor.address() as AddressInfo).port}`;
      for (const road of [{ host: `amqps://${host}`, management: 'off' }, { host: `https://${host}` }]) {
        expect(await refusal(road, { ...withCertificate(), ...GUEST })).toMatchObject({ code: 'TLS_FAILED' });
      }
    } finally {
      impostor.close();
    }
  });
});

it('TLS spoken to a plain port, and plain AMQP to a TLS port, are errors that say so', async () => {
  const toPlain = await refusal({ host: `amqps://localhost:${node.amqpPort}`, management: 'off' }, withCertificate());
  expect(toPlain).toMatchObject({ code: 'TLS_FAILED' });
  const toTls = await refusal({ host: `amqp://localhost:${node.amqpsPort}`, management: 'off' }, GUEST);
  expect(toTls.code).toMatch(/TLS_FAILED|BROKER_UNREACHABLE|BROKER_REPLY_INVALID/);
});
