/**
 * The API server by the client library's typed APIs and its watch, with what they lack: a deadline for each request, a 429 waited out
 * where the time allows, and one kind of failure that tells "not there" and "not allowed" from "no answer".
 *
 * The size of an answer is bounded by the API server: it stores no object of more than some 1.5 MB, and a list comes in pages.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ObservableMiddleware } from '@kubernetes/client-node';
import { z } from 'zod';
import { onAbort, untilAborted } from '../../abort.ts';
import { TriggerError } from '../../errors.ts';
import type { Kind } from '../objects.ts';
import { connectTo } from './connection.ts';

/** One object by name; a trigger's caller waits for it. */
const GET_TIMEOUT_MS = 1_500;
/** One page of a list. */
const LIST_TIMEOUT_MS = 30_000;
const LIST_PAGE_SIZE = 500;
/** The server sends a bookmark about once a minute; a watch that says nothing for longer than that is taken for dead. */
export const WATCH_SILENCE_MS = 90_000;
/** The server is asked to end a watch after between this and twice this time, as client-go does. */
const WATCH_LIFETIME_S = 300;
/** A service account token is asked for with this lifetime, which outlasts the cache's last good answer. */
const TOKEN_LIFETIME_S = 7200;

const MAX_RETRY_AFTER_MS = 30_000;
/** The library's watch reports the status of a refusal only; an overloaded API server says 1 s in `Retry-After`. */
const WATCH_RETRY_AFTER_MS = 1_000;

const KEDA = { group: 'keda.sh', version: 'v1alpha1' };
/** KEDA's kinds, which may be listed and watched, with the names of their collections. */
const COLLECTIONS = {
  ScaledObject: 'scaledobjects',
  ScaledJob: 'scaledjobs',
  TriggerAuthentication: 'triggerauthentications',
  ClusterTriggerAuthentication: 'clustertriggerauthentications',
} as const;
export type WatchedKind = keyof typeof COLLECTIONS;
export const WATCHED_KINDS = Object.keys(COLLECTIONS) as WatchedKind[];

/** What one watch event is about. */
export interface WatchEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  readonly object: unknown;
  readonly resourceVersion: string;
}

/** The API server did not give what was asked for. */
export class ApiFailure extends Error {
  /** HTTP status; 0 where there was no answer. */
  readonly status: number;
  /** How long the server wants to be left alone, in ms. */
  readonly retryAfterMs: number | undefined;

  constructor(
    status: number,
    message: string,
    options?: { readonly cause?: unknown; readonly retryAfterMs?: number | undefined },
  ) {
    super(message, options);
    this.status = status;
    this.retryAfterMs = options?.retryAfterMs;
  }

  /** As a trigger's caller must hear it; `what` is what could not be had. */
  toTriggerError(what: string): TriggerError {
    return new TriggerError('AUTHENTICATION_UNRESOLVED', `${what} could not be read: ${this.message}`, { cause: this });
  }
}

export interface ApiClient {
  /** The server's address, for logs. */
  readonly server: string;
  /** The namespace that this process runs in, if it does. */
  readonly namespace: string | undefined;
  /** Undefined where there is none; `namespace` is ignored for kinds that have none. Rejects with an {@link ApiFailure}. */
  get(kind: Kind, namespace: string, name: string, signal: AbortSignal): Promise<unknown>;
  /** All objects of the kind, page after page; resolves with the version to watch from. */
  list(kind: WatchedKind, each: (object: unknown) => void, signal: AbortSignal): Promise<string>;
  /** Reports events until the server ends the watch; rejects with an {@link ApiFailure}, of status 410 where the version is too old. */
  watch(kind: WatchedKind, resourceVersion: string, on: WatchListener, signal: AbortSignal): Promise<void>;
  createToken(namespace: string, serviceAccount: string, signal: AbortSignal): Promise<string>;
  close(): Promise<void>;
}

export interface WatchListener {
  /** The server has begun to answer. */
  opened(): void;
  event(event: WatchEvent): void;
}

export interface ApiClientOptions {
  /** A kubeconfig's path; without it, `KUBECONFIG`, `~/.kube/config` or the pod's service account. */
  readonly kubeconfig?: string;
  readonly watchSilenceMs?: number;
}

/** What the library's APIs take for a single request. */
interface CallOptions {
  middleware: ObservableMiddleware[];
}

