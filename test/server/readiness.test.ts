import { afterEach, describe, expect, it } from 'vitest';
import { openKubernetes } from '../../src/auth/kubernetes/reader.ts';
import { createResolver } from '../../src/auth/resolver.ts';
import { endpointKeysOf } from '../../src/scalers/registry.ts';
import { startApiServer, type ApiServer } from '../auth/apiServer.ts';
import { BASE_RBAC, rulesIn } from '../auth/rbac.ts';
import { createMemoryBroker, UNREACHABLE } from '../bed/memoryScaler.ts';
import { get, startScaler, type TestScaler } from '../bed/scaler.ts';
import { until } from '../bed/until.ts';
import { checkHealth, watchHealth } from '../keda/health.ts';

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function startWith(api: ApiServer): Promise<TestScaler> {
  const reader = await openKubernetes({ kubeconfig: api.kubeconfig, firstBackoffMs: 20 });
  const scaler = await startScaler({
    credentials: createResolver({ reader, endpointKeysOf }),
    scalers: [createMemoryBroker().scaler],
  });
  closing.push(() => scaler.close());
  return scaler;
}

async function apiServer(): Promise<ApiServer> {
  const api = await startApiServer(await rulesIn(BASE_RBAC));
  closing.push(() => api.close());
  return api;
}

describe('readiness', () => {
  it('waits for the first list of everything watched, and names what it waits for', async () => {
    const api = await apiServer();
    api.fail(503);
    const scaler = await startWith(api);
    const watch = watchHealth(scaler.grpc, 'readiness');
    closing.push(() => {
      watch.close();
      return Promise.resolve();
    });

    const waiting = await get(scaler.http, '/readyz');
    expect(waiting.code).toBe(503);
    expect(waiting.text).toContain('Kubernetes’ ScaledObjects');
    expect(await get(scaler.http, '/livez')).toMatchObject({ code: 200 });
    for (const service of ['readiness', '', 'externalscaler.ExternalScaler'])
      expect(await checkHealth(scaler.grpc, service)).toBe('NOT_SERVING');
    expect(await checkHealth(scaler.grpc, 'liveness')).toBe('SERVING');

    api.fail(undefined);
    await until('ready', async () => (await get(scaler.http, '/readyz')).code === 200);
    await until('the watch is told', () => watch.states.at(-1) === 'SERVING');
    expect(watch.states).toEqual(['NOT_SERVING', 'SERVING']);
    expect(await checkHealth(scaler.grpc, 'externalscaler.ExternalScaler')).toBe('SERVING');
  });

  it('stays when the API server goes away later', async () => {
    const api = await apiServer();
    const scaler = await startWith(api);
    await until('ready', async () => (await get(scaler.http, '/readyz')).code === 200);
    await api.stop();
    const asked = api.requests.length;
    api.fail(503);
    await api.start();
    await until('it has noticed', () => api.requests.slice(asked).some(({ status }) => status === 503));
    expect(await get(scaler.http, '/readyz')).toMatchObject({ code: 200 });
    expect(await checkHealth(scaler.grpc, 'readiness')).toBe('SERVING');
  });

  it('stays when every broker is dead', async () => {
    const broker = createMemoryBroker();
    const scaler = await startScaler({ scalers: [broker.scaler] });
    closing.push(() => scaler.close());
    broker.fail(UNREACHABLE);
    await expect(scaler.client.trigger({ metadata: { scaler: 'memory', queueName: 'q' } }).poll()).rejects.toThrow(
      /takes no connection/,
    );
    expect(await get(scaler.http, '/readyz')).toMatchObject({ code: 200 });
    expect(await checkHealth(scaler.grpc, 'readiness')).toBe('SERVING');
  });

  it('is told of an unknown service as the protocol wants it', async () => {
    const scaler = await startScaler();
    closing.push(() => scaler.close());
    await expect(checkHealth(scaler.grpc, 'nobody')).rejects.toThrow(/unknown service/);
  });
});
