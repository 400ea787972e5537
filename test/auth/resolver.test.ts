import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { z } from 'zod';
import type { TriggerReference } from '../../src/auth/credentials.ts';
import { manifestsIn } from '../../src/auth/files.ts';
import { createResolver, type ResolverOptions } from '../../src/auth/resolver.ts';
import { defineScaler } from '../../src/scalers/contract.ts';
import { endpoint, key } from '../../src/scalers/metadata.ts';
import { endpointKeysOf, SCALERS } from '../../src/scalers/registry.ts';
import { text } from '../../src/scalers/values.ts';
import { parseObjects } from '../../src/yaml/objects.ts';

const manifestsOf = (file: string, text: string) => manifestsIn([parseObjects(file, text)]);

const base = `
apiVersion: apps/v1
kind: Deployment
metadata: { name: worker, namespace: shop }
spec:
  template:
    spec:
      containers:
        - name: worker
          env:
            - { name: RABBITMQ_URL, value: "amqp://rabbit.shop:5672" }
            - { name: EMPTY, value: "" }
            - { name: PASSWORD, valueFrom: { secretKeyRef: { name: login, key: password } } }
        - name: sidecar
          env: [{ name: TOKEN, value: side }]
---
apiVersion: v1
kind: Secret
metadata: { name: login, namespace: shop }
stringData: { connection_string: "amqp://user:hunter2@rabbit.shop:5672/", username: user, password: hunter2 }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: settings, namespace: shop }
data: { host: "amqp://rabbit.shop:5672", password: from-config }
---
apiVersion: v1
kind: Secret
metadata: { name: shared, namespace: keda }
stringData: { host: "amqp://shared.keda:5672", password: cluster-secret }
---
apiVersion: v1
kind: Secret
metadata: { name: login, namespace: keda }
stringData: { password: restricted }
`;

const metadata = { scaler: 'rabbitmq', queueName: 'orders', scalerAddress: 'scaler:6000' };

function scaledObject(triggers: readonly object[], kind = 'ScaledObject') {
  const spec =
    kind === 'ScaledObject'
      ? { scaleTargetRef: { name: 'worker' } }
      : { jobTargetRef: { template: { spec: { containers: [{ name: 'job', env: [{ name: 'URL', value: 'job-url' }] }] } } } };
  return { apiVersion: 'keda.sh/v1alpha1', kind, metadata: { name: 'orders', namespace: 'shop' }, spec: { ...spec, triggers } };
}

function authentication(spec: object, kind = 'TriggerAuthentication', annotations: Record<string, string> = {}) {
  return {
    apiVersion: 'keda.sh/v1alpha1',
    kind,
    metadata: { name: 'auth', annotations, ...(kind === 'TriggerAuthentication' ? { namespace: 'shop' } : {}) },
    spec,
  };
}

/** Asks for shop/orders with the metadata, in a world of the base objects and the given ones. */
function resolve(
  objects: readonly object[],
  reference: Partial<TriggerReference> = {},
  options: Partial<ResolverOptions> = {},
): Promise<Readonly<Record<string, string>>> {
  const { reader, faults } = manifestsOf('test', [base, ...objects.map((object) => JSON.stringify(object))].join('\n---\n'));
  expect(faults).toEqual([]);
  const resolver = createResolver({ reader, endpointKeysOf, ...options });
  return resolver
    .resolve({ namespace: 'shop', name: 'orders', metadata, ...reference }, AbortSignal.timeout(1000))
    .then(({ parameters }) => parameters);
}

const trigger = (more: Record<string, string> = {}, kind?: string) => ({
  type: 'external',
  metadata: { ...metadata, ...more },
  authenticationRef: { name: 'auth', ...(kind === undefined ? {} : { kind }) },
});
const secretRef = (...keys: string[]) => ({ secretTargetRef: keys.map((key) => ({ parameter: key, name: 'login', key })) });

