import { afterEach, describe, expect, it } from 'vitest';
import type { CredentialSource } from '../../src/auth/credentials.ts';
import { openKubernetes, type KubernetesOptions, type KubernetesReader } from '../../src/auth/kubernetes/reader.ts';
import { createResolver } from '../../src/auth/resolver.ts';
import { endpointKeysOf } from '../../src/scalers/registry.ts';
import { startApiServer, type ApiServer, type KubernetesObject } from './apiServer.ts';
import { authentication, deployment, fromSecret, scaledObject, secret } from './objects.ts';
import { BASE_RBAC, rulesIn } from './rbac.ts';

const metadata = { scaler: 'rabbitmq', queueName: 'orders' };
const reference = { namespace: 'shop', name: 'orders', metadata };
const stops: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

interface World {
  readonly server: ApiServer;
  readonly reader: KubernetesReader;
  readonly resolver: CredentialSource;
  readonly troubles: string[];
  /** The password that the trigger shop/orders gets now. */
  readonly password: () => Promise<string | undefined>;
}

/** An API server with a ScaledObject, its authentication and its Secret, and a resolver that has seen them. */
async function world(options: Partial<KubernetesOptions> = {}, isUp = true): Promise<World> {
  const server = await startApiServer(await rulesIn(BASE_RBAC));
  stops.push(() => server.close());
  server.put(
    scaledObject('shop', 'orders', metadata, { name: 'rabbit' }),
    authentication('shop', 'rabbit', fromSecret('login', 'password')),
    secret('shop', 'login', { password: 'first' }),
  );
  if (!isUp) await server.stop();
  const troubles: string[] = [];
  const reader = await openKubernetes({
    kubeconfig: server.kubeconfig,
    firstBackoffMs: 20,
    events: { trouble: (kind, message) => troubles.push(`${kind}: ${message}`) },
    ...options,
  });
  const resolver = createResolver({ reader, endpointKeysOf });
  stops.push(() => resolver.close());
  if (isUp) await reader.synced;
  return {
    server,
    reader,
    resolver,
    troubles,
    password: async () => (await resolver.resolve(reference, AbortSignal.timeout(2_000))).parameters['password'],
  };
}

