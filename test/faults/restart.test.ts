import { status, type ServiceError } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { freePorts } from '../bed/ports.ts';
import { startRedis, type RedisServer } from '../bed/redis.ts';
import { get, startScalerProcess, type ScalerProcess } from '../bed/scaler.ts';
import { until } from '../bed/until.ts';
import { createKedaClient, type KedaClient, type PushStream } from '../keda/client.ts';

const RESTARTS = 20;
const STREAMS = 500;
const CALLS_A_SECOND = 200;
/** KEDA opens a stream again 2 s after its end with OK, so that this is what a wake may take on a machine with nothing else to do. */
const AIM_MS = 3_000;
/** A wake that has not come by then was missed. */
const MISSED_MS = 15_000;
const WAKES_A_RESTART = 5;

let redis: RedisServer;
let keda: KedaClient;
const replicas: ScalerProcess[] = [];

beforeAll(async () => {
  redis = await startRedis();
  for (const port of await freePorts(2)) replicas.push(await startReplica(`127.0.0.1:${port}`));
  keda = createKedaClient(replicas.map(({ grpc }) => grpc));
}, 120_000);
afterAll(async () => {
  keda.close();
  await Promise.all(replicas.map((replica) => replica.close()));
  await redis.close();
});

function startReplica(address: string): Promise<ScalerProcess> {
  return startScalerProcess(['--grpc-address', address, '--kubernetes', 'off']);
}

const metadata = (listName: string) => ({ scaler: 'redis', address: `127.0.0.1:${redis.port}`, listName });
const trigger = (number: number) => keda.trigger({ name: `worker-${number}`, metadata: metadata(`list-${number}`) });

async function callers(replica: ScalerProcess): Promise<number> {
  const { text } = await get(replica.http, '/metrics');
  return Number(/^queue_scaler_grpc_connections (\d+)/m.exec(text)?.[1]);
}

it(`restarts two replicas in turn ${RESTARTS} times and nobody notices`, async () => {
  const streams: PushStream[] = [];
  for (let number = 0; number < STREAMS; number++) streams.push(trigger(number).push());
  await Promise.all(streams.map((stream) => stream.next(false, 60_000)));

  const failures: ServiceError[] = [];
  let calls = 0;
  const calling = setInterval(() => {
    const { reference } = trigger(calls % STREAMS);
    const request = calls % 2 === 0 ? { scaledObjectRef: reference, metricName: 'm' } : reference;
    keda
      .call(calls++ % 2 === 0 ? 'GetMetrics' : 'IsActive', request)
      .catch((error: unknown) => failures.push(error as ServiceError));
  }, 1_000 / CALLS_A_SECOND);

  let woken = 0;
  const wakeMs: number[] = [];
  const wake = async (number: number): Promise<void> => {
    const startedAt = performance.now();
    await redis.call('RPUSH', `list-${number}`, 'message');
    await streams[number]?.next(true, MISSED_MS);
    wakeMs.push(performance.now() - startedAt);
  };
  try {
    for (let restart = 0; restart < RESTARTS; restart++) {
      const turn = restart % 2;
      const replica = replicas[turn];
      if (replica === undefined) throw new Error('there are two replicas');
      const stopped = replica.stop();
      await Promise.all(Array.from({ length: WAKES_A_RESTART }, () => wake(woken++)));
      expect(await stopped).toBe(0);
      const next = (replicas[turn] = await startReplica(replica.grpc));
      await until('KEDA is connected again', async () => (await callers(next)) > 0, { deadlineMs: 30_000, everyMs: 100 });
    }
  } finally {
    clearInterval(calling);
  }

  // A replica that says why it cannot answer, such as a broker that is slow on a full machine, was not lost on the way.
  const lost = failures.filter(({ metadata }) => metadata.get('queue-scaler-error').length === 0);
  const ends = streams.flatMap((stream) => stream.ends);
  process.stdout.write(
    `${RESTARTS} restarts, ${calls} calls, ${lost.length} lost, ${failures.length - lost.length} answered by an error; ${ends.length} streams ended, ` +
      `${ends.filter((end) => end !== status.OK).length} other than OK; ${wakeMs.length} wakes, ` +
      `slowest ${Math.max(...wakeMs).toFixed(0)} ms, ${wakeMs.filter((ms) => ms > AIM_MS).length} over ${AIM_MS} ms\n`,
  );
  for (const stream of streams) stream.close();
  expect(lost).toEqual([]);
  expect(failures.filter(({ metadata }) => metadata.get('queue-scaler-error').includes('SHUTTING_DOWN'))).toEqual([]);
  expect(new Set(ends)).toEqual(new Set([status.OK]));
  expect(wakeMs).toHaveLength(RESTARTS * WAKES_A_RESTART);
});
