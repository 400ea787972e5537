import { describe, expect, it, test } from 'vitest';
import { TriggerError } from '../../../src/errors.ts';
import { rabbitmq } from '../../../src/scalers/rabbitmq/index.ts';

type Texts = Readonly<Record<string, string>>;

const AMQP = 'amqp://user:pw-s3cret@broker:5672/shop';
const HTTP = 'http://user:pw-s3cret@broker:15672/shop';

function faults(metadata: Texts, authentication: Texts = {}): Record<string, string> {
  try {
    rabbitmq.bind({ scaler: 'rabbitmq', ...metadata }, authentication);
    return {};
  } catch (thrown) {
    if (!(thrown instanceof TriggerError)) throw thrown;
    expect(thrown.message).not.toContain('s3cret');
    return Object.fromEntries(thrown.faults.map(({ key, message }) => [key, message]));
  }
}

const PEM = '-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----';

const on = (host: string, more: Texts = {}): Texts => ({ host, queueName: 'q', ...more });

describe('a trigger that KEDA takes', () => {
  it.each<[string, Texts, Texts?]>([
    ['host and queue alone', on(AMQP)],
    ['the deprecated queueLength', on(AMQP, { queueLength: '10' })],
    ['each mode', on(HTTP, { mode: 'MessageRate', value: '1000' })],
    ['a fraction for a value', on(HTTP, { mode: 'DeliverGetRate', value: '0.5' })],
    ['a queue name with slashes', on(HTTP, { queueName: 'namespace/name' })],
    ['vhostName', on(HTTP, { vhostName: 'other' })],
    ['an empty vhostName', on(HTTP, { vhostName: '' })],
    ['host from the environment', { queueName: 'q', hostFromEnv: AMQP }],
    ['host from authentication', { queueName: 'q' }, { host: AMQP }],
    ['protocol from authentication', on(HTTP), { protocol: 'http' }],
    ['a regular expression', on(HTTP, { useRegex: 'true', queueName: '^a.*', operation: 'max', pageSize: '100' })],
    ['several queues by name', { host: AMQP, queueNames: 'a, b' }],
    ['queues that are left out', on(HTTP, { useRegex: 'true', queueName: '^a', exclude: 'dead' })],
    ['a timeout in milliseconds', on(HTTP, { timeout: '1000' })],
    ['a timeout as a duration', on(HTTP, { timeout: '1s500ms' })],
    ['unsafeSsl', on(HTTP, { unsafeSsl: 'true' })],
    ['an activation value', on(AMQP, { activationValue: '10' })],
    ['user and password', on('amqp://broker'), { username: 'u', password: 'p' }],
    ['TLS with everything', on('amqps://broker'), { tls: 'enable', ca: PEM, cert: PEM, key: PEM, keyPassword: 'p' }],
    ['TLS with an authority alone', on('https://broker'), { tls: 'enable', ca: PEM }],
    ['user and password from the environment', on('amqp://broker', { usernameFromEnv: 'u', passwordFromEnv: 'p' })],
    ['protocol auto, and each that agrees', on(AMQP, { protocol: 'auto' })],
    ['protocol amqp of an amqps host', on('amqps://broker', { protocol: 'amqp' })],
    ['protocol http of an https host', on('https://broker', { protocol: 'http' })],
    ['a page size beyond the broker’s own largest', on(HTTP, { useRegex: 'true', queueName: '^a', pageSize: '1000' })],
    ['vhostName from authentication', on(AMQP), { vhostName: 'other' }],
    ['TLS with a certificate and no authority', on('amqps://broker'), { tls: 'enable', cert: PEM, key: PEM }],
    [
      'OAuth2 with more parameters and TLS',
      on('https://broker'),
      {
        ...{ oauthTokenURI: 'https://id/token', clientID: 'c', clientSecret: 's', endpointParams: 'audience=rabbit&x=y' },
        ...{ tls: 'enable', ca: PEM, cert: PEM, key: PEM },
      },
    ],
    ['OAuth2', on('https://broker'), { oauthTokenURI: 'https://id/token', clientID: 'c', clientSecret: 's', scope: 'a,b' }],
    ['KEDA’s own keys', on(AMQP, { scalerAddress: 'scaler:6000', enableTLS: 'false' })],
  ])('is taken: %s', (_, metadata, authentication) => {
    expect(faults(metadata, authentication)).toEqual({});
  });
});

