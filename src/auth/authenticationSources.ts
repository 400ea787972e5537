/**
 * Reads everything a TriggerAuthentication or ClusterTriggerAuthentication names, in KEDA's order: a later source overwrites an
 * earlier one's parameter. It must never pass over what it cannot read, as a missing password would become an empty one.
 */
import { readFile } from 'node:fs/promises';
import { isAbsolute, resolve, sep } from 'node:path';
import { z } from 'zod';
import { TriggerError } from '../errors.ts';
import type { Environment } from './environment.ts';
import type { Parameter } from './crossNamespaceGuard.ts';
import type { ObjectReader, ReadOptions } from './objectReader.ts';
import { secretValues, type AuthenticationSpec } from './objects.ts';
import type { Vault } from './vault.ts';

/** What the sources of one authentication are read with. */
export interface SourceContext {
  /** The authentication, as errors name it: `TriggerAuthentication shop/broker`. */
  readonly label: string;
  /** Where ConfigMaps and service accounts are looked up. */
  readonly namespace: string;
  /** Where Secrets are looked up: another namespace where secret access is restricted. */
  readonly secretNamespace: string;
  /** The namespace of the trigger. */
  readonly triggerNamespace: string;
  /** Where `filePath` may lie; undefined where files may not be read. */
  readonly filePathRoot: string | undefined;
  /** Whether an administrator alone can have written the authentication. */
  readonly trusted: boolean;
  readonly vault: Vault;
  readonly reader: ObjectReader;
  /** Environment of the named container of the scale target, or of its first container. */
  environment(container: string | undefined): Promise<Environment>;
  readonly options: ReadOptions;
}

const textMap = z.record(z.string(), z.string());

type Parameters = Map<string, Parameter>;
type Source = (spec: AuthenticationSpec, context: SourceContext, parameters: Parameters) => Promise<void>;

const env: Source = async (spec, context, parameters) => {
  for (const { parameter, name, containerName } of spec.env ?? []) {
    const environment = await context.environment(containerName);
    const value = await environment.get(name);
    if (value === undefined) throw unresolved(context, `env: the scale target's container sets no variable ${name}`);
    parameters.set(parameter, { value, foreign: false });
  }
};

const configMaps: Source = async (spec, context, parameters) => {
  for (const { parameter, name, key } of spec.configMapTargetRef ?? []) {
    const { namespace } = context;
    const found = await context.reader.get('ConfigMap', namespace, name, context.options);
    if (found === undefined) throw unresolved(context, `ConfigMap ${namespace}/${name} does not exist`);
    const value = valueOf(found.data ?? {}, key, context, `ConfigMap ${namespace}/${name}`);
    parameters.set(parameter, { value, foreign: namespace !== context.triggerNamespace });
  }
};

const secrets: Source = async (spec, context, parameters) => {
  for (const { parameter, name, key } of spec.secretTargetRef ?? []) {
    parameters.set(parameter, await secretValue(context, name, key));
  }
};

const serviceAccountTokens: Source = async (spec, context, parameters) => {
  for (const { parameter, serviceAccountName } of spec.boundServiceAccountToken ?? []) {
    const value = await serviceAccountToken(context, serviceAccountName, context.options.signal);
    parameters.set(parameter, { value, foreign: context.namespace !== context.triggerNamespace });
  }
};

const hashiCorpVault: Source = async ({ hashiCorpVault: spec }, context, parameters) => {
  if (spec === undefined) return;
  const { label, trusted, options } = context;
  const values = await context.vault.read(spec, {
    label,
    trusted,
    signal: options.signal,
    maxAgeMs: options.maxAgeMs,
    serviceAccountToken: (name, signal) => serviceAccountToken(context, name, signal),
  });
  for (const [parameter, value] of values) {
    parameters.set(parameter, { value, foreign: context.namespace !== context.triggerNamespace });
  }
};

const oauth2: Source = async ({ oauth2: spec }, context, parameters) => {
  if (spec === undefined) return;
  const { name, key } = spec.clientSecret.valueFrom.secretKeyRef;
  const clientSecret = await secretValue(context, name, key);
  const beside = (value: string): Parameter => ({ value, foreign: clientSecret.foreign });
  parameters.set('oauthTokenURI', beside(spec.tokenUrl));
  parameters.set('clientID', beside(spec.clientId));
  parameters.set('clientSecret', clientSecret);
  parameters.set('scopes', beside((spec.scopes ?? []).join(',')));
  parameters.set('endpointParams', beside(new URLSearchParams(spec.tokenUrlParams ?? {}).toString()));
};

