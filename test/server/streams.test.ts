import { once } from 'node:events';
import { connect as connectHttp2, constants, type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2';
import { credentials, status, type ServiceError } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ExternalScalerClient, ScaledObjectRef } from '../../src/server/grpc/gen/externalscaler.ts';
import { createMemoryBroker, type MemoryBroker } from '../bed/memoryScaler.ts';
import { startScaler, type TestScaler } from '../bed/scaler.ts';
import { until } from '../bed/until.ts';

const STREAMS = 2_000;
const CALLS = 1_500;
/** More streams than a connection has open may be on their way at once. */
const SPARE = 150;
/** What is left over from streams that have ended is taken back beyond this. */
const MAX_SPARE = 1_000;

let broker: MemoryBroker;
let scaler: TestScaler;
beforeAll(async () => {
  broker = createMemoryBroker();
  scaler = await startScaler({ scalers: [broker.scaler] });
});
afterAll(() => scaler.close());

const reference = (name: string): ScaledObjectRef => ({
  name,
  namespace: 'default',
  scalerMetadata: { scaler: 'memory', queueName: name },
});

async function session(): Promise<ClientHttp2Session> {
  const opened = connectHttp2(`http://${scaler.grpc}`);
  opened.on('error', () => undefined);
  await once(opened, 'remoteSettings');
  return opened;
}

function open(of: ClientHttp2Session, method: string, name: string): ClientHttp2Stream {
  const stream = of.request({
    ':method': 'POST',
    ':path': `/externalscaler.ExternalScaler/${method}`,
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  const message = ScaledObjectRef.encode(reference(name)).finish();
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  stream.on('error', () => undefined).resume();
  stream.end(Buffer.concat([head, message]));
  return stream;
}

const allowed = (of: ClientHttp2Session): number => of.remoteSettings.maxConcurrentStreams ?? Infinity;
const openStreams = async (): Promise<number> => Number(/^queue_scaler_grpc_streams (\d+)/m.exec(await scaler.metrics())?.[1]);

describe('the streams that a connection may open', () => {
  it('are always some more than it has, and fewer again once those have ended', async () => {
    const client = await session();
    await until('the first are allowed', () => allowed(client) === SPARE);
    let most = 0;
    client.on('remoteSettings', () => (most = Math.max(most, allowed(client))));
    broker.hang(true);
    for (let number = 0; number < CALLS; number++) open(client, 'IsActive', 'hung');
    await until('more are allowed than are open', () => allowed(client) > CALLS);
    expect(most).toBeLessThanOrEqual(CALLS + SPARE);
    broker.hang(false);
    await until('what was allowed is taken back', () => allowed(client) <= MAX_SPARE);
    client.destroy();
  });

  it('are all begun where thousands are asked for at once, none refused, and calls of the same connection answered beside', async () => {
    const client = new ExternalScalerClient(scaler.grpc, credentials.createInsecure());
    let told = 0;
    const ends: status[] = [];
    const streams = Array.from({ length: STREAMS }, (_, number) =>
      client
        .streamIsActive(reference(`beside-${number}`))
        .on('data', () => told++)
        .on('error', (error: ServiceError) => ends.push(error.code)),
    );
    const calls = Array.from(
      { length: STREAMS },
      () =>
        new Promise<status>((resolve) => {
          client.getMetricSpec(reference('beside'), (error) => {
            resolve(error?.code ?? status.OK);
          });
        }),
    );
    expect(new Set(await Promise.all(calls))).toEqual(new Set([status.OK]));
    await until('each stream has told its state', () => told >= STREAMS);
    expect(ends).toEqual([]);
    for (const stream of streams) stream.cancel();
    client.close();
    await until('all have ended', async () => (await openStreams()) === 0);
  });

  it('are begun a few at a time, and not at all when their connection breaks before', async () => {
    const client = await session();
    await until('some may be open', () => allowed(client) === SPARE);
    const before = scaler.server.triggers.all().length;
    const streams = Array.from({ length: SPARE }, (_, number) => open(client, 'StreamIsActive', `broken-off-${number}`));
    await until('the first is begun', () => scaler.server.triggers.all().length > before, { everyMs: 1 });
    for (const stream of streams) stream.close(constants.NGHTTP2_CANCEL);
    client.destroy();
    await until('none is open', async () => (await openStreams()) === 0);
    expect(scaler.server.triggers.all().length).toBeLessThan(before + SPARE);
  });
});
