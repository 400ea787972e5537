/**
 * How a RabbitMQ broker is spoken to: what makes two clients differ, and which connections one client opens.
 */
import type { Secret } from '../../auth/secret.ts';
import type { BrokerEvents, BrokerIdentity } from '../brokerEvents.ts';
import { createEndpoints } from '../net/failover.ts';
import type { TlsSettings } from '../net/tls.ts';
import { endpointLabel, type Endpoint, type Login } from './address.ts';
import { createDeclarer } from './amqp/declarePool.ts';
import { createHttpClient, fixedHeader, type Authorization, type HttpClient } from './management/http.ts';
import { createManagement, MANAGEMENT_ACCEPT, type HttpPool } from './management/api.ts';
import { createOAuth, type OAuthSettings } from './management/oauth.ts';

/** The broker answers a declare in about a millisecond, or hangs for 77 s; a trigger's `timeout` only shortens this. */
const DECLARE_TIMEOUT_MS = 1_000;
/** To each endpoint of the management API, at most. */
const LIST_CONNECTIONS = 2;
/** Enough that a few queues of which the API has nothing to say for seconds leave room for the others. */
const OTHER_CONNECTIONS = 4;

type Endpoints = readonly [Endpoint, ...Endpoint[]];

export interface RabbitConnection {
  readonly endpoints: Endpoints;
  /** Undefined: the client's certificate names the user over AMQP, and no login over HTTP. */
  readonly login: Login | undefined;
  /** Goes before `login` at the management API. */
  readonly oauth: OAuthSettings | undefined;
  readonly tls: TlsSettings;
  /** Undefined: there is none, or it must not be asked. */
  readonly management: Endpoints | undefined;
  /** The management API was only guessed from an AMQP address. */
  readonly managementIsOptional: boolean;
  readonly prometheus: 'auto' | 'off' | readonly Endpoint[];
  /** Longest wait for one request, in ms. */
  readonly timeoutMs: number;
  /** What must not show in anything that is quoted from the broker. */
  readonly secrets: readonly Secret[];
}

export function labelOf({ endpoints }: RabbitConnection): string {
  return endpoints.map(endpointLabel).join(',');
}

/** What a client of the broker is made of. */
export function openReaders(connection: RabbitConnection, broker: BrokerIdentity, events: BrokerEvents) {
  const { endpoints, login, oauth, tls, management, managementIsOptional, prometheus, timeoutMs, secrets } = connection;
  const authorization = oauth === undefined ? fixedHeader(basicHeader(login)) : createOAuth(oauth, timeoutMs);
  const http = (as: Authorization, accept: string, connections: number): HttpClient =>
    createHttpClient({ authorization: as, accept, tls, timeoutMs, connections, secrets });
  const pool = (to: Endpoints, connections: number): HttpPool => ({
    http: http(authorization, MANAGEMENT_ACCEPT, connections),
    endpoints: createEndpoints(to),
  });
  return {
    broker,
    events,
    declarer: !isAmqp(endpoints[0])
      ? undefined
      : (onNodeEvent: () => void) =>
          createDeclarer({
            endpoints: createEndpoints(endpoints),
            tls,
            login,
            connectTimeoutMs: timeoutMs,
            timeoutMs: Math.min(timeoutMs, DECLARE_TIMEOUT_MS),
            onChange(endpoint, open, error) {
              events.connections({ broker, endpoint, open });
              if (error === undefined) return;
              onNodeEvent();
              events.failure({ broker, endpoint, error });
            },
          }),
    management:
      management === undefined
        ? undefined
        : createManagement(pool(management, LIST_CONNECTIONS), pool(management, OTHER_CONNECTIONS)),
    managementIsOptional,
    metrics: {
      setting: prometheus,
      host: (management ?? endpoints)[0].host,
      // No login, as the plugins' addresses come from the broker and not from the user.
      http: http(fixedHeader(undefined), '*/*', 1),
    },
  };
}

export function isAmqp({ scheme }: Endpoint): boolean {
  return scheme === 'amqp' || scheme === 'amqps';
}

function basicHeader(login: Login | undefined): string | undefined {
  if (login === undefined) return undefined;
  return `Basic ${Buffer.from(`${login.user}:${login.password.reveal()}`, 'utf8').toString('base64')}`;
}
