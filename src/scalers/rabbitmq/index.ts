/**
 * The scaler `rabbitmq`: from a trigger's keys to its broker, its question and its decision.
 */
import { fingerprint } from '../../auth/secret.ts';
import { metricName } from '../metricName.ts';
import { defineScaler } from '../contract.ts';
import { DEFAULT_PORT, endpointLabel, parseEndpoint, type Endpoint } from './address.ts';
import { createRabbitClient } from './client.ts';
import { decide, type Mode, type Policy } from './decision.ts';
import { createDeclarer } from './amqp/declarePool.ts';
import { createEndpoints } from '../net/failover.ts';
import { createHttpClient, fixedHeader, type Authorization, type HttpClient } from './management/http.ts';
import { DEFAULT_TARGET, keys, type RabbitValues } from './keys.ts';
import { authorizationOf, loginOf } from './login.ts';
import { createManagement, MANAGEMENT_ACCEPT, type HttpPool } from './management/api.ts';
import { createQuestion, type RabbitQuestion, type Selection } from './question.ts';
import { checkRules } from './rules.ts';
import { tlsSettings } from '../net/tls.ts';

/** The broker answers a declare in about a millisecond, or hangs for 77 s; a trigger's `timeout` only shortens this. */
const DECLARE_TIMEOUT_MS = 1_000;
/** To each endpoint of the management API, at most. */
const LIST_CONNECTIONS = 2;
/** So many that a few queues of which the API has nothing to say for seconds leave room for the others. */
const OTHER_CONNECTIONS = 4;

export const rabbitmq = defineScaler({
  type: 'rabbitmq',
  doc: 'RabbitMQ queues: classic, quorum and stream, one, a set by regular expression, or a sharded exchange.',
  keys,
  rules: checkRules,
  spec: (values) => ({
    name: metricName('rabbitmq', values.shardedExchange ?? values.queueName ?? ''),
    target: targetOf(values),
  }),
  bind(values) {
    const question = questionOf(values);
    const policy: Policy = {
      mode: modeOf(values),
      target: targetOf(values),
      activation: values.activationValue,
      excludeUnacknowledged: values.excludeUnacknowledged,
      oneConsumerPerShard: question.selection.kind === 'shards',
    };
    const endpoints = endpointsOf(values);
    const login = loginOf(values);
    const key = fingerprint(
      'rabbitmq',
      ...endpoints.map((endpoint) => endpointLabel(endpoint) + endpoint.path),
      login?.user,
      login?.password,
      JSON.stringify([values.management, values.prometheus]),
      values.timeout,
      values.unsafeSsl,
      values.ca,
      values.cert,
      values.key,
      values.keyPassword,
      values.oauthTokenURI,
      values.clientID,
      values.clientSecret,
      values.scopes?.join(),
      values.endpointParams,
    );
    const broker = { key, label: endpoints.map(endpointLabel).join(',') };
    return {
      broker,
      question,
      decide: (reading) => decide(policy, reading.measures, question.subject),
      open(events) {
        const tls = tlsSettings(values, !values.unsafeSsl);
        const isAmqp = endpoints[0].scheme.startsWith('amqp');
        const secrets = [values.password, values.host.password, values.key, values.keyPassword, values.clientSecret].filter(
          (secret) => secret !== undefined,
        );
        const managementEndpoints = managementEndpointsOf(values, endpoints);
        const managementAuthorization = authorizationOf(values, login);
        const httpClient = (authorization: Authorization, accept: string, connections: number): HttpClient =>
          createHttpClient({ authorization, accept, tls, timeoutMs: values.timeout, connections, secrets });
        const road = (to: readonly [Endpoint, ...Endpoint[]], connections: number): HttpPool => ({
          http: httpClient(managementAuthorization, MANAGEMENT_ACCEPT, connections),
          endpoints: createEndpoints(to),
        });
        const management =
          managementEndpoints === undefined
            ? undefined
            : createManagement({
                lists: road(managementEndpoints, LIST_CONNECTIONS),
                others: road(managementEndpoints, OTHER_CONNECTIONS),
              });
        const declarer = !isAmqp
          ? undefined
          : (onNodeEvent: () => void) =>
              createDeclarer({
                endpoints: createEndpoints(
                  mapAll(endpoints, (endpoint) => ({
                    host: endpoint.host,
                    port: endpoint.port,
                    label: endpointLabel(endpoint),
                    tls: endpoint.scheme === 'amqps' ? tls : undefined,
                  })),
                ),
                login,
                connectTimeoutMs: values.timeout,
                timeoutMs: Math.min(values.timeout, DECLARE_TIMEOUT_MS),
                onChange(endpoint, open, error) {
                  events.connections({ broker, endpoint, open });
                  if (error === undefined) return;
                  onNodeEvent();
                  events.failure({ broker, endpoint, error });
                },
              });
        return createRabbitClient({
          broker,
          events,
          declarer,
          management,
          managementIsOptional: isAmqp && values.management === 'auto',
          metrics: {
            setting: values.prometheus,
            host: (managementEndpoints ?? endpoints)[0].host,
            http: httpClient(fixedHeader(undefined), '*/*', 1),
          },
        });
      },
    };
  },
});

function modeOf(values: RabbitValues): Mode {
  return values.mode ?? 'QueueLength';
}

function targetOf(values: RabbitValues): number {
  return values.value ?? values.queueLength ?? DEFAULT_TARGET;
}

function questionOf(values: RabbitValues): RabbitQuestion {
  const mode = modeOf(values);
  const selection: Selection =
    values.shardedExchange !== undefined
      ? { kind: 'shards', exchange: values.shardedExchange }
      : values.useRegex
        ? { kind: 'pattern', pattern: values.queueName ?? '' }
        : { kind: 'queue', name: values.queueName ?? '' };
  return createQuestion({
    vhost: values.vhostName ?? values.host.vhost,
    selection,
    operation: values.operation,
    needs: mode !== 'QueueLength' ? 'rates' : values.excludeUnacknowledged ? 'ready' : 'messages',
    missingIsZero: values.onMissingQueue === 'zero',
    confirmZeroMs: values.confirmZero,
    staleAfterMs: values.staleAfter,
    rateWindowMs: values.rateWindow,
    busyForMs: values.busyFor,
    wakeBudget: values.wakeBudget,
  });
}

function endpointsOf(values: RabbitValues): [Endpoint, ...Endpoint[]] {
  const first = values.host.endpoint;
  // With `vhostName` the last segment of an http path is still no part of the sub-path, as in KEDA.
  const more = (values.hosts ?? []).flatMap((text) => {
    const endpoint = parseEndpoint(text, first);
    return typeof endpoint === 'string' ? [] : [endpoint];
  });
  return [first, ...more];
}

function managementEndpointsOf(
  values: RabbitValues,
  endpoints: readonly [Endpoint, ...Endpoint[]],
): [Endpoint, ...Endpoint[]] | undefined {
  if (values.management === 'off') return undefined;
  if (values.management !== 'auto') {
    const [first, ...rest] = values.management;
    return first === undefined ? undefined : [first, ...rest];
  }
  return mapAll(endpoints, (endpoint) => {
    if (!endpoint.scheme.startsWith('amqp')) return endpoint;
    const scheme = endpoint.scheme === 'amqps' ? 'https' : 'http';
    return { scheme, host: endpoint.host, port: DEFAULT_PORT[scheme], path: '' };
  });
}

function mapAll<T, U>([first, ...rest]: readonly [T, ...T[]], change: (item: T) => U): [U, ...U[]] {
  return [change(first), ...rest.map(change)];
}