describe('a trigger that KEDA refuses', () => {
  it.each<[string, Texts, Texts | undefined, string]>([
    ['nothing given', {}, {}, 'host'],
    ['no queue', { host: AMQP }, {}, 'queueName'],
    ['a malformed queueLength', on(AMQP, { queueLength: 'AA' }), {}, 'queueLength'],
    ['queueLength beside mode', on(AMQP, { queueLength: '1', mode: 'QueueLength', value: '1' }), {}, 'queueLength'],
    ['mode without value', on(AMQP, { mode: 'QueueLength' }), {}, 'value'],
    ['value zero', on(AMQP, { mode: 'QueueLength', value: '0' }), {}, 'value'],
    ['an unknown mode', on(AMQP, { mode: 'Feelings', value: '1' }), {}, 'mode'],
    ['a protocol that is not the scheme’s', on(AMQP, { protocol: 'http' }), {}, 'protocol'],
    ['an unknown scheme', on('redis://broker'), {}, 'host'],
    ['a negative timeout', on(HTTP, { timeout: '-10' }), {}, 'timeout'],
    ['a timeout of letters', on(HTTP, { timeout: 'soon' }), {}, 'timeout'],
    ['a negative page size', on(HTTP, { useRegex: 'true', pageSize: '-1' }), {}, 'pageSize'],
    ['a malformed activation value', on(AMQP, { activationValue: 'some' }), {}, 'activationValue'],
    ['a malformed flag', on(HTTP, { unsafeSsl: 'random' }), {}, 'unsafeSsl'],
    ['a malformed operation', on(HTTP, { operation: 'median' }), {}, 'operation'],
    ['a wrong tls', on('amqps://b'), { tls: 'yes' }, 'tls'],
    ['a certificate without its key', on('amqps://b'), { cert: PEM }, 'key'],
    ['a key without its certificate', on('amqps://b'), { key: PEM }, 'cert'],
    ['a user without password', on('amqp://b'), { username: 'u' }, 'password'],
    ['a password without user', on('amqp://b'), { password: 'pw-s3cret' }, 'username'],
    ['OAuth2 with AMQP', on('amqp://b'), { oauthTokenURI: 'https://i', clientID: 'c', clientSecret: 's' }, 'oauthTokenURI'],
    ['OAuth2 without a secret', on('https://b'), { oauthTokenURI: 'https://i', clientID: 'c' }, 'clientSecret'],
    ['OAuth2 without a client', on('https://b'), { oauthTokenURI: 'https://i', clientSecret: 's' }, 'clientID'],
    ['OAuth2 without a token endpoint', on('https://b'), { clientID: 'c', clientSecret: 's' }, 'oauthTokenURI'],
    [
      'a token endpoint that is no URL',
      on('https://b'),
      { oauthTokenURI: 'id', clientID: 'c', clientSecret: 's' },
      'oauthTokenURI',
    ],
    ['queueLength zero', on(AMQP, { queueLength: '0' }), {}, 'queueLength'],
    ['queueLength beside value', on(AMQP, { queueLength: '1', value: '1' }), {}, 'queueLength'],
    ['queueLength beside a rate mode', on(HTTP, { queueLength: '1', mode: 'MessageRate' }), {}, 'queueLength'],
    ['a malformed value', on(AMQP, { mode: 'QueueLength', value: 'AA' }), {}, 'value'],
    ['protocol auto with an unknown scheme', on('nats://broker', { protocol: 'auto' }), {}, 'host'],
    ['a protocol of another name', on(AMQP, { protocol: 'mqtt' }), {}, 'protocol'],
    ['amqp told of an http host', on(HTTP, { protocol: 'amqp' }), {}, 'protocol'],
    ['a page size of zero', on(HTTP, { useRegex: 'true', pageSize: '0' }), {}, 'pageSize'],
    ['a page size of letters', on(HTTP, { useRegex: 'true', pageSize: 'ten' }), {}, 'pageSize'],
    ['a timeout of zero', on(HTTP, { timeout: '0' }), {}, 'timeout'],
    ['a user from the environment without password', on('amqp://b', { usernameFromEnv: 'u' }), {}, 'password'],
    ['a password from the environment without user', on('amqp://b', { passwordFromEnv: 'pw-s3cret' }), {}, 'username'],
    ['OAuth2 and a user', on(HTTP), { oauthTokenURI: 'https://i', clientID: 'c', clientSecret: 's' }, 'oauthTokenURI'],
  ])('is refused: %s', (_, metadata, authentication, key) => {
    expect(Object.keys(faults(metadata, authentication))).toContain(key);
  });
});

