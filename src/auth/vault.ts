/**
 * Reads secrets from HashiCorp Vault for a TriggerAuthentication. Only a server that the process's operator has named gets this
 * process's own service account token, as any tenant may write an address into a TriggerAuthentication.
 *
 * API: https://developer.hashicorp.com/vault/api-docs (auth/kubernetes login, KV versions 1 and 2).
 */
import { readFile } from 'node:fs/promises';
import { LRUCache } from 'lru-cache';
import { request } from 'undici';
import { z } from 'zod';
import { TriggerError } from '../errors.ts';
import type { AuthenticationSpec } from './objects.ts';
import { fingerprint } from './secret.ts';

type VaultSpec = NonNullable<AuthenticationSpec['hashiCorpVault']>;

const REQUEST_TIMEOUT_MS = 1_500;
const OWN_TOKEN_FILE = '/var/run/secrets/kubernetes.io/serviceaccount/token';
/** A login is used for this part of its lease, and for no longer than the given time. */
const LEASE_PART = 0.5;
const MAX_LOGIN_AGE_MS = 600_000;
/** What was read is remembered for this long: Vault is a dependency of every reading otherwise. */
const SECRET_AGE_MS = 60_000;
const FRESH_FLOOR_MS = 1_000;
const MAX_REMEMBERED = 5_000;

/** How one authentication may speak to Vault. */
export interface VaultContext {
  /** The authentication, as errors name it. */
  readonly label: string;
  /** Only a ClusterTriggerAuthentication is written by an administrator. */
  readonly trusted: boolean;
  /** A token of that service account in the authentication's namespace. */
  serviceAccountToken(name: string, signal: AbortSignal): Promise<string>;
  readonly signal: AbortSignal;
  readonly maxAgeMs: number | undefined;
}

export interface Vault {
  /** Parameter → value. Rejects with a {@link TriggerError}. */
  read(spec: VaultSpec, context: VaultContext): Promise<ReadonlyMap<string, string>>;
}

type Fields = Readonly<Record<string, unknown>>;

const loginAnswer = z.object({ auth: z.object({ client_token: z.string().min(1), lease_duration: z.number() }) });
const fields = z.record(z.string(), z.unknown());
const plainAnswer = z.object({ data: fields });
/** KV version 2 wraps the fields; a deleted secret has none. */
const versionedAnswer = z.object({ data: z.object({ data: fields.nullable(), metadata: fields }) });

