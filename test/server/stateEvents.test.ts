import { afterEach, describe, expect, it } from 'vitest';
import type { EventSink, OwnerEvent } from '../../src/auth/eventSink.ts';
import { openKubernetes } from '../../src/auth/kubernetes/reader.ts';
import { createResolver } from '../../src/auth/resolver.ts';
import { createLogger } from '../../src/logger.ts';
import { endpointKeysOf, SCALERS } from '../../src/scalers/registry.ts';
import { createStateEvents } from '../../src/server/stateEvents.ts';
import { startApiServer, type ApiServer, type KubernetesObject, type Rule } from '../auth/apiServer.ts';
import { scaledObject } from '../auth/objects.ts';
import { BASE_RBAC, rulesIn } from '../auth/rbac.ts';
import { createMemoryBroker, UNREACHABLE, type MemoryBroker } from '../bed/memoryScaler.ts';
import { startScaler, type TestScaler } from '../bed/scaler.ts';
import { until } from '../bed/until.ts';
import type { KedaTrigger } from '../keda/client.ts';

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

const good = { scaler: 'memory', queueName: 'orders' };

interface World {
  readonly api: ApiServer;
  readonly broker: MemoryBroker;
  readonly scaler: TestScaler;
  readonly trigger: (metadata: Readonly<Record<string, string>>, name?: string) => KedaTrigger;
}

async function world(objects: readonly KubernetesObject[], without?: (rule: Rule) => boolean): Promise<World> {
  const rules = (await rulesIn(BASE_RBAC)).filter((rule) => without?.(rule) !== true);
  const api = await startApiServer(rules);
  closing.push(() => api.close());
  api.put({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } }, ...objects);
  const reader = await openKubernetes({ kubeconfig: api.kubeconfig });
  await reader.synced;
  const broker = createMemoryBroker();
  const scaler = await startScaler({
    credentials: createResolver({ reader, endpointKeysOf }),
    scalers: [broker.scaler, ...SCALERS],
  });
  closing.push(() => scaler.close());
  return {
    api,
    broker,
    scaler,
    trigger: (metadata, name = 'worker') => scaler.client.trigger({ namespace: 'shop', name, metadata }),
  };
}

interface Seen {
  readonly reason: string;
  readonly message: string;
  readonly count: number;
  readonly type: string;
  readonly involvedObject: object;
}

const seen = ({ store }: ApiServer): Seen[] => store.list('events', 'shop') as unknown as Seen[];
const withReason = (api: ApiServer, reason: string): Promise<Seen> =>
  until(`an event ${reason}`, () => seen(api).find((event) => event.reason === reason));
const attempts = ({ requests }: ApiServer): string[] =>
  requests.filter(({ resource }) => resource === 'events').map(({ verb, status }) => `${verb} ${status}`);

