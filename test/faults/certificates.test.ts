import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { LOCALHOST_EXTENSIONS, makeCertificates, type Certificates } from '../bed/certificates.ts';
import { handshake } from '../bed/handshake.ts';
import { createMemoryBroker } from '../bed/memoryScaler.ts';
import { startScaler, type TestScaler } from '../bed/scaler.ts';
import { until } from '../bed/until.ts';

const ROTATIONS = 50;
const SERVED_WITHIN_MS = 5_000;
/** Longer than two readings of the files are apart, so that what is unfinished is taken for settled, and refused. */
const UNFINISHED_MS = 2_200;
const HANDSHAKERS = 3;
const HANDSHAKE_MS = 10_000;
const HANDSHAKE_GAP_MS = 10;
const CALL_GAP_MS = 10;

const folder = mkdtempSync(join(tmpdir(), 'queue-scaler-rotation-'));
/** As a Secret is mounted: the files are links through `..data`, which is replaced as a whole. */
const mount = join(folder, 'mount');
const cert = join(mount, 'tls.crt');
const key = join(mount, 'tls.key');
const broker = createMemoryBroker();
let made: Certificates;
let scaler: TestScaler;
let mounted = 0;

/** The files by which one pair takes the place of another. */
interface Pair {
  readonly cert: Buffer;
  readonly key: Buffer;
}

const WAYS: Readonly<Record<string, (pair: Pair) => Promise<void>>> = {
  'the whole Secret at once': (pair) => {
    swap(pair);
    return Promise.resolve();
  },
  'the certificate before its key': async (pair) => {
    writeFileSync(cert, pair.cert);
    await sleep(UNFINISHED_MS);
    writeFileSync(key, pair.key);
  },
  'the key before its certificate': async (pair) => {
    writeFileSync(key, pair.key);
    await sleep(UNFINISHED_MS);
    writeFileSync(cert, pair.cert);
  },
  'the certificate half, then both whole': async (pair) => {
    writeFileSync(cert, pair.cert.subarray(0, pair.cert.length / 2));
    await sleep(UNFINISHED_MS);
    writeFileSync(cert, pair.cert);
    writeFileSync(key, pair.key);
  },
  'the key emptied, then both whole': async (pair) => {
    writeFileSync(key, '');
    await sleep(UNFINISHED_MS);
    writeFileSync(key, pair.key);
    writeFileSync(cert, pair.cert);
  },
};

function swap(pair: Pair): void {
  const data = `..${mounted++}`;
  mkdirSync(join(mount, data));
  writeFileSync(join(mount, data, 'tls.crt'), pair.cert);
  writeFileSync(join(mount, data, 'tls.key'), pair.key);
  symlinkSync(data, join(mount, '..data_tmp'));
  renameSync(join(mount, '..data_tmp'), join(mount, '..data'));
}

beforeAll(async () => {
  made = makeCertificates(join(folder, 'made'));
  mkdirSync(mount);
  swap({ cert: readFileSync(made.server.cert), key: readFileSync(made.server.key) });
  symlinkSync('..data/tls.crt', cert);
  symlinkSync('..data/tls.key', key);
  scaler = await startScaler({ scalers: [broker.scaler], tls: { cert, key } });
});
afterAll(async () => {
  await scaler.close();
  rmSync(folder, { recursive: true });
});

it(`serves ${ROTATIONS} certificates in turn, however their files come, and nobody notices`, async () => {
  const ca = readFileSync(made.ca);
  const keda = scaler.keda({ tls: { ca } });
  const trigger = keda.trigger({ metadata: { scaler: 'memory', queueName: 'rotated' } });
  const stream = trigger.push();
  await stream.next(false);

  const failures: unknown[] = [];
  let handshakes = 0;
  let calls = 0;
  let shown = await handshake(scaler.grpc, { ca }, HANDSHAKE_MS);
  const state = { over: false };
  const forever = async (pauseMs: number, act: () => Promise<void>): Promise<void> => {
    while (!state.over) {
      await act().catch((error: unknown) => failures.push(error));
      await sleep(pauseMs);
    }
  };
  const load = [
    ...Array.from({ length: HANDSHAKERS }, () =>
      forever(HANDSHAKE_GAP_MS, async () => {
        shown = await handshake(scaler.grpc, { ca }, HANDSHAKE_MS);
        handshakes++;
      }),
    ),
    forever(CALL_GAP_MS, async () => {
      await keda.call('IsActive', trigger.reference);
      calls++;
    }),
  ];

  const servedMs: number[] = [];
  try {
    for (let rotation = 0; rotation < ROTATIONS; rotation++) {
      const issued = made.issue('next', 'localhost', LOCALHOST_EXTENSIONS);
      const before = shown;
      const ways = Object.entries(WAYS);
      const [way, replace] = ways[rotation % ways.length] ?? ['', () => Promise.reject(new Error('there are ways'))];
      await replace({ cert: readFileSync(issued.cert), key: readFileSync(issued.key) });
      const startedAt = performance.now();
      await until(`the new certificate, by ${way}`, () => shown !== before, { deadlineMs: 2 * SERVED_WITHIN_MS });
      servedMs.push(performance.now() - startedAt);
    }
  } finally {
    state.over = true;
    await Promise.all(load);
  }
  process.stdout.write(
    `${ROTATIONS} rotations, ${handshakes} handshakes and ${calls} calls meanwhile, ${failures.length} failed; ` +
      `a new certificate was served after ${Math.max(...servedMs).toFixed(0)} ms at most\n`,
  );
  expect(failures).toEqual([]);
  expect(Math.max(...servedMs)).toBeLessThan(SERVED_WITHIN_MS);
  // Connections that were open stay: the stream has never ended, and still tells.
  expect(stream.ends).toEqual([]);
  broker.set('rotated', 1);
  await stream.next(true);
  stream.close();
  expect(scaler.log.filter((line) => line.includes('a new certificate is served'))).toHaveLength(ROTATIONS);
  expect(scaler.log.some((line) => line.includes('the last good ones stay'))).toBe(true);
});
