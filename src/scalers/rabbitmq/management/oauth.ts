/**
 * OAuth2 client credentials (RFC 6749, 4.4) for the management API: gets a token, keeps it until shortly before it ends or
 * the broker refuses it. The client's secret goes to the token endpoint alone, and the token to the broker alone.
 */
import { request } from 'undici';
import type { Secret } from '../../../auth/secret.ts';
import { BrokerError } from '../../../errors.ts';
import { describeNetworkError } from '../../net/networkErrors.ts';
import type { Authorization } from './http.ts';

/** How long before its end a token is renewed, in ms. */
const MARGIN_MS = 10_000;
/** Assumed lifetime of a token that does not state one, in ms. */
const DEFAULT_LIFE_MS = 60_000;
/** A token refused within this time of its making was not withdrawn: another would fare no better, in ms. */
const YOUNG_MS = 5_000;
const MAX_TOKEN_BYTES = 65_536;

export interface OAuthSettings {
  readonly tokenUri: string;
  readonly clientId: string;
  readonly clientSecret: Secret;
  readonly scopes: readonly string[];
  /** More form fields. */
  readonly parameters: readonly (readonly [string, string])[];
}

export function createOAuth(settings: OAuthSettings, timeoutMs: number): Authorization {
  let token: { readonly header: string; readonly hadAt: number; readonly endsAt: number } | undefined;
  let pending: Promise<string> | undefined;

  async function fetchToken(): Promise<string> {
    const subject = `the token endpoint ${hostOf(settings.tokenUri)}`;
    const form = new URLSearchParams({ grant_type: 'client_credentials' });
    for (const [name, value] of settings.parameters) form.append(name, value);
    if (settings.scopes.length > 0) form.set('scope', settings.scopes.join(' '));
    const login = [settings.clientId, settings.clientSecret.reveal()].map(encodeURIComponent).join(':');
    let status: number;
    let body: string;
    try {
      const response = await request(settings.tokenUri, {
        method: 'POST',
        headers: {
          authorization: `Basic ${Buffer.from(login, 'utf8').toString('base64')}`,
          'content-type': 'application/x-www-form-urlencoded',
          accept: 'application/json',
        },
        body: form.toString(),
        signal: AbortSignal.timeout(timeoutMs),
      });
      status = response.statusCode;
      body = await readSmall(response.body, subject);
    } catch (thrown) {
      throw describeNetworkError(thrown, subject);
    }
    if (status === 400 || status === 401 || status === 403) {
      throw new BrokerError('BROKER_REFUSED', `${subject} refuses the client (${status})`);
    }
    const { accessToken, lifeMs } = parseToken(status, body, subject);
    const header = `Bearer ${accessToken}`;
    const hadAt = performance.now();
    token = { header, hadAt, endsAt: hadAt + lifeMs - Math.min(MARGIN_MS, lifeMs / 2) };
    return header;
  }

  return {
    header() {
      if (token !== undefined && performance.now() < token.endsAt) return Promise.resolve(token.header);
      pending ??= fetchToken().finally(() => {
        pending = undefined;
      });
      return pending;
    },
    isStale(header) {
      if (token === undefined || token.header !== header) return true;
      if (performance.now() - token.hadAt < YOUNG_MS) return false;
      token = undefined;
      return true;
    },
  };
}

async function readSmall(body: AsyncIterable<Buffer>, subject: string): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > MAX_TOKEN_BYTES)
      throw new BrokerError('BROKER_REPLY_INVALID', `${subject} sent more than ${MAX_TOKEN_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseToken(status: number, body: string, subject: string): { readonly accessToken: string; readonly lifeMs: number } {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    parsed = undefined;
  }
  const fields = typeof parsed === 'object' && parsed !== null ? (parsed as Readonly<Record<string, unknown>>) : {};
  const accessToken = fields['access_token'];
  const seconds = fields['expires_in'];
  // A header cannot hold anything else.
  if (status !== 200 || typeof accessToken !== 'string' || !/^[\x21-\x7e]+$/.test(accessToken)) {
    throw new BrokerError('BROKER_REPLY_INVALID', `${subject} answered ${status} without a token`);
  }
  const lives = typeof seconds === 'number' && Number.isFinite(seconds) && seconds > 0;
  return { accessToken, lifeMs: lives ? seconds * 1000 : DEFAULT_LIFE_MS };
}

/** Scheme, host and port of a URL, which show no secret. */
function hostOf(uri: string): string {
  return URL.canParse(uri) ? new URL(uri).origin : 'given';
}