async function eventually(check: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!(await check())) {
    if (performance.now() > deadline) throw new Error(`not within 10 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const verbs = ({ requests }: ApiServer) => requests.map(({ verb, resource, status }) => `${verb} ${resource} ${status}`);

describe('the Kubernetes reader', () => {
  it('watches KEDA’s objects and gets the one Secret that is named, once, with the rights of the manifests', async () => {
    const { server, password, reader } = await world();
    expect(await password()).toBe('first');
    expect(await password()).toBe('first');
    await eventually(() => server.openWatches() === 4, 'four watches');
    const gets = verbs(server).filter((line) => line.startsWith('get'));
    expect(gets).toEqual(['get secrets 200']);
    expect(verbs(server).filter((line) => !/^(?:list|watch) (?:\w+) 200$/.test(line))).toEqual(gets);
    expect(reader.watches().map(({ kind, objects, synced }) => [kind, objects, synced])).toEqual([
      ['ScaledObject', 1, true],
      ['ScaledJob', 0, true],
      ['TriggerAuthentication', 1, true],
      ['ClusterTriggerAuthentication', 0, true],
    ]);
    expect(Math.max(...reader.watches().map(({ ageMs }) => ageMs))).toBeLessThan(10_000);
  });

  it('is refused everything that the manifests do not ask for', async () => {
    const { server } = await world();
    const ask = async (path: string) =>
      (await fetch(`${server.url}${path}`, { headers: { authorization: 'Bearer token-of-the-scaler' } })).status;
    expect(await ask('/api/v1/secrets')).toBe(403);
    expect(await ask('/api/v1/namespaces/shop/secrets')).toBe(403);
    expect(await ask('/api/v1/secrets?watch=true')).toBe(403);
    expect(await ask('/api/v1/namespaces/shop/pods/x')).toBe(403);
    expect(await ask('/apis/apps/v1/deployments')).toBe(403);
    expect(await ask('/api/v1/namespaces/shop/secrets/login')).toBe(200);
  });

  it('sees new, changed and deleted objects by its watches', async () => {
    const { server, resolver, password } = await world();
    server.put(
      secret('shop', 'second', { password: 'other' }),
      authentication('shop', 'rabbit', fromSecret('second', 'password')),
    );
    await eventually(async () => (await password()) === 'other', 'the changed authentication');
    server.delete('ScaledObject', 'shop', 'orders');
    await eventually(
      () =>
        password().then(
          () => false,
          (error: unknown) => (error as { code: string }).code === 'OBJECT_NOT_FOUND',
        ),
      'the deletion',
    );
    server.put(scaledObject('shop', 'late', metadata));
    const late = { ...reference, name: 'late' };
    expect((await resolver.resolve(late, AbortSignal.timeout(2_000))).parameters).toEqual({});
  });

  it('asks the server itself for an object that its watch has not told of yet', async () => {
    const { server, resolver, reader } = await world();
    await eventually(() => server.openWatches() === 4, 'four watches');
    server.deafenWatches();
    server.put(
      scaledObject('shop', 'late', metadata, { name: 'new' }),
      authentication('shop', 'new', fromSecret('login', 'password')),
    );
    const late = { ...reference, name: 'late' };
    expect((await resolver.resolve(late, AbortSignal.timeout(2_000))).parameters).toEqual({ password: 'first' });
    expect(reader.watches()[0]?.objects).toBe(1);
  });

  it('watches on from a bookmark after a watch has ended', async () => {
    const { server, password } = await world();
    await eventually(() => server.openWatches() === 4, 'four watches');
    server.bookmark();
    server.endWatches();
    await eventually(() => verbs(server).filter((line) => line === 'watch scaledobjects 200').length >= 2, 'another watch');
    expect(verbs(server).filter((line) => line.startsWith('list scaledobjects'))).toHaveLength(1);
    expect(await password()).toBe('first');
  });

  it('lists anew when its version is too old, and sees what it missed', async () => {
    const { server, reader } = await world();
    await eventually(() => server.openWatches() === 4, 'four watches');
    server.deafenWatches();
    server.put(scaledObject('shop', 'missed', metadata));
    server.compact();
    await eventually(() => reader.watches()[0]?.objects === 2, 'the missed object');
  });

  it('gives up a watch that has fallen silent, and sees what it missed', async () => {
    const { server, reader, troubles } = await world({ watchSilenceMs: 300 });
    await eventually(() => server.openWatches() === 4, 'four watches');
    server.deafenWatches();
    server.put(scaledObject('shop', 'missed', metadata));
    await eventually(() => reader.watches()[0]?.objects === 2, 'the missed object');
    expect(troubles).toContain('ScaledObject: the watch fell silent');
    expect(verbs(server).filter((line) => line.startsWith('list scaledobjects'))).toHaveLength(1);
  });

  it('lists everything again from time to time', async () => {
    const { server, reader } = await world({ relistMs: 200 });
    await eventually(() => server.openWatches() === 4, 'four watches');
    server.deafenWatches();
    server.delete('ScaledObject', 'shop', 'orders');
    await eventually(() => reader.watches()[0]?.objects === 0, 'the deletion that no watch told of');
  });

  it('outlives a restart of the API server, answering from memory meanwhile', async () => {
    const { server, reader, password, troubles } = await world();
    expect(await password()).toBe('first');
    await eventually(() => server.openWatches() === 4, 'four watches');
    await server.stop();
    await eventually(() => reader.watches().every(({ trouble }) => trouble !== undefined), 'the trouble');
    expect(troubles.join()).toMatch(/the watch broke|the API server cannot be reached/);
    expect(await password()).toBe('first');
    server.put(scaledObject('shop', 'meanwhile', metadata));
    await server.start();
    await eventually(() => reader.watches()[0]?.objects === 2, 'the new object');
    await eventually(() => reader.watches().every(({ trouble }) => trouble === undefined), 'the end of all troubles');
  });

  it('starts while the API server is away, says so, and finds it later', async () => {
    const { server, reader, password } = await world({}, false);
    await expect(password()).rejects.toMatchObject({
      code: 'AUTHENTICATION_UNRESOLVED',
      message: /API server cannot be reached/,
    });
    expect(reader.watches()[0]).toMatchObject({ synced: false, ageMs: Infinity });
    await server.start();
    await eventually(() => reader.watches().every(({ synced }) => synced), 'all lists');
    expect(await password()).toBe('first');
  });

  it('answers by single requests before its lists are complete', async () => {
    const { server, reader, resolver } = await world({}, false);
    await server.start();
    const { parameters } = await resolver.resolve(reference, AbortSignal.timeout(2_000));
    expect(parameters).toEqual({ password: 'first' });
    await reader.synced;
  });

  it('backs off from a server that refuses everything, and honours Retry-After', async () => {
    const { server, reader } = await world();
    server.fail(429, 1);
    server.endWatches();
    const before = server.requests.length;
    await new Promise((resolve) => setTimeout(resolve, 900));
    expect(server.requests.length - before).toBeLessThan(12);
    server.fail(undefined);
    server.put(scaledObject('shop', 'after', metadata));
    await eventually(() => reader.watches()[0]?.objects === 2, 'the new object');
  });

  it('begins its list again where the server says that it has become too old', async () => {
    const { server, reader, troubles } = await world({}, false);
    server.fail(410);
    await server.start();
    await eventually(() => server.requests.filter(({ status }) => status === 410).length > 4, 'refusals');
    server.fail(undefined);
    await reader.synced;
    expect(reader.watches()[0]).toMatchObject({ objects: 1, trouble: undefined });
    expect(troubles.length).toBeGreaterThan(0);
  });

  it('lets one kind that it may not list hold up no other', async () => {
    const rules = (await rulesIn(BASE_RBAC)).map((rule) => ({
      ...rule,
      resources: rule.resources.filter((resource) => resource !== 'clustertriggerauthentications'),
    }));
    const server = await startApiServer(rules);
    stops.push(() => server.close());
    server.put(
      scaledObject('shop', 'orders', metadata, { name: 'rabbit' }),
      authentication('shop', 'rabbit', fromSecret('login', 'password')),
      secret('shop', 'login', { password: 'first' }),
    );
    const reader = await openKubernetes({ kubeconfig: server.kubeconfig, firstBackoffMs: 20 });
    const resolver = createResolver({ reader, endpointKeysOf });
    stops.push(() => resolver.close());
    await eventually(() => reader.watches().filter(({ synced }) => synced).length === 3, 'three lists');
    const { parameters } = await resolver.resolve(reference, AbortSignal.timeout(2_000));
    expect(parameters).toEqual({ password: 'first' });
    await eventually(() => reader.watches()[3]?.trouble?.status === 403, 'the refusal');
  });

  it('says who may not do what, where a right is missing', async () => {
    const rules = (await rulesIn(BASE_RBAC)).filter(({ resources }) => !resources.includes('secrets'));
    const server = await startApiServer(rules);
    stops.push(() => server.close());
    server.put(
      scaledObject('shop', 'orders', metadata, { name: 'rabbit' }),
      authentication('shop', 'rabbit', fromSecret('login', 'password')),
    );
    const reader = await openKubernetes({ kubeconfig: server.kubeconfig });
    const resolver = createResolver({ reader, endpointKeysOf });
    stops.push(() => resolver.close());
    await expect(resolver.resolve(reference, AbortSignal.timeout(2_000))).rejects.toThrow(
      'Secret shop/login could not be read: the API server answered 403 (User "system:serviceaccount:keda:keda-queue-scaler" cannot get resource "secrets")',
    );
  });

  it('waits no longer for a slow server than its caller does', async () => {
    const { server, password, resolver } = await world();
    server.delay(5_000);
    const startedAt = performance.now();
    await expect(resolver.resolve(reference, AbortSignal.timeout(200))).rejects.toThrow('the API server did not answer in time');
    expect(performance.now() - startedAt).toBeLessThan(1_000);
    server.delay(0);
    await eventually(
      () =>
        password().then(
          (value) => value === 'first',
          () => false,
        ),
      'the password',
    );
  });
});

describe('a Secret that is rotated', () => {
  it('is read again at once when a broker refuses the password, and else stays remembered', async () => {
    const { server, resolver, password } = await world();
    const first = await resolver.resolve(reference, AbortSignal.timeout(2_000));
    server.put(secret('shop', 'login', { password: 'rotated' }));
    expect(await password()).toBe('first');
    // An answer younger than a second is not asked for again.
    await eventually(async () => {
      resolver.refused(reference);
      return (await password()) === 'rotated';
    }, 'the rotated password');
    const second = await resolver.resolve(reference, AbortSignal.timeout(2_000));
    expect(second.version).not.toBe(first.version);
  });

  it('costs a bounded number of requests however often it is refused', async () => {
    const { server, resolver, password } = await world();
    for (let round = 0; round < 200; round++) {
      resolver.refused(reference);
      await password();
    }
    expect(verbs(server).filter((line) => line.startsWith('get secrets')).length).toBeLessThan(5);
  });

  it('stays in use while the API server is away, but not once it is gone', async () => {
    const { server, resolver, password } = await world();
    expect(await password()).toBe('first');
    server.fail(503);
    await new Promise((resolve) => setTimeout(resolve, 1_050));
    resolver.refused(reference);
    expect(await password()).toBe('first');
    server.fail(undefined);
    server.delete('Secret', 'shop', 'login');
    await eventually(() => {
      resolver.refused(reference);
      return password().then(
        () => false,
        (error: unknown) => (error as Error).message.includes('Secret shop/login does not exist'),
      );
    }, 'the error');
  });
});

describe('a trigger’s environment in the cluster', () => {
  it('is read again where the caller knows it otherwise', async () => {
    const { server, resolver } = await world();
    const given = { ...metadata, hostFromEnv: 'URL' };
    server.put(
      scaledObject('shop', 'orders', given, { name: 'rabbit' }),
      deployment('shop', 'worker', [{ name: 'URL', value: 'amqp://one' }]),
    );
    const ask = (hostFromEnv: string) =>
      resolver.resolve({ ...reference, metadata: { ...metadata, hostFromEnv } }, AbortSignal.timeout(2_000)).then(
        ({ parameters }) => parameters['password'],
        (error: unknown) => (error as { code: string }).code,
      );
    await eventually(async () => (await ask('amqp://one')) === 'first', 'the first environment');
    server.put(deployment('shop', 'worker', [{ name: 'URL', value: 'amqp://two' }]));
    await eventually(async () => (await ask('amqp://two')) === 'first', 'the second environment');
    expect(await ask('amqp://one')).toBe('TRIGGER_UNMATCHED');
  });
});

describe('a scale target of another kind in the cluster', () => {
  const ref = { apiVersion: 'argoproj.io/v1alpha1', kind: 'Rollout', name: 'worker' };
  const host = { ...reference, metadata: { ...metadata, hostFromEnv: 'amqp://a' } };
  const rolloutOf = (spec: object) => ({
    apiVersion: ref.apiVersion,
    kind: ref.kind,
    metadata: { name: 'worker', namespace: 'shop' },
    spec,
  });

  async function asking(target: object, ...objects: readonly KubernetesObject[]): Promise<World> {
    const built = await world();
    const object = scaledObject('shop', 'orders', { ...metadata, hostFromEnv: 'URL' }, { name: 'rabbit' });
    built.server.put({ ...object, spec: { ...(object['spec'] as object), scaleTargetRef: target } }, ...objects);
    return built;
  }

  it('gives its variables as a Deployment does, and its kind is looked up once', async () => {
    const template = { spec: { containers: [{ name: 'worker', env: [{ name: 'URL', value: 'amqp://a' }] }] } };
    const { server, resolver } = await asking(ref, rolloutOf({ replicas: 1, template }));
    for (let times = 0; times < 2; times++)
      expect((await resolver.resolve(host, AbortSignal.timeout(2_000))).parameters).toEqual({ password: 'first' });
    expect(server.requests.filter(({ path }) => path === '/apis/argoproj.io/v1alpha1')).toHaveLength(1);
  });

  it.each([
    [{ ...ref, apiVersion: 'example.com/v1', kind: 'Fleet' }, 'the API server knows no kind Fleet of example.com/v1'],
    [ref, 'Rollout shop/worker does not exist'],
  ])('says what is missing of %j', async (target, what) => {
    const { resolver } = await asking(target);
    const refusal = () =>
      resolver.resolve(host, AbortSignal.timeout(2_000)).then(String, (error: unknown) => (error as Error).message);
    await eventually(async () => (await refusal()).includes(what), what);
  });
});

describe('a service account’s token', () => {
  const bound = { boundServiceAccountToken: [{ parameter: 'password', serviceAccountName: 'reader' }] };

  it('is created for the trigger’s namespace and remembered, where a role allows it', async () => {
    const rule = {
      apiGroups: [''],
      resources: ['serviceaccounts/token'],
      verbs: ['create'],
      resourceNames: ['reader'],
      namespace: 'shop',
    };
    const server = await startApiServer([...(await rulesIn(BASE_RBAC)), rule]);
    stops.push(() => server.close());
    server.put(scaledObject('shop', 'orders', metadata, { name: 'rabbit' }), authentication('shop', 'rabbit', bound));
    const resolver = createResolver({ reader: await openKubernetes({ kubeconfig: server.kubeconfig }), endpointKeysOf });
    stops.push(() => resolver.close());
    for (let round = 0; round < 3; round++) {
      expect((await resolver.resolve(reference, AbortSignal.timeout(2_000))).parameters).toEqual({
        password: 'token-of-shop-reader',
      });
    }
    expect(verbs(server).filter((line) => line.startsWith('create'))).toEqual(['create serviceaccounts/token 201']);
  });

  it('is refused by the rights of the base manifests alone', async () => {
    const { server, password } = await world();
    server.put(authentication('shop', 'rabbit', bound));
    await eventually(
      () =>
        password().then(
          () => false,
          (error: unknown) => (error as Error).message.includes('cannot create resource "serviceaccounts/token"'),
        ),
      'the refusal',
    );
  });
});
