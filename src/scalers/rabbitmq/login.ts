/**
 * Who logs in at the broker: a user with a password, a client's certificate, or an OAuth2 client.
 */
import { Secret } from '../../auth/secret.ts';
import { isExternal, type Login } from './address.ts';
import type { RabbitValues } from './keys.ts';
import type { OAuthSettings } from './management/oauth.ts';

/** RabbitMQ's own first user, which it lets in from its own host alone. */
const DEFAULT_USER = 'guest';

export type LoginValues = Pick<RabbitValues, 'host' | 'username' | 'password' | 'cert'>;

/** Undefined: SASL EXTERNAL over AMQP, and no login over HTTP. */
export function loginOf(values: LoginValues): Login | undefined {
  if (values.username !== undefined && values.password !== undefined) {
    return { user: values.username, password: values.password };
  }
  const { user, password, endpoint } = values.host;
  // Without TLS a certificate is never shown to the broker, and so names nobody.
  const byCertificate = password === undefined || isExternal(values.host);
  if (values.cert !== undefined && byCertificate && endpoint.scheme.endsWith('s')) return undefined;
  if (user !== undefined) return { user, password: password ?? new Secret('') };
  return endpoint.scheme.startsWith('amqp') ? { user: DEFAULT_USER, password: new Secret(DEFAULT_USER) } : undefined;
}

/** The OAuth2 client that logs in at the management API in the user's place. */
export function oauthOf(values: RabbitValues): OAuthSettings | undefined {
  const { oauthTokenURI, clientID, clientSecret } = values;
  if (oauthTokenURI === undefined || clientID === undefined || clientSecret === undefined) return undefined;
  return {
    tokenUri: oauthTokenURI,
    clientId: clientID,
    clientSecret,
    scopes: values.scopes ?? [],
    parameters: [...new URLSearchParams(values.endpointParams ?? '')],
  };
}