/** Sources that need a cloud provider's own client and identity, which this program does not carry. */
const CLOUD_SOURCES = ['azureKeyVault', 'gcpSecretManager', 'awsSecretManager'] as const;

const cloud: Source = (spec, context) => {
  for (const source of CLOUD_SOURCES) {
    if (spec[source] === undefined) continue;
    const remedy =
      'let the External Secrets operator (https://external-secrets.io) copy it into a Secret and use secretTargetRef';
    return Promise.reject(unresolved(context, `${source} is not read by this scaler; ${remedy}`));
  }
  const provider = spec.podIdentity?.provider ?? 'none';
  if (provider === 'none' || provider === '') return Promise.resolve();
  return Promise.reject(
    unresolved(context, `podIdentity ${provider} is not supported; give user name and password by secretTargetRef`),
  );
};

/** What KEDA itself reads from an external trigger's authentication, for its connection to this program; no broker's business. */
const KEDA_PARAMETERS = ['caCert', 'tlsClientCert', 'tlsClientKey'] as const;

/** In the order in which KEDA applies them. */
const SOURCES: readonly Source[] = [env, configMaps, secrets, hashiCorpVault, cloud, serviceAccountTokens, oauth2];

/** The file's map stands alone, as in KEDA. */
async function fileParameters(path: string, context: SourceContext): Promise<ReadonlyMap<string, Parameter>> {
  const { filePathRoot: root, label } = context;
  if (root === undefined) {
    throw unresolved(
      context,
      'filePath is for a ClusterTriggerAuthentication, and only where a folder for such files is configured',
    );
  }
  const file = resolve(root, path);
  if (isAbsolute(path) || !file.startsWith(resolve(root) + sep))
    throw unresolved(context, 'filePath must lie inside the configured folder');
  try {
    const map = textMap.parse(JSON.parse(await readFile(file, { encoding: 'utf8', signal: context.options.signal })));
    return new Map(Object.entries(map).map(([parameter, value]) => [parameter, { value, foreign: true }]));
  } catch {
    // What is wrong with the file's text could show the text.
    throw new TriggerError('AUTHENTICATION_UNRESOLVED', `${label}: file ${path} cannot be read as a JSON object of strings`);
  }
}

/** Parameter → value. Rejects with a {@link TriggerError} that names what could not be read. */
export async function readParameters(spec: AuthenticationSpec, context: SourceContext): Promise<ReadonlyMap<string, Parameter>> {
  if (spec.filePath !== undefined && spec.filePath !== '') return fileParameters(spec.filePath, context);
  const parameters: Parameters = new Map();
  for (const source of SOURCES) await source(spec, context, parameters);
  for (const name of KEDA_PARAMETERS) parameters.delete(name);
  return parameters;
}

async function serviceAccountToken(context: SourceContext, name: string, signal: AbortSignal): Promise<string> {
  const { reader, namespace } = context;
  if (reader.serviceAccountToken !== undefined) return await reader.serviceAccountToken(namespace, name, signal);
  throw unresolved(context, `a token of service account ${name} needs a Kubernetes API server`);
}

async function secretValue(context: SourceContext, name: string, key: string): Promise<Parameter> {
  const { secretNamespace: namespace } = context;
  const found = await context.reader.get('Secret', namespace, name, context.options);
  if (found === undefined) throw unresolved(context, `Secret ${namespace}/${name} does not exist`);
  const value = valueOf(secretValues(found), key, context, `Secret ${namespace}/${name}`);
  return { value, foreign: namespace !== context.triggerNamespace };
}

function valueOf(values: Readonly<Record<string, string>>, key: string, context: SourceContext, owner: string): string {
  const value = Object.hasOwn(values, key) ? values[key] : undefined;
  if (value !== undefined) return value;
  const keys = Object.keys(values).sort();
  const there = keys.length === 0 ? 'it is empty' : `it has ${keys.slice(0, 10).join(', ')}`;
  throw unresolved(context, `${owner} has no key ${key}; ${there}`);
}

function unresolved({ label }: SourceContext, message: string): TriggerError {
  return new TriggerError('AUTHENTICATION_UNRESOLVED', `${label}: ${message}`);
}