describe('events on the owner of a trigger', () => {
  it('give the reason why its metadata is refused, which KEDA drops', async () => {
    const misspelt = { scaler: 'memory', queuName: 'orders' };
    const { api, trigger } = await world([scaledObject('shop', 'worker', misspelt)]);
    await expect(trigger(misspelt).spec()).rejects.toThrow('queuName');
    const event = await withReason(api, 'TriggerRefused');
    expect(event).toMatchObject({ type: 'Warning', source: { component: 'keda-queue-scaler' } });
    expect(event.message).toContain('queuName');
    const owner = api.store.get('scaledobjects', 'shop', 'worker');
    expect(event.involvedObject).toEqual({
      apiVersion: 'keda.sh/v1alpha1',
      kind: 'ScaledObject',
      namespace: 'shop',
      name: 'worker',
      uid: owner?.metadata['uid'],
    });
  });

  it('tell once that a trigger is unknown, however often it is asked for, and once that it is known again', async () => {
    const { api, broker, trigger } = await world([scaledObject('shop', 'worker', good)]);
    const worker = trigger(good);
    broker.fail(UNREACHABLE);
    for (let poll = 0; poll < 5; poll++) await expect(worker.poll()).rejects.toThrow('takes no connection');
    const event = await withReason(api, 'TriggerUnknown');
    expect(event.message).toMatch(
      /^memory-orders is unknown since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ: BROKER_UNREACHABLE: memory:\/\/ takes no/,
    );
    broker.fail(undefined);
    await until('a good poll', () => worker.poll().then(() => true));
    const known = await withReason(api, 'TriggerKnown');
    expect(known).toMatchObject({ type: 'Normal', count: 1 });
    expect(known.message).toContain('memory-orders is known again');
    expect(attempts(api)).toEqual(['create 201', 'create 201']);

    // The next time is told by the same events, counted.
    broker.fail(UNREACHABLE);
    await until('a failing poll', () =>
      worker.poll().then(
        () => false,
        () => true,
      ),
    );
    await until('a patch', () => attempts(api).includes('patch 200'));
    expect(seen(api)).toHaveLength(2);
    expect((await withReason(api, 'TriggerUnknown')).count).toBeGreaterThan(1);
  });

  it('go to a ScaledJob as well', async () => {
    const misspelt = { scaler: 'memory', queuName: 'orders' };
    const job: KubernetesObject = {
      apiVersion: 'keda.sh/v1alpha1',
      kind: 'ScaledJob',
      metadata: { namespace: 'shop', name: 'worker' },
      spec: {
        jobTargetRef: { template: { spec: { containers: [{ name: 'main' }] } } },
        triggers: [{ type: 'external', metadata: misspelt }],
      },
    };
    const { api, trigger } = await world([job]);
    await expect(trigger(misspelt).spec()).rejects.toThrow();
    expect(await withReason(api, 'TriggerRefused')).toMatchObject({ involvedObject: { kind: 'ScaledJob', name: 'worker' } });
  });

  it('are not written for what is not there, and ask the API server nothing', async () => {
    const misspelt = { scaler: 'memory', queuName: 'orders' };
    const { api, trigger } = await world([scaledObject('shop', 'worker', misspelt)]);
    await expect(trigger(misspelt, 'nobody').spec()).rejects.toThrow();
    await expect(trigger(misspelt).spec()).rejects.toThrow();
    expect(await withReason(api, 'TriggerRefused')).toMatchObject({ involvedObject: { name: 'worker' } });
    expect(attempts(api)).toEqual(['create 201']);
    expect(api.requests.filter(({ verb }) => verb === 'get')).toEqual([]);
  });

  it('count the event of another replica, and are made anew when Kubernetes has forgotten them', async () => {
    const misspelt = { scaler: 'memory', queuName: 'orders' };
    const { api, broker, trigger } = await world([scaledObject('shop', 'worker', good)]);
    const reader = await openKubernetes({ kubeconfig: api.kubeconfig });
    await reader.synced;
    const second = await startScaler({ credentials: createResolver({ reader, endpointKeysOf }), scalers: [broker.scaler] });
    closing.push(() => second.close());
    await expect(trigger(misspelt).spec()).rejects.toThrow();
    await withReason(api, 'TriggerRefused');
    await expect(second.client.trigger({ namespace: 'shop', name: 'worker', metadata: misspelt }).spec()).rejects.toThrow();
    await until('a patch', () => attempts(api).at(-1) === 'patch 200');
    expect(seen(api)).toHaveLength(1);

    const worker = trigger(good);
    const unknownOnce = async (): Promise<void> => {
      broker.fail(UNREACHABLE);
      await until('a failing poll', () =>
        worker.poll().then(
          () => false,
          () => true,
        ),
      );
      await withReason(api, 'TriggerUnknown');
      broker.fail(undefined);
      await until('a good poll', () => worker.poll().then(() => true));
      await withReason(api, 'TriggerKnown');
    };
    await unknownOnce();
    for (const { metadata } of api.store.list('events', 'shop')) api.store.delete('events', 'shop', metadata.name);
    await unknownOnce();
    expect(attempts(api)).toContain('patch 404');
  });

  it('are done without where the right is missing, which is said once', async () => {
    const { api, scaler, trigger } = await world([scaledObject('shop', 'worker', good)], ({ resources }) =>
      resources.includes('events'),
    );
    for (const key of ['queuName', 'queuNam', 'queuNa']) {
      await expect(trigger({ scaler: 'memory', [key]: 'orders' }).spec()).rejects.toThrow();
      await until('the refusal is known', () => scaler.log.some((line) => line.includes('events are done without')));
    }
    await scaler.close();
    expect(attempts(api)).toEqual(['create 403']);
    expect(scaler.log.filter((line) => line.includes('events are done without'))).toHaveLength(1);
  });

  it('hold no secret', async () => {
    const host = 'amqp://user:correct-horse@127.0.0.1:1/';
    const unreachable = { scaler: 'rabbitmq', queueName: 'orders', host };
    const misspelt = { ...unreachable, queuName: 'x' };
    const { api, trigger } = await world([scaledObject('shop', 'worker', unreachable)]);
    await expect(trigger(misspelt).spec()).rejects.toThrow();
    await expect(trigger(unreachable).poll()).rejects.toThrow();
    await withReason(api, 'TriggerRefused');
    await withReason(api, 'TriggerUnknown');
    expect(JSON.stringify(seen(api))).not.toContain('horse');
  });
});

