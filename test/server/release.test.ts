import http2, { type Http2Server, type ServerHttp2Stream } from 'node:http2';
import { status, type ServiceError } from '@grpc/grpc-js';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { createMemoryBroker, type MemoryBroker } from '../bed/memoryScaler.ts';
import { startScaler, type TestScaler } from '../bed/scaler.ts';

let broker: MemoryBroker;
let scaler: TestScaler;
/** The HTTP/2 streams of the server’s calls so far. */
let streams: ServerHttp2Stream[] = [];

beforeAll(async () => {
  const createServer = vi.spyOn(http2, 'createServer');
  broker = createMemoryBroker();
  scaler = await startScaler({ scalers: [broker.scaler] });
  const server = createServer.mock.results[0]?.value as Http2Server;
  server.on('stream', (stream: ServerHttp2Stream) => {
    streams.push(stream);
  });
  createServer.mockRestore();
});
beforeEach(() => {
  streams = [];
  broker.hang(false);
});
afterAll(() => scaler.close());

const on = (queueName: string, more: Record<string, string> = {}) =>
  scaler.client.trigger({ name: queueName, metadata: { scaler: 'memory', queueName, ...more } });
const code = (promise: Promise<unknown>): Promise<status> =>
  promise.then(
    () => status.OK,
    (error: unknown) => (error as ServiceError).code,
  );
const listenedFor = (): readonly (string | symbol)[] => streams[0]?.eventNames() ?? ['no stream was seen'];

describe('a closed stream', () => {
  it('leads to nothing of its call, which was answered', async () => {
    expect(await code(scaler.client.call('IsActive', on('answered').reference))).toBe(status.OK);
    await expect.poll(listenedFor).toEqual(['error']);
  });

  it('leads to nothing after an error', async () => {
    expect(await code(scaler.client.call('IsActive', on('refused', { typo: '1' }).reference))).toBe(status.INVALID_ARGUMENT);
    await expect.poll(listenedFor).toEqual(['error']);
  });

  it('leads to nothing when its caller has gone, which the handler was told', async () => {
    broker.hang(true);
    expect(await code(scaler.client.call('IsActive', on('gone').reference, 100))).toBe(status.DEADLINE_EXCEEDED);
    await expect.poll(listenedFor).toEqual(['error']);
    expect(await scaler.metrics()).toMatch(/queue_scaler_errors_total\{code="CALL_CANCELLED"\} 1/);
  });

  it('that fails late does not end the process', async () => {
    await on('late').spec();
    await expect.poll(listenedFor).toEqual(['error']);
    expect(streams[0]?.emit('error', new Error('write after the end'))).toBe(true);
  });
});

describe('an open stream', () => {
  it('keeps its call until it closes', async () => {
    const pushed = on('open').push();
    await pushed.next(false);
    expect(listenedFor()).toEqual(expect.arrayContaining(['close', 'data', 'end']));
    pushed.close();
    await expect.poll(listenedFor).toEqual(['error']);
    await expect.poll(() => broker.watched).toBe(0);
  });
});