const listPage = z.object({
  metadata: z.object({ resourceVersion: z.string(), continue: z.string().optional() }),
  items: z.array(z.unknown()),
});
const watchEvent = z.object({
  type: z.enum(['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK', 'ERROR']),
  object: z.looseObject({
    metadata: z.looseObject({ resourceVersion: z.string().optional() }).optional(),
    code: z.number().optional(),
    message: z.string().optional(),
  }),
});
const status = z.object({ message: z.string() });

/** Rejects where no cluster is configured. */
export async function createApiClient(options: ApiClientOptions = {}): Promise<ApiClient> {
  const connection = await connectTo(options.kubeconfig).catch((thrown: unknown) => {
    throw new ApiFailure(0, `no cluster is configured: ${thrown instanceof Error ? thrown.message : 'unknown reason'}`, {
      cause: thrown,
    });
  });
  const { library, config, server, namespace } = connection;
  const core = config.makeApiClient(library.CoreV1Api);
  const apps = config.makeApiClient(library.AppsV1Api);
  const custom = config.makeApiClient(library.CustomObjectsApi);
  const watcher = new library.Watch(config);
  // Its own bound on silence is 30 s, which would end every quiet watch between two bookmarks.
  watcher['requestTimeoutMs'] = options.watchSilenceMs ?? WATCH_SILENCE_MS;

  /** The library's request, bounded, with its failure as an {@link ApiFailure}. */
  async function call<T>(timeoutMs: number, signal: AbortSignal, ask: (options: CallOptions) => Promise<T>): Promise<T> {
    const deadline = performance.now() + timeoutMs;
    const bounded = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    let isAnswered = false;
    const middleware: ObservableMiddleware = {
      pre(context) {
        isAnswered = false;
        context.setSignal(bounded);
        return new library.Observable(Promise.resolve(context));
      },
      post(context) {
        isAnswered = true;
        return new library.Observable(Promise.resolve(context));
      },
    };
    for (;;) {
      try {
        // The signal reaches the request; what precedes it, a plugin for credentials for one, is not waited for.
        return await untilAborted(ask({ middleware: [middleware] }), bounded);
      } catch (thrown) {
        const failure = bounded.aborted ? undefined : failureOf(thrown, isAnswered);
        if (failure === undefined) throw new ApiFailure(0, 'the API server did not answer in time', { cause: thrown });
        const wait = failure.retryAfterMs;
        if (wait === undefined || performance.now() + wait >= deadline) throw failure;
        await sleep(wait, undefined, { signal: bounded, ref: false }).catch(() => undefined);
      }
    }
  }

  function failureOf(thrown: unknown, isAnswered: boolean): ApiFailure {
    if (!(thrown instanceof library.ApiException))
      return new ApiFailure(0, isAnswered ? 'the API server’s answer cannot be read' : UNREACHABLE, { cause: thrown });
    const seconds = Number(thrown.headers['retry-after']);
    const retryAfterMs = seconds > 0 ? Math.min(seconds * 1000, MAX_RETRY_AFTER_MS) : undefined;
    // Without the exception as its cause, whose message repeats the whole answer.
    return new ApiFailure(thrown.code, `the API server answered ${thrown.code}${reasonIn(thrown.body)}`, { retryAfterMs });
  }

  function read(kind: Kind, at: { readonly namespace: string; readonly name: string }, bounded: CallOptions): Promise<unknown> {
    switch (kind) {
      case 'Secret':
        return core.readNamespacedSecret(at, bounded);
      case 'ConfigMap':
        return core.readNamespacedConfigMap(at, bounded);
      case 'Deployment':
        return apps.readNamespacedDeployment(at, bounded);
      case 'StatefulSet':
        return apps.readNamespacedStatefulSet(at, bounded);
      case 'ClusterTriggerAuthentication':
        return custom.getClusterCustomObject({ ...KEDA, plural: COLLECTIONS[kind], name: at.name }, bounded);
      case 'ScaledObject':
      case 'ScaledJob':
      case 'TriggerAuthentication':
        return custom.getNamespacedCustomObject({ ...KEDA, plural: COLLECTIONS[kind], ...at }, bounded);
    }
  }

  return {
    server,
    namespace,

    async get(kind, namespace, name, signal) {
      try {
        return await call(GET_TIMEOUT_MS, signal, (bounded) => read(kind, { namespace, name }, bounded));
      } catch (thrown) {
        if (thrown instanceof ApiFailure && thrown.status === 404) return undefined;
        throw thrown;
      }
    },

    async list(kind, each, signal) {
      const collection = { ...KEDA, resourcePlural: COLLECTIONS[kind], limit: LIST_PAGE_SIZE };
      let next: { readonly _continue?: string } = {};
      for (;;) {
        const answer: unknown = await call(LIST_TIMEOUT_MS, signal, (bounded) =>
          custom.listCustomObjectForAllNamespaces({ ...collection, ...next }, bounded),
        );
        const page = listPage.safeParse(answer);
        if (!page.success) throw new ApiFailure(0, 'the API server answered with something that is no list');
        for (const item of page.data.items) each(item);
        const { resourceVersion, continue: token = '' } = page.data.metadata;
        if (token === '') return resourceVersion;
        next = { _continue: token };
      }
    },

    async watch(kind, resourceVersion, on, signal) {
      const over = new AbortController();
      let isOpen = false;
      const events = new Promise<void>((resolve, reject) => {
        const query = {
          allowWatchBookmarks: true,
          resourceVersion,
          timeoutSeconds: Math.round(WATCH_LIFETIME_S * (1 + Math.random())),
        };
        const report = (type: string, object: unknown): void => {
          if (over.signal.aborted) return;
          try {
            on.event(eventOf(type, object));
          } catch (thrown) {
            reject(thrown instanceof Error ? thrown : new Error('a watch event cannot be used', { cause: thrown }));
          }
        };
        const done = (thrown: unknown): void => {
          if (thrown === null) resolve();
          else reject(watchFailure(thrown, isOpen));
          over.abort();
        };
        watcher
          .watch(`/apis/${KEDA.group}/${KEDA.version}/${COLLECTIONS[kind]}`, query, report, done)
          .then((request) => {
            onAbort(over.signal, () => {
              request.abort();
            });
            if (over.signal.aborted) return;
            isOpen = true;
            on.opened();
          })
          .catch(done);
      });
      try {
        await untilAborted(events, signal);
      } finally {
        over.abort();
      }
    },

    async createToken(namespace, name, signal) {
      const body = new library.AuthenticationV1TokenRequest();
      body.spec = Object.assign(new library.V1TokenRequestSpec(), { expirationSeconds: TOKEN_LIFETIME_S });
      const { status: created } = await call(GET_TIMEOUT_MS, signal, (bounded) =>
        core.createNamespacedServiceAccountToken({ namespace, name, body }, bounded),
      );
      if (created?.token === undefined) throw new ApiFailure(0, 'the API server answered with something that is no token');
      return created.token;
    },

    close: () => connection.close(),
  };
}

