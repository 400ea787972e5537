/**
 * The API server by the client library's typed APIs and its watch, with what they lack: a deadline for each request, and a 429
 * waited out where the time allows.
 *
 * The size of an answer is bounded by the API server: it stores no object of more than some 1.5 MB, and a list comes in pages.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Configuration, ObservableMiddleware } from '@kubernetes/client-node';
import { z } from 'zod';
import { untilAborted } from '../../abort.ts';
import type { OwnerEvent } from '../eventSink.ts';
import type { TargetReference } from '../objectReader.ts';
import type { Kind } from '../objects.ts';
import { ApiFailure, refusal, unreachable } from './apiFailure.ts';
import { connectTo } from './connection.ts';
import { watchFrom, type WatchListener } from './watch.ts';

/** One object by name; a trigger's caller waits for it. */
const GET_TIMEOUT_MS = 1_500;
/** One page of a list. */
const LIST_TIMEOUT_MS = 30_000;
const LIST_PAGE_SIZE = 500;
/** Nobody waits for an Event. */
const EVENT_TIMEOUT_MS = 5_000;
/** Who an Event comes from, as `kubectl describe` shows it. */
const EVENT_SOURCE = 'keda-queue-scaler';
/** A service account token is asked for with this lifetime, which outlasts the cache's last good answer. */
const TOKEN_LIFETIME_S = 7200;

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

export type ApiClient = Awaited<ReturnType<typeof createApiClient>>;

export interface ApiClientOptions {
  /** A kubeconfig's path; without it, `KUBECONFIG`, `~/.kube/config` or the pod's service account. */
  readonly kubeconfig?: string;
  readonly watchSilenceMs?: number;
}

/** What the library's APIs take for a single request. */
type CallOptions = Pick<Configuration, 'middleware'>;

const listPage = z.object({
  metadata: z.object({ resourceVersion: z.string(), continue: z.string().optional() }),
  items: z.array(z.unknown()),
});

/** Rejects where no cluster is configured; all that is asked of it rejects with an {@link ApiFailure}. */
export async function createApiClient(options: ApiClientOptions = {}) {
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

  /** The library sends every patch as a JSON patch. */
  const asMergePatch: ObservableMiddleware = {
    pre(context) {
      context.setHeaderParam('Content-Type', 'application/merge-patch+json');
      return new library.Observable(Promise.resolve(context));
    },
    post: (context) => new library.Observable(Promise.resolve(context)),
  };

  function failureOf(thrown: unknown, isAnswered: boolean): ApiFailure {
    if (!(thrown instanceof library.ApiException))
      return isAnswered ? new ApiFailure(0, 'the API server’s answer cannot be read', { cause: thrown }) : unreachable(thrown);
    // Without the exception as its cause, whose message repeats the whole answer.
    return refusal(thrown.code, thrown.body, thrown.headers['retry-after']);
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

  async function unlessMissing<T>(asked: Promise<T>): Promise<T | undefined> {
    try {
      return await asked;
    } catch (thrown) {
      if (thrown instanceof ApiFailure && thrown.status === 404) return undefined;
      throw thrown;
    }
  }

  return {
    /** The server's address, for logs. */
    server,
    /** The namespace that this process runs in, if it does. */
    namespace,

    /** Undefined where there is none; `namespace` is ignored for kinds that have none. */
    get(kind: Kind, namespace: string, name: string, signal: AbortSignal): Promise<unknown> {
      return unlessMissing(call(GET_TIMEOUT_MS, signal, (bounded) => read(kind, { namespace, name }, bounded)));
    },

    /** What the API calls the kind's collection; undefined where it does not know the kind. Only kinds of a group can be looked up. */
    async pluralOf({ apiVersion, kind }: TargetReference, signal: AbortSignal): Promise<string | undefined> {
      const [group = '', version = ''] = apiVersion.split('/');
      if (version === '') return undefined;
      const known = await unlessMissing(
        call(GET_TIMEOUT_MS, signal, (bounded) => custom.getAPIResources({ group, version }, bounded)),
      );
      return known?.resources.find((resource) => resource.kind === kind && !resource.name.includes('/'))?.name;
    },

    /** Of any kind of a group. */
    getCustom({ apiVersion, name }: TargetReference, plural: string, namespace: string, signal: AbortSignal): Promise<unknown> {
      const [group = '', version = ''] = apiVersion.split('/');
      const at = { group, version, plural, namespace, name };
      return unlessMissing(call(GET_TIMEOUT_MS, signal, (bounded) => custom.getNamespacedCustomObject(at, bounded)));
    },

    /** All objects of the kind, page after page; resolves with the version to watch from. */
    async list(kind: WatchedKind, each: (object: unknown) => void, signal: AbortSignal): Promise<string> {
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

    /** Reports events until the server ends the watch; rejects with status 410 where the version is too old. */
    watch(kind: WatchedKind, resourceVersion: string, listener: WatchListener, signal: AbortSignal): Promise<void> {
      const path = `/apis/${KEDA.group}/${KEDA.version}/${COLLECTIONS[kind]}`;
      return watchFrom({ watcher, path, resourceVersion }, listener, signal, options.watchSilenceMs);
    },

    async createToken(namespace: string, name: string, signal: AbortSignal): Promise<string> {
      const body = new library.AuthenticationV1TokenRequest();
      body.spec = Object.assign(new library.V1TokenRequestSpec(), { expirationSeconds: TOKEN_LIFETIME_S });
      const { status: created } = await call(GET_TIMEOUT_MS, signal, (bounded) =>
        core.createNamespacedServiceAccountToken({ namespace, name, body }, bounded),
      );
      if (created?.token === undefined) throw new ApiFailure(0, 'the API server answered with something that is no token');
      return created.token;
    },

    async createEvent(event: OwnerEvent, signal: AbortSignal): Promise<void> {
      const { owner, name, firstAt: firstTimestamp, lastAt: lastTimestamp, type, reason, message, count } = event;
      const { namespace } = owner;
      const body = Object.assign(new library.CoreV1Event(), {
        apiVersion: 'v1',
        kind: 'Event',
        metadata: Object.assign(new library.V1ObjectMeta(), { namespace, name }),
        involvedObject: Object.assign(new library.V1ObjectReference(), { apiVersion: `${KEDA.group}/${KEDA.version}`, ...owner }),
        source: Object.assign(new library.V1EventSource(), { component: EVENT_SOURCE }),
        reportingComponent: EVENT_SOURCE,
        ...{ type, reason, message, count, firstTimestamp, lastTimestamp },
      });
      await call(EVENT_TIMEOUT_MS, signal, (bounded) => core.createNamespacedEvent({ namespace, body }, bounded));
    },

    /** Counts an Event that is there. */
    async patchEvent({ owner, name, message, count, lastAt: lastTimestamp }: OwnerEvent, signal: AbortSignal): Promise<void> {
      const change = { namespace: owner.namespace, name, body: { message, count, lastTimestamp } };
      await call(EVENT_TIMEOUT_MS, signal, ({ middleware }) =>
        core.patchNamespacedEvent(change, { middleware: [...middleware, asMergePatch] }),
      );
    },

    close: () => connection.close(),
  };
}