describe('each mode', () => {
  const MODES = ['QueueLength', 'MessageRate', 'DeliverGetRate', 'PublishedToDeliveredRatio', 'ExpectedQueueConsumptionTime'];
  it.each(MODES.flatMap((mode) => ['amqp', 'amqps', 'http', 'https'].map((scheme) => [mode, scheme] as const)))(
    '%s is taken with a host of %s, where KEDA wants http for all but the first',
    (mode, scheme) => {
      expect(faults(on(`${scheme}://broker`, { mode, value: '5' }))).toEqual({});
      expect(Object.keys(faults(on(`${scheme}://broker`, { mode })))).toEqual(['value']);
    },
  );
});

describe('where this scaler differs from KEDA on purpose', () => {
  it.each<[string, Texts]>([
    ['a rate mode', on(AMQP, { mode: 'MessageRate', value: '1' })],
    ['useRegex', on(AMQP, { useRegex: 'true' })],
    ['excludeUnacknowledged', on(AMQP, { excludeUnacknowledged: 'true' })],
    ['a timeout', on(AMQP, { mode: 'QueueLength', value: '1', timeout: '1s' })],
    ['a value without a mode', on(AMQP, { value: '7' })],
  ])('it takes %s with an amqp host', (_, metadata) => {
    expect(faults(metadata)).toEqual({});
  });

  it.each<[string, Texts, Texts, string]>([
    ['Azure workload identity over http', on('http://b'), { workloadIdentityResource: 'https://r' }, 'workloadIdentityResource'],
    ['Azure workload identity over amqp', on('amqp://b'), { workloadIdentityResource: 'https://r' }, 'workloadIdentityResource'],
    ['a misspelt key', on(AMQP, { queName: 'q' }), {}, 'queName'],
    ['a negative value', on(AMQP, { mode: 'QueueLength', value: '-1' }), {}, 'value'],
    ['TLS demanded of a plain port', on('amqp://b'), { tls: 'enable' }, 'tls'],
    ['a regular expression that may run for ever', on(HTTP, { useRegex: 'true', queueName: '(?=a)b' }), {}, 'queueName'],
    ['more than management can be without', on(AMQP, { management: 'off', useRegex: 'true' }), {}, 'management'],
    ['a name and several', on(AMQP, { queueNames: 'a,b' }), {}, 'queueNames'],
    ['several names as patterns', { host: HTTP, queueNames: 'a,b', useRegex: 'true' }, {}, 'useRegex'],
    ['a name among several that is too long', { host: HTTP, queueNames: `a,${'b'.repeat(256)}` }, {}, 'queueNames'],
    ['queues left out of one', on(HTTP, { exclude: 'dead' }), {}, 'exclude'],
    ['a bad pattern of what is left out', on(HTTP, { useRegex: 'true', exclude: '(' }), {}, 'exclude'],
    ['two kinds of subject', on(AMQP, { shardedExchange: 'x' }), {}, 'shardedExchange'],
    ['a host of another scheme', on(AMQP, { hosts: 'http://other' }), {}, 'hosts'],
    ['a login in management', on(AMQP, { management: 'http://u:pw-s3cret@b' }), {}, 'management'],
  ])('it refuses %s', (_, metadata, authentication, key) => {
    expect(Object.keys(faults(metadata, authentication))).toContain(key);
  });

  it('says of workload identity what to give in its place', () => {
    const fault = faults(on('http://broker'), { workloadIdentityResource: 'https://resource' })['workloadIdentityResource'];
    expect(fault).toContain('oauthTokenURI');
    expect(fault).toContain('not supported');
  });

  it('tells all faults at once', () => {
    const found = faults({ queueNme: 'q', host: 'nowhere', value: 'NaN', operation: 'all' });
    expect(Object.keys(found).sort()).toEqual(['host', 'operation', 'queueName', 'queueNme', 'value']);
    expect(found['queueNme']).toContain('queueName');
  });
});