const UNREACHABLE = 'the API server cannot be reached';

/** In parentheses, what the server says of its refusal; the typed APIs give the body as a text or an object. */
function reasonIn(body: unknown): string {
  let parsed = body;
  try {
    if (typeof body === 'string') parsed = JSON.parse(body);
  } catch {
    return '';
  }
  const said = status.safeParse(parsed);
  return said.success ? ` (${said.data.message})` : '';
}

/** `thrown` is what the library's watch ended with. */
function watchFailure(thrown: unknown, isOpen: boolean): ApiFailure {
  const { name, statusCode } = thrown as { readonly name?: unknown; readonly statusCode?: unknown };
  if (typeof statusCode === 'number') {
    const retryAfterMs = statusCode === 429 ? WATCH_RETRY_AFTER_MS : undefined;
    return new ApiFailure(statusCode, `the API server answered ${statusCode}`, { retryAfterMs });
  }
  if (!isOpen) return new ApiFailure(0, UNREACHABLE, { cause: thrown });
  return new ApiFailure(0, name === 'TimeoutError' ? 'the watch fell silent' : 'the watch broke', { cause: thrown });
}

function eventOf(type: string, object: unknown): WatchEvent {
  const event = watchEvent.safeParse({ type, object });
  if (!event.success) throw new ApiFailure(0, 'the watch sent something that is no event');
  const { metadata, code = 0, message = 'no reason given' } = event.data.object;
  if (event.data.type === 'ERROR') throw new ApiFailure(code, `the watch ended: ${message}`);
  return { type: event.data.type, object, resourceVersion: metadata?.resourceVersion ?? '' };
}