describe('a trigger’s authentication', () => {
  it('is read from the RabbitMQ operator’s secret with parameter host from key connection_string and nothing else', async () => {
    const auth = authentication({ secretTargetRef: [{ parameter: 'host', name: 'login', key: 'connection_string' }] });
    expect(await resolve([scaledObject([trigger()]), auth])).toEqual({ host: 'amqp://user:hunter2@rabbit.shop:5672/' });
  });

  it('takes all sources in KEDA’s order, the later over the earlier', async () => {
    const auth = authentication({
      env: [
        { parameter: 'host', name: 'RABBITMQ_URL' },
        { parameter: 'password', name: 'RABBITMQ_URL' },
        { parameter: 'token', name: 'TOKEN', containerName: 'sidecar' },
      ],
      configMapTargetRef: [
        { parameter: 'password', name: 'settings', key: 'password' },
        { parameter: 'username', name: 'settings', key: 'password' },
      ],
      ...secretRef('username'),
    });
    expect(await resolve([scaledObject([trigger()]), auth])).toEqual({
      host: 'amqp://rabbit.shop:5672',
      password: 'from-config',
      token: 'side',
      username: 'user',
    });
  });

  it('is nothing where the trigger names none, whatever its environment says', async () => {
    const without = { type: 'external-push', metadata: { ...metadata, hostFromEnv: 'ABSENT' } };
    expect(await resolve([scaledObject([without])], { metadata: { ...metadata, hostFromEnv: 'amqp://given' } })).toEqual({});
  });

  it('is found for a ScaledJob, whose own template gives the environment', async () => {
    const auth = authentication({ env: [{ parameter: 'host', name: 'URL' }] });
    expect(await resolve([scaledObject([trigger()], 'ScaledJob'), auth])).toEqual({ host: 'job-url' });
  });

  it('sets KEDA’s OAuth parameters', async () => {
    const clientSecret = { valueFrom: { secretKeyRef: { name: 'login', key: 'password' } } };
    const oauth2 = { type: 'clientCredentials', clientId: 'id', clientSecret, tokenUrl: 'https://login', scopes: ['a', 'b'] };
    const auth = authentication({ oauth2: { ...oauth2, tokenUrlParams: { audience: 'x y' } } });
    expect(await resolve([scaledObject([trigger()]), auth])).toEqual({
      oauthTokenURI: 'https://login',
      clientID: 'id',
      clientSecret: 'hunter2',
      scopes: 'a,b',
      endpointParams: 'audience=x+y',
    });
  });

  it.each([
    ['a TriggerAuthentication that is not there', [], 'TriggerAuthentication shop/auth, which ScaledObject shop/orders names'],
    [
      'a Secret that is not there',
      [authentication({ secretTargetRef: [{ parameter: 'a', name: 'gone', key: 'k' }] })],
      'Secret shop/gone',
    ],
    [
      'a key that is not there',
      [authentication(secretRef('gone'))],
      'Secret shop/login has no key gone; it has connection_string, password, username',
    ],
    [
      'a ConfigMap that is not there',
      [authentication({ configMapTargetRef: [{ parameter: 'a', name: 'gone', key: 'k' }] })],
      'ConfigMap shop/gone',
    ],
    ['a variable that is not set', [authentication({ env: [{ parameter: 'a', name: 'GONE' }] })], 'no variable GONE'],
    [
      'a container that is not there',
      [authentication({ env: [{ parameter: 'a', name: 'A', containerName: 'gone' }] })],
      'no container gone',
    ],
    ['a cloud’s secret manager', [authentication({ awsSecretManager: {} })], 'External Secrets operator'],
    [
      'Azure’s',
      [authentication({ azureKeyVault: {} })],
      'azureKeyVault is not read by this scaler; let the External Secrets operator',
    ],
    ['Google’s', [authentication({ gcpSecretManager: {} })], 'gcpSecretManager is not read by this scaler'],
    ['a cloud’s pod identity', [authentication({ podIdentity: { provider: 'aws' } })], 'podIdentity aws is not supported'],
    [
      'a file of a TriggerAuthentication',
      [authentication({ filePath: 'x.json' })],
      'filePath is for a ClusterTriggerAuthentication',
    ],
    [
      'a token where no API server is',
      [authentication({ boundServiceAccountToken: [{ parameter: 'a', serviceAccountName: 'b' }] })],
      'a token of service account b needs a Kubernetes API server',
    ],
  ])('is refused with the name of %s', async (_, objects, message) => {
    const refusal = resolve([scaledObject([trigger()]), ...objects]);
    await expect(refusal).rejects.toMatchObject({
      code: 'AUTHENTICATION_UNRESOLVED',
      message: expect.stringContaining(message) as string,
    });
    await expect(refusal).rejects.not.toThrow(/hunter2|from-config/);
  });

  it('reads filePath of a ClusterTriggerAuthentication below the configured folder and nowhere else', async () => {
    const root = await mkdtemp(join(tmpdir(), 'auth-'));
    const ask = (filePath: string) =>
      resolve(
        [
          scaledObject([trigger({}, 'ClusterTriggerAuthentication')]),
          authentication({ filePath }, 'ClusterTriggerAuthentication'),
        ],
        {},
        { filePathRoot: join(root, 'in') },
      );
    try {
      await expect(ask('login.json')).rejects.toThrow('cannot be read as a JSON object of strings');
      await rm(root, { recursive: true });
      await mkdir(join(root, 'in'), { recursive: true });
      await writeFile(join(root, 'in', 'login.json'), '{"host":"amqp://h","password":"p"}');
      await writeFile(join(root, 'out.json'), '{"password":"outside"}');
      expect(await ask('login.json')).toEqual({ host: 'amqp://h', password: 'p' });
      for (const path of ['../out.json', join(root, 'in', 'login.json'), 'x/../../out.json']) {
        await expect(ask(path)).rejects.toThrow('must lie inside the configured folder');
      }
    } finally {
      await rm(root, { recursive: true, force: true });
    }
  });

  it('reads Secrets from the cluster object namespace alone where access is restricted', async () => {
    const auth = authentication(secretRef('password'));
    const objects = [scaledObject([trigger()]), auth];
    expect(await resolve(objects, {}, { restrictSecretAccess: true })).toEqual({ password: 'restricted' });
    const env = authentication({ env: [{ parameter: 'password', name: 'PASSWORD' }] });
    await expect(resolve([scaledObject([trigger()]), env], {}, { restrictSecretAccess: true })).rejects.toThrow(
      'no variable PASSWORD',
    );
  });

  it('has another version when a value changes, and the same one otherwise', async () => {
    const version = async (password: string) => {
      const text = [
        base.replaceAll('hunter2', password),
        JSON.stringify(scaledObject([trigger()])),
        JSON.stringify(authentication(secretRef('password'))),
      ];
      const { reader } = manifestsOf('test', text.join('\n---\n'));
      return (
        await createResolver({ reader, endpointKeysOf }).resolve(
          { namespace: 'shop', name: 'orders', metadata },
          AbortSignal.timeout(1000),
        )
      ).version;
    };
    expect(await version('a')).toBe(await version('a'));
    expect(await version('a')).not.toBe(await version('b'));
  });
});