describe('many events at once', () => {
  const silent = createLogger('debug', { write: () => true });

  function countingSink(write: (event: OwnerEvent, signal: AbortSignal) => Promise<void>): EventSink {
    return {
      ownersOf: (namespace, name) => [{ kind: 'ScaledObject', namespace, name, uid: `uid-of-${name}` }],
      write: (event, signal) => write(event, signal).then(() => 'written'),
    };
  }

  it('are written one by one, five a second at most, and on shutdown for a second at most', async () => {
    const at: number[] = [];
    let open = 0;
    let mostOpen = 0;
    const sink = countingSink(async () => {
      at.push(performance.now());
      mostOpen = Math.max(mostOpen, ++open);
      await Promise.resolve();
      open--;
    });
    const events = createStateEvents(sink, silent);
    for (let n = 0; n < 10_000; n++)
      events.unknown({ namespace: 'shop', name: `worker-${n}` }, 'memory-orders', UNREACHABLE, performance.now(), true);
    await until('four writes', () => at.length >= 4);
    await events.close(AbortSignal.timeout(5_000));
    const written = at.length;
    const tookMs = (at.at(-1) ?? 0) - (at[0] ?? 0);
    // Timers may be early by a millisecond.
    expect(written).toBeLessThanOrEqual(1 + tookMs / 199);
    expect(written).toBeLessThan(20);
    expect(mostOpen).toBe(1);
  });

  it('end with the server though the API server hangs', async () => {
    let begun = 0;
    const hanging = countingSink((_, signal) => {
      begun++;
      return new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          reject(new Error('ended'));
        });
      });
    });
    const events = createStateEvents(hanging, silent);
    events.refused({ namespace: 'shop', name: 'worker' }, UNREACHABLE);
    await until('a write', () => begun === 1);
    await events.close(AbortSignal.timeout(50));
    events.refused({ namespace: 'shop', name: 'other' }, UNREACHABLE);
    expect(begun).toBe(1);
  });

  it('of one object are twenty at most', async () => {
    const names = new Set<string>();
    const sink = countingSink((event) => {
      names.add(event.message);
      return Promise.resolve();
    });
    const events = createStateEvents(sink, silent);
    for (let n = 0; n < 25; n++) events.unknown({ namespace: 'shop', name: 'worker' }, `metric-${n}`, UNREACHABLE, 0, true);
    // Twenty are written before this one, which is told last.
    events.unknown({ namespace: 'shop', name: 'last' }, 'last', UNREACHABLE, 0, true);
    await until('the last one', () => [...names].some((message) => message.startsWith('last ')), { deadlineMs: 20_000 });
    await events.close(AbortSignal.timeout(5_000));
    expect(names.size).toBe(21);
  });
});