/** Vault answered, but not with what was asked for. */
class VaultRefusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** `allowedAddresses`: the servers that may be given this process's own token or a file of its own. */
export function createVault(allowedAddresses: readonly string[]): Vault {
  const allowed = new Set(allowedAddresses.map((address) => new URL(address).origin));
  const logins = new LRUCache<string, string>({ max: MAX_REMEMBERED });
  const secrets = new LRUCache<string, Fields>({ max: MAX_REMEMBERED, ttl: SECRET_AGE_MS });

  async function tokenOf(spec: VaultSpec, context: VaultContext): Promise<string> {
    const { credential } = spec;
    if (spec.authentication === 'token') {
      if (credential?.token === undefined || credential.token === '') throw unresolved(context, 'credential.token is missing');
      return credential.token;
    }
    if (spec.role === undefined || spec.role === '') throw unresolved(context, 'role is missing');
    const key = loginKey(spec, context);
    const known = logins.get(key);
    if (known !== undefined) return known;
    const body = { role: spec.role, jwt: await identityOf(spec, context) };
    const answer = await ask(spec, context, `auth/${mountOf(spec)}/login`, undefined, body);
    const { client_token: token, lease_duration: leaseS } = loginAnswer.parse(answer).auth;
    logins.set(key, token, { ttl: Math.max(FRESH_FLOOR_MS, Math.min(MAX_LOGIN_AGE_MS, leaseS * 1000 * LEASE_PART)) });
    return token;
  }

  async function identityOf(spec: VaultSpec, context: VaultContext): Promise<string> {
    const name = spec.credential?.serviceAccountName;
    if (name !== undefined && name !== '') return await context.serviceAccountToken(name, context.signal);
    if (!allowed.has(new URL(spec.address).origin)) {
      throw new TriggerError(
        'NOT_ALLOWED',
        `${context.label}: Vault server ${new URL(spec.address).origin} may not be given this scaler's own token; name a service account in ` +
          'credential.serviceAccountName, or let an administrator add the server to --vault-addresses',
      );
    }
    const file = spec.credential?.serviceAccount;
    if (file !== undefined && file !== '' && file !== OWN_TOKEN_FILE && !context.trusted) {
      throw new TriggerError(
        'NOT_ALLOWED',
        `${context.label}: only a ClusterTriggerAuthentication may name a file in credential.serviceAccount`,
      );
    }
    try {
      return (await readFile(file === undefined || file === '' ? OWN_TOKEN_FILE : file, 'utf8')).trim();
    } catch {
      throw unresolved(context, 'the service account token file cannot be read');
    }
  }

  async function fieldsAt(spec: VaultSpec, context: VaultContext, path: string): Promise<Fields> {
    const token = await tokenOf(spec, context);
    const key = fingerprint(spec.address, spec.namespace, token, path);
    const known = secrets.get(key);
    const ageMs = SECRET_AGE_MS - secrets.getRemainingTTL(key);
    if (known !== undefined && ageMs <= Math.max(FRESH_FLOOR_MS, context.maxAgeMs ?? Infinity)) return known;
    const answer = await ask(spec, context, path, token);
    const versioned = versionedAnswer.safeParse(answer);
    const value = versioned.success ? versioned.data.data.data : plainAnswer.parse(answer).data;
    if (value === null) throw unresolved(context, `the Vault secret at ${path} is deleted`);
    secrets.set(key, value);
    return value;
  }

  /** A login can end before its time; one that was only remembered is then made anew. */
  async function fieldsAfterLogin(spec: VaultSpec, context: VaultContext, path: string) {
    try {
      return await fieldsAt(spec, context, path);
    } catch (thrown) {
      if (!(thrown instanceof VaultRefusal) || thrown.status !== 403 || !logins.delete(loginKey(spec, context))) throw thrown;
      return await fieldsAt(spec, context, path);
    }
  }

  return {
    async read(spec, context) {
      const parameters = new Map<string, string>();
      for (const { parameter, path, key, type = '' } of spec.secrets) {
        if (type === 'pki')
          throw unresolved(context, 'secrets of type pki are not issued by this scaler; keep the certificate in a Secret');
        try {
          const value = (await fieldsAfterLogin(spec, context, type === 'secretV2' ? withData(path) : path))[key];
          if (typeof value !== 'string') throw unresolved(context, `the Vault secret at ${path} has no text under key ${key}`);
          parameters.set(parameter, value);
        } catch (thrown) {
          if (thrown instanceof TriggerError) throw thrown;
          const { origin } = new URL(spec.address);
          const reason = thrown instanceof VaultRefusal ? thrown.message : 'gave no usable answer';
          throw unresolved(context, `Vault ${origin} ${reason} for ${path}`, thrown);
        }
      }
      return parameters;
    },
  };
}

function mountOf({ mount }: VaultSpec): string {
  return mount === undefined || mount === '' ? 'kubernetes' : mount;
}

function loginKey(spec: VaultSpec, context: VaultContext): string {
  const { address, namespace, role, credential } = spec;
  return fingerprint(
    context.label,
    address,
    namespace,
    mountOf(spec),
    role,
    credential?.serviceAccountName,
    credential?.serviceAccount,
  );
}

/** KV version 2 reads `mount/data/path`, which users write with and without `data`. */
function withData(path: string): string {
  const [mount, ...rest] = path.split('/');
  return rest[0] === 'data' ? path : [mount, 'data', ...rest].join('/');
}

async function ask(spec: VaultSpec, context: VaultContext, path: string, token?: string, body?: object): Promise<unknown> {
  const url = new URL(
    `v1/${path.split('/').map(encodeURIComponent).join('/')}`,
    spec.address.endsWith('/') ? spec.address : `${spec.address}/`,
  );
  const response = await request(url, {
    method: body === undefined ? 'GET' : 'POST',
    headers: {
      'x-vault-request': 'true',
      ...(token === undefined ? {} : { 'x-vault-token': token }),
      ...(spec.namespace === undefined || spec.namespace === '' ? {} : { 'x-vault-namespace': spec.namespace }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal: AbortSignal.any([context.signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]),
  });
  if (response.statusCode < 300) return await response.body.json();
  await response.body.dump();
  // Vault's error texts can repeat what was sent.
  throw new VaultRefusal(response.statusCode, `answered ${response.statusCode}`);
}

function unresolved({ label }: VaultContext, message: string, cause?: unknown): TriggerError {
  return new TriggerError('AUTHENTICATION_UNRESOLVED', `${label}: ${message}`, { cause });
}
