/** The double of KEDA against a scaler that answers as it is told, in real time: a broker's outage is told after so long. */
import { fileURLToPath } from 'node:url';
import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { until } from '../bed/until.ts';
import { createKedaClient, type KedaClient } from './client.ts';
import { runScaledObject, type ScaledObject } from './scaledObject.ts';
import type { KedaVersion } from './versions.ts';

const PROTO = fileURLToPath(new URL('../../proto/externalscaler.proto', import.meta.url));
const REPLICAS = 4;
const POLLING_MS = 1_000;
const COOLDOWN_MS = 1_500;
const VERSIONS = ['2.19', '2.20', '2.21'] as const;

interface ScriptedScaler {
  readonly address: string;
  /** How long GetMetrics takes to fail, in ms; undefined while it answers. */
  failsAfterMs: number | undefined;
  /** Sends that to whoever has a stream. */
  push(active: boolean): void;
  close(): void;
}

async function startScriptedScaler(): Promise<ScriptedScaler> {
  const streams = new Set<grpc.ServerWritableStream<unknown, unknown>>();
  const server = new grpc.Server();
  const reply =
    (answer: object): grpc.handleUnaryCall<unknown, object> =>
    (_, done) => {
      done(null, answer);
    };
  server.addService(loadSync(PROTO, { keepCase: true })['externalscaler.ExternalScaler'] as grpc.ServiceDefinition, {
    GetMetricSpec: reply({ metricSpecs: [{ metricName: 'queue', targetSizeFloat: 5 }] }),
    IsActive: reply({ result: true }),
    GetMetrics: (_: unknown, done: grpc.sendUnaryData<object>) => {
      if (scaler.failsAfterMs === undefined)
        done(null, { metricValues: [{ metricName: 'queue', metricValueFloat: 5 * REPLICAS }] });
      else setTimeout(done, scaler.failsAfterMs, { code: grpc.status.UNAVAILABLE, details: 'on purpose' });
    },
    StreamIsActive: (stream: grpc.ServerWritableStream<unknown, unknown>) => void streams.add(stream),
    StreamMetricSpec: () => undefined,
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
  const scaler: ScriptedScaler = {
    address: `127.0.0.1:${port}`,
    failsAfterMs: undefined,
    push: (result) => {
      for (const stream of streams) stream.write({ result });
    },
    close: () => {
      server.forceShutdown();
    },
  };
  return scaler;
}

let scaler: ScriptedScaler;
const clients: KedaClient[] = [];

beforeEach(async () => {
  scaler = await startScriptedScaler();
});

afterEach(() => {
  for (const client of clients.splice(0)) client.close();
  scaler.close();
});

function run(version: KedaVersion, changes: Partial<Parameters<typeof runScaledObject>[1]> = {}): ScaledObject {
  const client = createKedaClient(scaler.address, { version });
  clients.push(client);
  return runScaledObject(client, {
    triggers: [{ name: version, type: 'external-push', metadata: {} }],
    pollingIntervalMs: POLLING_MS,
    hpaSyncMs: 2 * POLLING_MS,
    phases: { poll: 0, hpa: POLLING_MS / 2 },
    cooldownMs: COOLDOWN_MS,
    maxReplicas: 10,
    replicas: REPLICAS,
    ...changes,
  });
}

const replicasOf = (objects: readonly ScaledObject[]): Record<string, number> =>
  Object.fromEntries(objects.map(({ name, replicas }) => [name, replicas]));

async function outage(failsAfterMs: number): Promise<readonly ScaledObject[]> {
  const objects = VERSIONS.map((version) => run(version));
  await until('every object polls', () => objects.every(({ polls }) => polls.good > 0));
  scaler.failsAfterMs = failsAfterMs;
  return objects;
}

describe('an outage that the scaler tells as errors', () => {
  test('takes the workload to zero from 2.20 on, where that takes it 1.9 s', async () => {
    const objects = await outage(1_900);
    await until('both newer versions scale down', () => objects.slice(1).every(({ replicas }) => replicas === 0), {
      deadlineMs: 60_000,
    });
    expect(replicasOf(objects)).toEqual({ '2.19': REPLICAS, '2.20': 0, '2.21': 0 });
    expect(objects[1]?.decisions.at(-1)).toMatchObject({ by: 'poll', from: REPLICAS, to: 0 });
    expect(objects.map(({ polls }) => polls.closed > 0)).toEqual([true, true, true]);
    await Promise.all(objects.map((object) => object.close()));
  }, 90_000);

  test('takes it to zero in no version where they come at once', async () => {
    const objects = await outage(0);
    await until(
      'polls fail for several cooldowns',
      () => objects.every(({ polls }) => polls.failing * POLLING_MS > 3 * COOLDOWN_MS),
      { deadlineMs: 60_000 },
    );
    expect(replicasOf(objects)).toEqual({ '2.19': REPLICAS, '2.20': REPLICAS, '2.21': REPLICAS });
    await Promise.all(objects.map((object) => object.close()));
  }, 90_000);
});

describe('without an outage', () => {
  test('the HPA brings the replicas to what the metric asks for, up to the most', async () => {
    const object = run('2.20', { replicas: 1, maxReplicas: 3 });
    await until('the most', () => object.replicas === 3);
    expect(object.decisions).toMatchObject([{ by: 'hpa', from: 1, to: 3 }]);
    await object.close();
  });

  test('a push starts the first replica without a poll', async () => {
    const object = run('2.20', { replicas: 0, pollingIntervalMs: 1e8, phases: { poll: 0.9e8, hpa: 0 } });
    await until('the push is heard', () => {
      scaler.push(true);
      return object.replicas > 0;
    });
    expect(object.decisions[0]).toMatchObject({ by: 'push', from: 0, to: 1 });
    await object.close();
  });
});