describe('the client of a trigger', () => {
  const broker = (metadata: Texts, authentication: Texts = {}) =>
    rabbitmq.bind({ scaler: 'rabbitmq', ...metadata }, authentication).broker;

  it('is shared by all queues, vhosts and targets of one broker and login', () => {
    const key = broker(on(AMQP)).key;
    expect(broker(on(AMQP, { queueName: 'other', value: '3', vhostName: 'x' })).key).toBe(key);
    expect(broker(on('amqp://broker/shop'), { username: 'user', password: 'pw-s3cret' }).key).toBe(key);
  });

  it('is another for another password, endpoint, authority or management', () => {
    const keys = [
      broker(on(AMQP)),
      broker(on(AMQP.replace('pw-', 'px-'))),
      broker(on(AMQP.replace(':5672', ':5673'))),
      broker(on(AMQP, { hosts: 'second' })),
      broker(on(AMQP), { ca: PEM }),
      broker(on(AMQP, { management: 'off' })),
    ].map(({ key }) => key);
    expect(new Set(keys).size).toBe(keys.length);
  });

  it('is named without a login', () => {
    expect(broker(on(AMQP, { hosts: 'two' })).label).toBe('amqp://broker:5672,amqp://two:5672');
  });
});

test('whatever changes how a queue is read makes another question, a larger wake budget too', () => {
  const key = (metadata: Texts) => rabbitmq.bind({ scaler: 'rabbitmq', ...on(AMQP, metadata) }, {}).question.key;
  expect(key({ value: '7', activationValue: '3' })).toBe(key({}));
  const others: Texts[] = [
    ...[{ wakeBudget: '5000' }, { staleAfter: '1m' }, { confirmZero: '1s' }, { rateWindow: '1m' }, { busyFor: '1m' }],
    ...[{ onMissingQueue: 'zero' }, { excludeUnacknowledged: 'true' }, { useRegex: 'true' }, { operation: 'max' }],
    ...[{ vhostName: 'x' }, { queueName: 'other' }, { mode: 'MessageRate', value: '1' }],
  ];
  const keys = [{}, ...others].map(key);
  expect(new Set(keys).size).toBe(keys.length);
});

describe('the metric', () => {
  it.each([
    [on(AMQP), 'rabbitmq-q', 20],
    [on(AMQP, { queueLength: '7' }), 'rabbitmq-q', 7],
    [on(AMQP, { mode: 'QueueLength', value: '0.5', queueName: 'namespace/name' }), 'rabbitmq-namespace-2Fname', 0.5],
    [{ host: AMQP, shardedExchange: 'orders' }, 'rabbitmq-orders', 20],
  ])('of %j is %s with target %d', (metadata, name, target) => {
    expect(rabbitmq.spec({ scaler: 'rabbitmq', ...metadata }, 'none')).toEqual({ name, target });
  });
});