describe('the trigger meant', () => {
  const auth = authentication(secretRef('password'));

  it('is found among several by its metadata', async () => {
    const other = { type: 'external', metadata: { ...metadata, queueName: 'other' }, authenticationRef: { name: 'none' } };
    expect(await resolve([scaledObject([other, trigger()]), auth])).toEqual({ password: 'hunter2' });
  });

  it('is found where KEDA has put a variable’s value for its name, or dropped an empty one', async () => {
    const objects = [scaledObject([trigger({ hostFromEnv: 'RABBITMQ_URL', usernameFromEnv: 'EMPTY' })]), auth];
    const forwarded = { ...metadata, hostFromEnv: 'amqp://rabbit.shop:5672' };
    expect(await resolve(objects, { metadata: forwarded })).toEqual({ password: 'hunter2' });
  });

  it('may stand twice with the same authentication, but not with different ones', async () => {
    expect(await resolve([scaledObject([trigger(), trigger()]), auth])).toEqual({ password: 'hunter2' });
    const second = { ...trigger(), authenticationRef: { name: 'second' } };
    await expect(resolve([scaledObject([trigger(), second]), auth])).rejects.toMatchObject({
      code: 'TRIGGER_UNMATCHED',
      message: expect.stringContaining('triggers 0 and 1 of ScaledObject shop/orders have the same metadata') as string,
    });
  });

  it('is told apart by the environment where only variables differ', async () => {
    const first = { ...trigger({ hostFromEnv: 'EMPTY' }), authenticationRef: { name: 'none' } };
    const objects = [scaledObject([first, trigger({ hostFromEnv: 'RABBITMQ_URL' })]), auth];
    expect(await resolve(objects, { metadata: { ...metadata, hostFromEnv: 'amqp://rabbit.shop:5672' } })).toEqual({
      password: 'hunter2',
    });
  });

  it.each<[string, Partial<TriggerReference>, string]>([
    ['another namespace’s object', { namespace: 'other' }, 'OBJECT_NOT_FOUND'],
    ['an object that does not exist', { name: 'absent' }, 'OBJECT_NOT_FOUND'],
    ['metadata that no trigger has', { metadata: { ...metadata, queueName: 'theirs' } }, 'TRIGGER_UNMATCHED'],
    ['its own host beside the metadata', { metadata: { ...metadata, host: 'amqp://evil' } }, 'TRIGGER_UNMATCHED'],
    ['metadata that lacks a key', { metadata: { scaler: 'rabbitmq', queueName: 'orders' } }, 'TRIGGER_UNMATCHED'],
    ['a key that only looks like one', { metadata: { ...metadata, ['__proto__x']: 'y' } }, 'TRIGGER_UNMATCHED'],
  ])('is not found for %s', async (_, reference, code) => {
    await expect(resolve([scaledObject([trigger()]), auth], reference)).rejects.toMatchObject({ code });
  });

  it.each([
    [{ hostFromEnv: 'amqp://evil' }],
    // Two keys of one variable: each claim counts.
    [{ hostFromEnv: 'amqp://evil', otherFromEnv: 'amqp://rabbit.shop:5672' }],
    [{ hostFromEnv: 'RABBITMQ_URL' }],
  ])('is not found for variables that the scale target does not have: %o', async (claims: Record<string, string>) => {
    const objects = [scaledObject([trigger({ hostFromEnv: 'RABBITMQ_URL', otherFromEnv: 'RABBITMQ_URL' })]), auth];
    await expect(resolve(objects, { metadata: { ...metadata, ...claims } })).rejects.toMatchObject({
      code: 'TRIGGER_UNMATCHED',
      message: expect.stringContaining('hostFromEnv of ScaledObject shop/orders is not what variable RABBITMQ_URL') as string,
    });
  });

  describe('with a scale target of another kind', () => {
    const rollout = { apiVersion: 'argoproj.io/v1alpha1', kind: 'Rollout', name: 'worker' };
    const object = scaledObject([trigger({ hostFromEnv: 'RABBITMQ_URL' })]);
    const scaled = { ...object, spec: { ...object.spec, scaleTargetRef: rollout } };
    const env = [{ name: 'RABBITMQ_URL', value: 'amqp://rollout' }];
    const target = (spec: object) => ({
      apiVersion: rollout.apiVersion,
      kind: rollout.kind,
      metadata: { name: 'worker', namespace: 'shop' },
      spec,
    });
    const host = { metadata: { ...metadata, hostFromEnv: 'amqp://rollout' } };

    it('is read from its pod template', async () => {
      const template = { spec: { containers: [{ name: 'worker', env }] } };
      expect(await resolve([scaled, auth, target({ replicas: 2, template })], host)).toEqual({ password: 'hunter2' });
    });

    it.each([
      [[], 'its scale target Rollout shop/worker does not exist'],
      [
        [target({ workloadRef: {} })],
        'variables are read from spec.template, and its scale target Rollout shop/worker has no such field',
      ],
      [[target({ template: { spec: {} } })], 'Rollout shop/worker cannot be used: spec.template.spec.containers'],
    ])('says what is missing of %j', async (objects, what) => {
      await expect(resolve([scaled, auth, ...objects], host)).rejects.toThrow(what);
    });
  });
});

