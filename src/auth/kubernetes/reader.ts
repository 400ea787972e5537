/**
 * Kubernetes objects from an API server: KEDA's own kinds from memory, kept by watches; everything else, Secrets
 * above all, one by one with `get`.
 */
import { z } from 'zod';
import { TriggerError } from '../../errors.ts';
import type { EventOwner } from '../eventSink.ts';
import type { ObjectReader } from '../objectReader.ts';
import { apiVersionOf, SERVED, type Kind, type ObjectOf } from '../objects.ts';
import { Secret } from '../secret.ts';
import { createApiClient, WATCHED_KINDS, type ApiClientOptions, type WatchedKind } from './apiClient.ts';
import { ApiFailure } from './apiFailure.ts';
import { writeEvent } from './eventWriter.ts';
import { createObjectCache } from './objectCache.ts';
import { startReflector, type Reflector, type ReflectorState, type ReflectorTiming } from './reflector.ts';

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

export interface KubernetesOptions extends ApiClientOptions, ReflectorTiming {
  readonly events?: KubernetesEvents;
}

/** Connects and begins to watch; rejects only where no cluster is configured, not where it is away. */
export async function openKubernetes(options: KubernetesOptions = {}): Promise<KubernetesReader> {
  const client = await createApiClient(options);
  const cache = createObjectCache<unknown>();
  const tokens = createObjectCache<Secret>();
  const plurals = createObjectCache<string>();
  const reflectors = Object.fromEntries(WATCHED_KINDS.map((kind) => [kind, reflect(kind)])) as Record<
    WatchedKind,
    Reflector<Parsed>
  >;

  function reflect(kind: WatchedKind): Reflector<Parsed> {
    return startReflector<Parsed>({
      ...options,
      kind,
      client,
      parse: (object) => parseWatched(kind, object),
      trouble: (failure) => options.events?.trouble(kind, failure.message),
    });
  }

  async function getOne(kind: Kind, namespace: string, name: string, maxAgeMs: number | undefined, signal: AbortSignal) {
    const what = kind === 'ClusterTriggerAuthentication' ? `${kind} ${name}` : `${kind} ${namespace}/${name}`;
    const fetch = async (bounded: AbortSignal): Promise<unknown> => {
      const object = await client.get(kind, namespace, name, bounded);
      return object === undefined ? undefined : unwrap(parse(kind, withoutUnread(kind, object), name));
    };
    return await asked(what, signal, () => cache.get(what, fetch, { signal, maxAgeMs, unvouched: isWatched(kind), isCertain }));
  }

  function ownersOf(namespace: string, name: string): EventOwner[] {
    return (['ScaledObject', 'ScaledJob'] as const).flatMap((kind) => {
      const object = reflectors[kind].get(`${namespace}/${name}`);
      const uid = object instanceof TriggerError ? undefined : object?.metadata.uid;
      return uid === undefined ? [] : [{ kind, namespace, name, uid }];
    });
  }

  return {
    server: client.server,
    namespace: client.namespace,
    synced: Promise.all(WATCHED_KINDS.map((kind) => reflectors[kind].synced)).then(() => undefined),
    watches: () => WATCHED_KINDS.map((kind) => reflectors[kind].state()),

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

    async custom(target, namespace, { signal, maxAgeMs }) {
      const { apiVersion, kind, name } = target;
      const what = `${kind} ${namespace}/${name}`;
      return await asked(what, signal, async () => {
        const fetchPlural = (bounded: AbortSignal) => client.pluralOf(target, bounded);
        const plural = await plurals.get(`${kind} ${apiVersion}`, fetchPlural, { signal, maxAgeMs: undefined, isCertain });
        if (plural === undefined) throw new ApiFailure(404, `the API server knows no kind ${kind} of ${apiVersion}`);
        const fetch = (bounded: AbortSignal) => client.getCustom(target, plural, namespace, bounded);
        return await cache.get(`${apiVersion} ${what}`, fetch, { signal, maxAgeMs, isCertain });
      });
    },

    async serviceAccountToken(namespace, name, signal) {
      const what = `a token of service account ${namespace}/${name}`;
      const create = async (bounded: AbortSignal) => new Secret(await client.createToken(namespace, name, bounded));
      return await asked(what, signal, async () => {
        const token = await tokens.get(what, create, { signal, maxAgeMs: undefined, isCertain });
        if (token === undefined) throw new ApiFailure(404, 'the API server gave none');
        return token.reveal();
      });
    },

    events: { ownersOf, write: (event, signal) => writeEvent(client, event, signal) },

    async close() {
      cache.close();
      tokens.close();
      plurals.close();
      await Promise.all(WATCHED_KINDS.map((kind) => reflectors[kind].close()));
      await client.close();
    },
  };
}

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

function isWatched(kind: Kind): kind is WatchedKind {
  return (WATCHED_KINDS as readonly Kind[]).includes(kind);
}

/** "Not there" and "not allowed" are answers; silence is not. */
function isCertain(failure: unknown): boolean {
  return failure instanceof TriggerError || (failure instanceof ApiFailure && [401, 403, 404].includes(failure.status));
}

const identity = z.looseObject({ metadata: z.looseObject({ name: z.string(), namespace: z.string().optional() }) });
const outline = z.looseObject({
  spec: z.looseObject({}),
  metadata: z.looseObject({ annotations: z.record(z.string(), z.string()).optional() }),
});
/** Fields of a spec that decide credentials; the others may be of a newer KEDA and must not matter here. */
const READ_FIELDS: Readonly<Partial<Record<Kind, readonly string[]>>> = {
  ScaledObject: ['scaleTargetRef', 'triggers'],
  ScaledJob: ['jobTargetRef', 'envSourceContainerName', 'triggers'],
};

function parseWatched(kind: WatchedKind, object: unknown): { readonly key: string; readonly value: Parsed } | undefined {
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
