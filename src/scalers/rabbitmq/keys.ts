/**
 * The keys of a RabbitMQ trigger: KEDA's, with its names, defaults and meaning, and our own after them.
 */
import { z } from 'zod';
import { Secret } from '../../auth/secret.ts';
import { inProgressKey } from '../inProgress.ts';
import { endpoint, key, type Values } from '../metadata.ts';
import { TLS_KEYS } from '../net/tls.ts';
import { decimal, duration, flag, list, oneOf, text, whole } from '../values.ts';
import { parseAddress } from './address.ts';
import { MODES } from './decision.ts';
import { OPERATIONS } from './question.ts';

export const DEFAULT_TARGET = 20;

const everywhere = ['metadata', 'environment', 'authentication'] as const;
const metadataOrAuthentication = ['metadata', 'authentication'] as const;
const authentication = ['authentication'] as const;

const secretText = () => text().transform((value) => new Secret(value));

const address = () =>
  text().transform((url, context) => {
    const parsed = parseAddress(url);
    if (typeof parsed !== 'string') return parsed;
    context.addIssue({ code: 'custom', message: parsed });
    return z.NEVER;
  });

/** `auto`, `off`, or URLs. */
const source = () =>
  list().transform((words, context) => {
    const [first] = words;
    if (words.length === 1 && (first === 'auto' || first === 'off')) return first;
    return words.map((word) => {
      const parsed = parseAddress(word);
      if (typeof parsed !== 'string' && parsed.endpoint.scheme.startsWith('http') && parsed.user === undefined) {
        // What is a vhost in `host` is a plain path here.
        const path = parsed.vhost === '/' ? '' : `/${encodeURIComponent(parsed.vhost)}`;
        return { ...parsed.endpoint, path: `${parsed.endpoint.path}${path}` };
      }
      context.addIssue({ code: 'custom', message: 'must be auto, off, or http(s) URLs without a login' });
      return z.NEVER;
    });
  });

export const keys = {
  host: key(
    'URL of the broker: `amqp://`, `amqps://`, `http://` or `https://`, then `user:password@` if you must, host, port and vhost. A password may hold any character; one that is percent-encoded is decoded. Of RabbitMQ’s URI query parameters `verify=verify_none` and `auth_mechanism=external` have effect.',
    endpoint(address()),
    { places: everywhere, required: true, secret: true },
  ),
  hosts: key(
    'More endpoints of the same broker, `host` or `host:port` separated by commas, tried when one fails.',
    endpoint(list()),
    {
      places: everywhere,
      secret: true,
    },
  ),
  protocol: key('Must agree with the scheme of `host`; `auto` takes whatever that is.', oneOf(['auto', 'amqp', 'http']), {
    places: metadataOrAuthentication,
    default: 'auto',
  }),
  vhostName: key('The vhost; goes before the one in `host`. Written plainly, not percent-encoded.', text(), {
    places: metadataOrAuthentication,
  }),
  queueName: key('The queue, or with `useRegex` a regular expression over queue names.', text()),
  queueNames: key('Instead of `queueName`: several queues, separated by commas, each of which must exist.', list()),
  mode: key('What the metric is; see the formulas. QueueLength where it is not given.', oneOf(MODES)),
  value: key('Target of the metric.', decimal({ above: 0, max: 1e15 })),
  queueLength: key('The same as mode QueueLength with this value.', decimal({ above: 0, max: 1e15 }), {
    deprecated: 'Use mode and value.',
  }),
  activationValue: key('The trigger is active above this value.', decimal({ min: 0, max: 1e15 }), { default: '0' }),
  inProgress: inProgressKey('unacknowledged messages'),
  excludeUnacknowledged: key('KEDA’s spelling of `inProgress: ignore`.', flag(), { default: 'false' }),
  useRegex: key('Takes `queueName` as a regular expression.', flag(), { default: 'false' }),
  exclude: key('With `useRegex`: a regular expression over the names of queues that do not belong to the set.', text()),
  operation: key('How the figures of several queues become one.', oneOf(OPERATIONS), { default: 'sum' }),
  pageSize: key('Has no effect: all queues that match are counted, however many pages they would fill.', whole({ min: 1 }), {
    deprecated: 'All queues are listed in one answer.',
  }),
  timeout: key('Longest wait for one request.', duration({ minMs: 1, maxMs: 60_000 }), { default: '3s' }),
  unsafeSsl: key('Takes any certificate of the broker.', flag(), { default: 'false' }),
  username: key('User; goes before the one in `host`.', text(), { places: ['environment', 'authentication'] }),
  password: key('Password; goes before the one in `host`.', secretText(), {
    places: ['environment', 'authentication'],
    secret: true,
  }),
  tls: key('`enable` demands TLS: `host` must then be `amqps://` or `https://`.', oneOf(['enable', 'disable']), {
    places: authentication,
    default: 'disable',
  }),
  ...TLS_KEYS,
  cert: { ...TLS_KEYS.cert, doc: `${TLS_KEYS.cert.doc} Without user and password it is also the login (SASL EXTERNAL).` },
  oauthTokenURI: key('Where OAuth2 client credentials get a token for the management API.', endpoint(text()), {
    places: authentication,
    secret: true,
  }),
  clientID: key('OAuth2 client.', text(), { places: authentication }),
  clientSecret: key('OAuth2 client’s secret.', secretText(), { places: authentication, secret: true }),
  scopes: key('OAuth2 scopes, separated by commas.', list(), { places: authentication, aliases: ['scope'] }),
  endpointParams: key('More parameters for the token request, as a URL query.', text(), { places: authentication, secret: true }),
  workloadIdentityResource: key('Not supported, and refused: log in by user, certificate or OAuth2 client.', text(), {
    places: metadataOrAuthentication,
  }),

  shardedExchange: key('Instead of `queueName`: an exchange of the sharding plugin, all of whose shards are read.', text()),
  onMissingQueue: key(
    '`error`: a queue that does not exist is an error, and so is a regular expression that matches none. `zero`: it is an empty queue.',
    oneOf(['error', 'zero']),
    { default: 'error' },
  ),
  management: key(
    'The management API: `auto` looks for it on the hosts of an AMQP URL (ports 15672, 15671; 443 at CloudAMQP and Amazon MQ), with the same login; `off` never asks it; or URLs.',
    endpoint(source(), ['auto', 'off']),
    { places: metadataOrAuthentication, default: 'auto', secret: true },
  ),
  prometheus: key(
    'The Prometheus plugin: `auto` finds the port of every node through the management API, and asks none unless all nodes of the cluster have one; `off` never asks it; or the URLs of all nodes.',
    endpoint(source(), ['auto', 'off']),
    { places: metadataOrAuthentication, default: 'auto', secret: true },
  ),
  confirmZero: key(
    'How long a zero must last where the reader at hand is known to say zero falsely at times.',
    duration({ maxMs: 600_000 }),
    { default: '11s' },
  ),
  staleAfter: key('How long the last known reading stands in for one that could not be had.', duration({ maxMs: 600_000 }), {
    default: '15s',
  }),
  rateWindow: key('Time over which rates are taken.', duration({ minMs: 5_000, maxMs: 600_000 }), { default: '30s' }),
  busyFor: key(
    'Without the management API: how long after the last waiting message a queue with consumers counts as busy.',
    duration({ maxMs: 86_400_000 }),
    { default: '10m' },
  ),
  wakeBudget: key(
    'Most passive declares a second to notice work in sleeping queues, for all triggers of the broker.',
    whole({ min: 1, max: 100_000 }),
    { default: '1000' },
  ),
};

export type RabbitValues = Values<typeof keys>;
