/**
 * What ten thousand ScaledObjects with their authentications cost the scaler and the API server: time from the start of the process
 * to readiness, its memory, and requests at rest. The scaler is the bundle, which is what users run; the API server is the tests' double.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { startApiServer } from '../test/auth/apiServer.ts';
import { authentication, fromSecret, scaledObject, secret } from '../test/auth/objects.ts';
import { BASE_RBAC, rulesIn } from '../test/auth/rbac.ts';
import { bundle } from '../test/bed/bundle.ts';
import { startScalerProcess } from '../test/bed/scaler.ts';
import { createKedaClient } from '../test/keda/client.ts';
import type { Benchmark } from './report.ts';

const OBJECTS = 10_000;
const READY_GOAL_S = 10;
const MEMORY_GOAL_MB = 250;
const REST_MS = 60_000;
const IN_FLIGHT = 50;

const bench: Benchmark = async (report) => {
  const main = await bundle();
  const api = await startApiServer(await rulesIn(BASE_RBAC));
  const metadata = (index: number) => ({ scaler: 'rabbitmq', queueName: `queue-${index}`, mode: 'QueueLength', value: '20' });
  for (let index = 0; index < OBJECTS; index++) {
    const namespace = `team-${index % 100}`;
    api.put(
      scaledObject(namespace, `worker-${index}`, metadata(index), { name: `rabbit-${index}` }),
      authentication(namespace, `rabbit-${index}`, fromSecret(`login-${index}`, 'host')),
      // Port 1 refuses at once: what is measured is the way to the credentials.
      secret(namespace, `login-${index}`, { host: 'amqp://app:secret@127.0.0.1:1/' }),
    );
  }
  const startedAt = performance.now();
  const scaler = await startScalerProcess([], { KUBECONFIG: api.kubeconfig }, main);
  const client = createKedaClient(scaler.grpc);
  try {
    report.figure(
      'start of the process to readiness, 10 000 ScaledObjects',
      (performance.now() - startedAt) / 1000,
      's',
      READY_GOAL_S,
    );
    report.figure('requests to get there', api.requests.length, 'requests');
    report.figure('memory once ready', memoryMb(scaler.pid), 'MB', MEMORY_GOAL_MB);

    const before = api.requests.length;
    await sleep(REST_MS);
    report.figure('requests a minute at rest, nothing asked', ((api.requests.length - before) * 60_000) / REST_MS, 'requests');

    const askedAt = performance.now();
    const afterRest = api.requests.length;
    let next = 0;
    await Promise.all(
      Array.from({ length: IN_FLIGHT }, async () => {
        for (let index = next++; index < OBJECTS; index = next++) {
          const reference = { namespace: `team-${index % 100}`, name: `worker-${index}`, scalerMetadata: metadata(index) };
          await client.call('IsActive', reference).catch(() => undefined);
        }
      }),
    );
    report.figure('first IsActive of all, each with a Secret of its own', (performance.now() - askedAt) / 1000, 's');
    report.figure('requests for that, the least being one a Secret', api.requests.length - afterRest, 'requests');
    report.figure('memory with all Secrets remembered', memoryMb(scaler.pid), 'MB');
  } finally {
    client.close();
    await scaler.close();
    await api.close();
  }
};

/** Resident memory of the process, in MB. */
function memoryMb(pid: number): number {
  const pages = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(pages) / 1024;
}

export default bench;