describe('credentials of another namespace', () => {
  const CLUSTER = 'ClusterTriggerAuthentication';
  const password = { secretTargetRef: [{ parameter: 'password', name: 'shared', key: 'password' }] };
  const whole = { secretTargetRef: [...password.secretTargetRef, { parameter: 'host', name: 'shared', key: 'host' }] };
  const ask = (spec: object, more: Record<string, string>, annotations: Record<string, string> = {}, forwarded = more) =>
    resolve([scaledObject([trigger(more, CLUSTER)]), authentication(spec, CLUSTER, annotations)], {
      metadata: { ...metadata, ...forwarded },
    });
  const notAllowed = { code: 'NOT_ALLOWED', message: expect.not.stringContaining('cluster-secret') as string };

  it('go to the host that stands beside them', async () => {
    expect(await ask(whole, {})).toEqual({ host: 'amqp://shared.keda:5672', password: 'cluster-secret' });
  });

  it('do not go to a host that the trigger names, in its metadata or its environment', async () => {
    await expect(ask(whole, { host: 'amqp://evil' })).rejects.toMatchObject(notAllowed);
    await expect(ask(password, { scaler: 'redis', address: 'evil:6379' })).rejects.toMatchObject(notAllowed);
    const claim = { hostFromEnv: 'amqp://rabbit.shop:5672' };
    await expect(ask(password, { hostFromEnv: 'RABBITMQ_URL' }, {}, claim)).rejects.toMatchObject(notAllowed);
    const env = { env: [{ parameter: 'host', name: 'RABBITMQ_URL' }], ...password };
    await expect(ask(env, {})).rejects.toMatchObject(notAllowed);
  });

  it('go to a host that the administrator allows, and to no other in the same list', async () => {
    const annotations = { 'keda-queue-scaler/allowed-hosts': 'rabbit.shop, *.redis.svc' };
    expect(await ask(password, { host: 'amqp://Rabbit.shop:5672/v%2F' }, annotations)).toEqual({ password: 'cluster-secret' });
    expect(await ask(password, { scaler: 'redis', addresses: 'a.redis.svc:6379,b.redis.svc:6379' }, annotations)).toEqual({
      password: 'cluster-secret',
    });
    for (const host of [
      'amqp://u@rabbit.shop',
      'amqp://u:x@rabbit.shop/y@evil',
      'amqp://rabbit.shop@evil',
      'amqp://rabbit.shop:5672@evil:5672/',
      'rabbit.shop:5672,evil:5672',
      'amqp://rabbit.shop/?x=evil',
      'evil/.redis.svc',
      'redis.svc',
      'amqp://',
      'rabbit.shop.evil',
    ]) {
      await expect(ask(password, { host }, annotations), host).rejects.toMatchObject(notAllowed);
    }
  });

  it('do not go to a place that another key of a scaler names', async () => {
    for (const key of ['management', 'prometheus', 'natMap', 'hosts']) {
      await expect(
        ask(whole, key === 'natMap' ? { scaler: 'redis-cluster', natMap: 'a:1=evil:1' } : { [key]: 'http://evil' }),
        key,
      ).rejects.toMatchObject(notAllowed);
    }
    expect(await ask(whole, { management: 'off', prometheus: 'auto' })).toMatchObject({ password: 'cluster-secret' });
  });

  it('are guarded by every key of every scaler that names a place', () => {
    // These choose no host: a port of one that is named elsewhere, and parameters of a token request.
    const harmless = ['port', 'ports', 'endpointParams', 'tls', 'vhostName'];
    for (const { type, keys } of SCALERS) {
      const places = Object.entries(keys).flatMap(([name, { aliases, doc }]) =>
        /host|address|ur[il]|endpoint|port|nat|management|prometheus/i.test(`${name} ${aliases.join(' ')}`) || doc.includes('URL')
          ? [name, ...aliases]
          : [],
      );
      const endpoints = endpointKeysOf({ scaler: type }) ?? new Map<string, readonly string[]>();
      expect(places).toContain('host');
      expect(places.filter((name) => !endpoints.has(name) && !harmless.includes(name))).toEqual([]);
    }
  });

  it.each(SCALERS.map((scaler) => [scaler.type, scaler] as const))(
    '%s speaks to no host that an unmarked key names',
    (_, scaler) => {
      const places = {
        host: 'safe',
        address: 'safe:1',
        port: '1',
        queueName: 'q',
        listName: 'q',
        stream: 'q',
        sentinelMaster: 'm',
      };
      const base = Object.fromEntries(
        Object.entries({ ...places, ...(scaler.type === 'rabbitmq' ? { host: 'amqp://safe' } : {}) }).filter(
          ([name]) => name in scaler.keys,
        ),
      );
      expect(scaler.bind(base, {}).broker.label).toContain('safe');
      for (const [name, { endpoint, schema }] of Object.entries(scaler.keys)) {
        if (endpoint !== undefined) continue;
        for (const evil of ['evil.example', 'evil.example:5672', 'amqp://evil.example', 'http://evil.example/']) {
          if (!schema.safeParse(evil).success) continue;
          // Where rules forbid the value there is nothing to speak to.
          if (scaler.faults({ ...base, [name]: evil }, { [name]: evil }, new Set()).length > 0) continue;
          const { label } = scaler.bind({ ...base, [name]: evil }, { [name]: evil }).broker;
          // A sentinel's name for its primary is shown, and is no host.
          if (name !== 'sentinelMaster') expect(label, name).not.toContain('evil');
        }
      }
    },
  );

  it('go nowhere where the scaler is not known, and no scaler can leave its hosts unmarked', async () => {
    const unknown = { endpointKeysOf: () => undefined };
    const objects = [scaledObject([trigger({}, CLUSTER)]), authentication(whole, CLUSTER, {})];
    await expect(resolve(objects, {}, unknown)).rejects.toMatchObject(notAllowed);
    const server = (schema: z.ZodType<string, string>) =>
      defineScaler({
        type: 'beanstalkd',
        doc: 'A scaler whose host has another name than those of ours.',
        keys: { server: key('Host and port.', schema) },
        rules: () => undefined,
        spec: () => ({ name: 'tube', target: 1 }),
        broker: { name: 'beanstalkd', label: String, open: () => expect.unreachable() },
        connection: ({ server: named }) => named,
        question: () => ({ key: 'q', subject: 'q', staleAfterMs: 0 }),
        decide: () => () => ({ value: 0, active: false, because: [] }),
        backlog: () => ({ waiting: undefined, held: undefined }),
      });
    expect(() => server(text())).toThrow('no key is marked as an endpoint');
    const scalers = [server(endpoint(text()))];
    const asked = resolve(
      [scaledObject([trigger({ scaler: 'beanstalkd', server: 'evil:11300' }, CLUSTER)]), authentication(whole, CLUSTER, {})],
      { metadata: { ...metadata, scaler: 'beanstalkd', server: 'evil:11300' } },
      { endpointKeysOf: (given) => endpointKeysOf(given, scalers) },
    );
    await expect(asked).rejects.toMatchObject(notAllowed);
  });

  it('are not for a namespace that the administrator leaves out', async () => {
    expect(await ask(whole, {}, { 'keda-queue-scaler/allowed-namespaces': 'other, shop' })).toMatchObject({
      password: 'cluster-secret',
    });
    await expect(ask(whole, {}, { 'keda-queue-scaler/allowed-namespaces': 'other' })).rejects.toMatchObject(notAllowed);
    await expect(ask(whole, {}, { 'keda-queue-scaler/allowed-namespaces': '' })).rejects.toMatchObject(notAllowed);
  });

  it('are guarded alike where secret access is restricted, and a TriggerAuthentication cannot allow itself a host', async () => {
    const auth = authentication(secretRef('password'), 'TriggerAuthentication', { 'keda-queue-scaler/allowed-hosts': 'evil' });
    const asked = resolve(
      [scaledObject([trigger({ host: 'amqp://evil' })]), auth],
      { metadata: { ...metadata, host: 'amqp://evil' } },
      { restrictSecretAccess: true },
    );
    await expect(asked).rejects.toMatchObject({ code: 'NOT_ALLOWED' });
  });
});
