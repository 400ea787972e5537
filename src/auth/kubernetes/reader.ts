/**
 * Kubernetes objects from an API server: KEDA's own kinds from memory, kept by watches; everything else one by one with `get`. It
 * must never list or watch Secrets.
 */
import { z } from 'zod';
import { TriggerError } from '../../errors.ts';
import type { ObjectReader } from '../objectReader.ts';
import { apiVersionOf, SERVED, type Kind, type ObjectOf } from '../objects.ts';
import { Secret } from '../secret.ts';
import { ApiFailure, createApiClient, type ApiClient, type ApiClientOptions } from './apiClient.ts';
import { createObjectCache } from './objectCache.ts';
import { startReflector, type Reflector, type ReflectorState } from './reflector.ts';

/** The kinds that are watched. */
const WATCHED = ['ScaledObject', 'ScaledJob', 'TriggerAuthentication', 'ClusterTriggerAuthentication'] as const;
type Watched = (typeof WATCHED)[number];

const KEDA = '/apis/keda.sh/v1alpha1';
/** Where each kind lies: its collection, and the part before `namespaces/`. */
const RESOURCES: Readonly<Record<Kind, readonly [group: string, collection: string]>> = {
  ScaledObject: [KEDA, 'scaledobjects'],
  ScaledJob: [KEDA, 'scaledjobs'],
  TriggerAuthentication: [KEDA, 'triggerauthentications'],
  ClusterTriggerAuthentication: [KEDA, 'clustertriggerauthentications'],
  Deployment: ['/apis/apps/v1', 'deployments'],
  StatefulSet: ['/apis/apps/v1', 'statefulsets'],
  Secret: ['/api/v1', 'secrets'],
  ConfigMap: ['/api/v1', 'configmaps'],
};

/** A service account token is asked for with this lifetime, which outlasts the cache's last good answer. */
const TOKEN_LIFETIME_S = 7200;

/** What the reader tells whoever watches it from outside. */
export interface KubernetesEvents {
  /** A watch or list failed; it goes on by itself. */
  trouble(kind: string, message: string): void;
}

export interface KubernetesReader extends ObjectReader {
  readonly server: string;
  /** The namespace that this process runs in, if it does. */
  readonly namespace: string | undefined;
  /** Resolves when all watched kinds have been listed once. Until then objects are read one by one. */
  readonly synced: Promise<void>;
  watches(): readonly ReflectorState[];
}

export interface KubernetesOptions extends ApiClientOptions {
  readonly events?: KubernetesEvents;
  readonly relistMs?: number;
  readonly firstBackoffMs?: number;
}

/** Connects and begins to watch; rejects only where no cluster is configured, not where it is away. */
export async function openKubernetes(options: KubernetesOptions = {}): Promise<KubernetesReader> {
  const client = await createApiClient(options);
  return createKubernetesReader(client, options);
}

