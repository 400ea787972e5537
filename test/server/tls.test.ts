import { copyFileSync, mkdtempSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { status, type ServiceError } from '@grpc/grpc-js';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { alternativeNames } from '../../src/server/certificates.ts';
import { LOCALHOST_EXTENSIONS, makeCertificates, type Certificates, type KeyPair } from '../bed/certificates.ts';
import { handshake } from '../bed/handshake.ts';
import { createMemoryBroker } from '../bed/memoryScaler.ts';
import { startScaler, type TestScaler } from '../bed/scaler.ts';
import { until } from '../bed/until.ts';

const folder = mkdtempSync(join(tmpdir(), 'queue-scaler-tls-'));
const served: KeyPair = { cert: join(folder, 'served.pem'), key: join(folder, 'served.key') };
const broker = createMemoryBroker();
const trigger = { metadata: { scaler: 'memory', queueName: 'tls' } };
let made: Certificates;
let scaler: TestScaler;

beforeAll(() => {
  made = makeCertificates(join(folder, 'made'));
  use(made.server);
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function use(pair: KeyPair): void {
  copyFileSync(pair.cert, served.cert);
  copyFileSync(pair.key, served.key);
}

const ca = (): Buffer => readFileSync(made.ca);
const pem = (pair: KeyPair) => ({ ca: ca(), cert: readFileSync(pair.cert), key: readFileSync(pair.key) });

async function failure(promise: Promise<unknown>): Promise<ServiceError> {
  return promise.then(
    () => {
      throw new Error('did not fail');
    },
    (error: unknown) => error as ServiceError,
  );
}

const HANDSHAKE_MS = 5_000;
const shown = (): Promise<string> => handshake(scaler.grpc, { ca: ca() }, HANDSHAKE_MS);

describe('TLS', () => {
  beforeAll(async () => {
    scaler = await startScaler({ scalers: [broker.scaler], tls: served });
  });
  afterAll(() => scaler.close());

  it('serves KEDA by TLS, and not in the clear', async () => {
    expect(
      await scaler
        .keda({ tls: { ca: ca() } })
        .trigger(trigger)
        .poll(),
    ).toMatchObject({ active: false });
    expect((await failure(scaler.client.trigger(trigger).spec())).code).toBe(status.UNAVAILABLE);
  });

  it('refuses versions before 1.2', async () => {
    await expect(handshake(scaler.grpc, { ca: ca(), maxVersion: 'TLSv1.1' }, HANDSHAKE_MS)).rejects.toThrow();
    expect(await shown()).toMatch(/^[0-9A-F]+$/);
  });

  it('follows a new pair though its files come one by one, half written, and in the wrong order; open connections stay', async () => {
    const stream = scaler
      .keda({ tls: { ca: ca() } })
      .trigger(trigger)
      .push();
    await stream.next(false);
    for (const order of ['cert first', 'key first', 'half written'] as const) {
      const next = made.issue('next', 'localhost', LOCALHOST_EXTENSIONS);
      const before = await shown();
      if (order === 'key first') copyFileSync(next.key, served.key);
      else copyFileSync(next.cert, served.cert);
      if (order === 'half written') truncateSync(served.cert, 100);
      // Whatever lies there for longer than the files are read apart must not be served.
      const startedAt = performance.now();
      while (performance.now() - startedAt < (order === 'cert first' ? 2_500 : 500)) expect(await shown()).toBe(before);
      use(next);
      await until('the new certificate', async () => (await shown()) !== before, { deadlineMs: 5_000 });
    }
    expect(stream.ends).toEqual([]);
    broker.set('tls', 1);
    await stream.next(true);
    stream.close();
    expect(scaler.log.filter((line) => line.includes('a new certificate is served'))).toHaveLength(3);
    expect(scaler.log.filter((line) => line.includes('the last good ones stay')).length).toBeGreaterThanOrEqual(1);
    expect(await scaler.metrics()).toMatch(/queue_scaler_certificate_expiry_timestamp_seconds [1-9]/);
  }, 30_000);

  it('does not start with a key that is another certificate’s', async () => {
    await expect(
      startScaler({ tls: { cert: made.server.cert, key: made.client.key }, scalers: [broker.scaler] }),
    ).rejects.toThrow('the certificate is not that of the private key');
  });
});

describe('mutual TLS', () => {
  let operator: KeyPair;

  beforeAll(async () => {
    operator = made.issue(
      'operator',
      'operator',
      'subjectAltName=DNS:keda-operator.keda.svc,URI:spiffe://cluster.local/ns/keda/sa/keda-operator\nextendedKeyUsage=clientAuth\n',
    );
    scaler = await startScaler({
      scalers: [broker.scaler],
      tls: { ...made.server, clientCa: made.ca, clientNames: ['spiffe://cluster.local/ns/keda/sa/keda-operator'] },
    });
  });
  afterAll(() => scaler.close());

  it('serves a client whose certificate has an allowed name', async () => {
    expect(
      await scaler
        .keda({ tls: pem(operator) })
        .trigger(trigger)
        .spec(),
    ).toHaveLength(1);
  });

  it('refuses a client without a certificate', async () => {
    expect(
      (
        await failure(
          scaler
            .keda({ tls: { ca: ca() } })
            .trigger(trigger)
            .spec(),
        )
      ).code,
    ).toBe(status.UNAVAILABLE);
  });

  it('refuses a certificate of the authority that has none of the names, and says so', async () => {
    const error = await failure(
      scaler
        .keda({ tls: pem(made.client) })
        .trigger(trigger)
        .spec(),
    );
    expect(error.code).toBe(status.UNAVAILABLE);
    expect(await scaler.metrics()).toMatch(/connections_refused_total\{reason="name_not_allowed"\} [1-9]/);
    expect(scaler.log.some((line) => line.includes('shows a certificate for none of the allowed names'))).toBe(true);
  });
});

describe('the names of a certificate', () => {
  it('are its DNS and URI names only', () => {
    expect(alternativeNames('DNS:a.b, IP Address:127.0.0.1, URI:spiffe://x/y, email:me@a.b')).toEqual(['a.b', 'spiffe://x/y']);
    expect(alternativeNames(undefined)).toEqual([]);
  });

  it('cannot be forged by a name that holds another', () => {
    expect(alternativeNames('URI:"http://evil/, DNS:keda"')).toEqual(['http://evil/, DNS:keda']);
    fc.assert(
      fc.property(fc.string(), (name) => {
        expect(alternativeNames(`URI:${JSON.stringify(name)}`)).toEqual([name]);
      }),
    );
  });
});
