/**
 * Who logs in at the broker: a user with a password, a client's certificate, or an OAuth2 client. It must never send a login that
 * the trigger did not ask for.
 */
import { Secret } from '../../auth/secret.ts';
import type { RabbitValues } from './keys.ts';
import { fixedHeader, type Authorization } from './management/http.ts';
import { createOAuth } from './management/oauth.ts';

/** RabbitMQ's own first user, which it lets in from its own host alone. */
const DEFAULT_USER = 'guest';

export interface Login {
  readonly user: string;
  readonly password: Secret;
}

export type LoginValues = Pick<RabbitValues, 'host' | 'username' | 'password' | 'cert'>;

/** Undefined: SASL EXTERNAL over AMQP, and no login over HTTP. */
export function loginOf(values: LoginValues): Login | undefined {
  if (values.username !== undefined && values.password !== undefined) {
    return { user: values.username, password: values.password };
  }
  const { user, password, endpoint } = values.host;
  // Without TLS a certificate is never shown to the broker, and so names nobody.
  if (values.cert !== undefined && password === undefined && endpoint.scheme.endsWith('s')) return undefined;
  if (user !== undefined) return { user, password: password ?? new Secret('') };
  return endpoint.scheme.startsWith('amqp') ? { user: DEFAULT_USER, password: new Secret(DEFAULT_USER) } : undefined;
}

/** For the management API. */
export function authorizationOf(values: RabbitValues, login: Login | undefined): Authorization {
  const { oauthTokenURI, clientID, clientSecret } = values;
  if (oauthTokenURI !== undefined && clientID !== undefined && clientSecret !== undefined) {
    const settings = {
      tokenUri: oauthTokenURI,
      clientId: clientID,
      clientSecret,
      scopes: values.scopes ?? [],
      parameters: [...new URLSearchParams(values.endpointParams ?? '')],
    };
    return createOAuth(settings, values.timeout);
  }
  return fixedHeader(basic(login));
}

function basic(login: Login | undefined): string | undefined {
  if (login === undefined) return undefined;
  return `Basic ${Buffer.from(`${login.user}:${login.password.reveal()}`, 'utf8').toString('base64')}`;
}