export function createKubernetesReader(client: ApiClient, options: KubernetesOptions = {}): KubernetesReader {
  const cache = createObjectCache<unknown>();
  const tokens = createObjectCache<Secret>();
  const reflectors = Object.fromEntries(WATCHED.map((kind) => [kind, reflect(kind)])) as Record<Watched, Reflector<Parsed>>;

  function reflect(kind: Watched): Reflector<Parsed> {
    const [group, collection] = RESOURCES[kind];
    return startReflector<Parsed>({
      kind,
      path: `${group}/${collection}`,
      client,
      parse: (object) => parseWatched(kind, object),
      trouble: (failure) => options.events?.trouble(kind, failure.message),
      ...(options.relistMs === undefined ? {} : { relistMs: options.relistMs }),
      ...(options.firstBackoffMs === undefined ? {} : { firstBackoffMs: options.firstBackoffMs }),
    });
  }

  async function getOne(kind: Kind, namespace: string, name: string, maxAgeMs: number | undefined, signal: AbortSignal) {
    const path = pathOf(kind, namespace, name);
    const fetch = async (bounded: AbortSignal): Promise<unknown> => {
      const object = await client.get(path, bounded);
      return object === undefined ? undefined : unwrap(parse(kind, withoutUnread(kind, object), name));
    };
    const what = kind === 'ClusterTriggerAuthentication' ? `${kind} ${name}` : `${kind} ${namespace}/${name}`;
    return await asked(what, signal, () => cache.get(path, fetch, { signal, maxAgeMs, unvouched: isWatched(kind), isCertain }));
  }

  return {
    server: client.server,
    namespace: client.namespace,
    synced: Promise.all(WATCHED.map((kind) => reflectors[kind].synced)).then(() => undefined),
    watches: () => WATCHED.map((kind) => reflectors[kind].state()),

    async get<K extends Kind>(
      kind: K,
      namespace: string,
      name: string,
      { signal, maxAgeMs }: { signal: AbortSignal; maxAgeMs?: number },
    ) {
      if (!isWatched(kind)) return (await getOne(kind, namespace, name, maxAgeMs, signal)) as ObjectOf<K> | undefined;
      const reflector = reflectors[kind];
      const remembered = reflector.get(kind === 'ClusterTriggerAuthentication' ? name : `${namespace}/${name}`);
      // A watch lags a little, and a broken one lags much: a caller that will have no answer from memory asks the server itself.
      const fromMemory = maxAgeMs === undefined && (remembered !== undefined || reflector.state().synced);
      const found = fromMemory ? remembered && unwrap(remembered) : await getOne(kind, namespace, name, maxAgeMs, signal);
      return found as ObjectOf<K> | undefined;
    },

    async serviceAccountToken(namespace, name, signal) {
      const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/serviceaccounts/${encodeURIComponent(name)}/token`;
      const body = {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenRequest',
        spec: { expirationSeconds: TOKEN_LIFETIME_S },
      };
      const create = async (bounded: AbortSignal) => {
        const answer = tokenAnswer.safeParse(await client.create(path, body, bounded));
        if (!answer.success) throw new ApiFailure(0, 'the API server answered with something that is no token');
        return new Secret(answer.data.status.token);
      };
      return await asked(`a token of service account ${namespace}/${name}`, signal, async () => {
        const token = await tokens.get(path, create, { signal, maxAgeMs: undefined, isCertain });
        if (token === undefined) throw new ApiFailure(404, 'the API server gave none');
        return token.reveal();
      });
    },

    async close() {
      cache.close();
      tokens.close();
      await Promise.all(WATCHED.map((kind) => reflectors[kind].close()));
      await client.close();
    },
  };
}

const tokenAnswer = z.object({ status: z.object({ token: z.string().min(1) }) });

/** Runs the request; its failure is told as that of `what`. */
async function asked<T>(what: string, signal: AbortSignal, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (thrown) {
    if (thrown instanceof ApiFailure) throw thrown.toTriggerError(what);
    if (!signal.aborted) throw thrown;
    throw new ApiFailure(0, 'the API server did not answer in time', { cause: thrown }).toTriggerError(what);
  }
}

/** An object, or why it cannot be used. */
type Parsed = ObjectOf<Kind> | TriggerError;

function isWatched(kind: Kind): kind is Watched {
  return (WATCHED as readonly Kind[]).includes(kind);
}

/** "Not there" and "not allowed" are answers; silence is not. */
function isCertain(failure: unknown): boolean {
  return failure instanceof TriggerError || (failure instanceof ApiFailure && [401, 403, 404].includes(failure.status));
}

function pathOf(kind: Kind, namespace: string, name: string): string {
  const [group, collection] = RESOURCES[kind];
  const scope = kind === 'ClusterTriggerAuthentication' ? '' : `/namespaces/${encodeURIComponent(namespace)}`;
  return `${group}${scope}/${collection}/${encodeURIComponent(name)}`;
}

const identity = z.looseObject({ metadata: z.looseObject({ name: z.string(), namespace: z.string().optional() }) });
const outline = z.looseObject({
  spec: z.record(z.string(), z.unknown()),
  metadata: z.looseObject({ annotations: z.record(z.string(), z.string()).optional() }),
});
/** Fields of a spec that decide credentials; the others may be of a newer KEDA and must not matter here. */
const READ_FIELDS: Readonly<Partial<Record<Kind, readonly string[]>>> = {
  ScaledObject: ['scaleTargetRef', 'triggers'],
  ScaledJob: ['jobTargetRef', 'envSourceContainerName', 'triggers'],
};

function parseWatched(kind: Watched, object: unknown): { readonly key: string; readonly value: Parsed } | undefined {
  const identified = identity.safeParse(object);
  if (!identified.success) return undefined;
  const { name, namespace } = identified.data.metadata;
  const key = namespace === undefined ? name : `${namespace}/${name}`;
  return { key, value: parse(kind, withoutUnread(kind, object), key) };
}

/** The object without what is not read of it: memory for ten thousand, and no quarrel with fields of a newer KEDA. */
function withoutUnread(kind: Kind, object: unknown): unknown {
  const fields = READ_FIELDS[kind];
  const parsed = outline.safeParse(object);
  // Items of a list do not always say their kind.
  const base = { apiVersion: apiVersionOf(kind), kind };
  if (!parsed.success) return { ...(object as object), ...base };
  const { metadata, spec } = parsed.data;
  const annotations = Object.entries(metadata.annotations ?? {});
  return {
    ...base,
    metadata: {
      ...metadata,
      annotations: Object.fromEntries(annotations.filter(([key]) => key.startsWith('keda-queue-scaler/'))),
    },
    spec: fields === undefined ? spec : Object.fromEntries(Object.entries(spec).filter(([key]) => fields.includes(key))),
  };
}

function parse(kind: Kind, object: unknown, name: string): Parsed {
  const result = (SERVED[kind] as z.ZodType<ObjectOf<Kind>>).safeParse(object);
  if (result.success) return result.data;
  const issues = result.error.issues.slice(0, 5).map(({ path, message }) => `${path.join('.')} ${message}`);
  return new TriggerError('AUTHENTICATION_UNRESOLVED', `${kind} ${name} cannot be used: ${issues.join('; ')}`);
}

function unwrap(parsed: Parsed): ObjectOf<Kind> {
  if (parsed instanceof TriggerError) throw parsed;
  return parsed;
}
