/**
 * A double of the Kubernetes API server that speaks the wire: get, list in pages, watch with bookmarks, create, merge patch, delete,
 * token requests, tables as kubectl prints them, and the ways in which all of that fails. It lets through only what RBAC allows. It has
 * more than 300 lines because every part answers one request or shapes the answers to the next.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer as createHttpServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { TLSSocket } from 'node:tls';
import { boundRules, mayDo, type Attempt, type Identity, type Rule } from './authorizer.ts';
import { kubeconfigOf } from './kubeconfig.ts';
import { createObjectStore, RESOURCES, type KubernetesObject, type ObjectStore } from './objectStore.ts';
import { hpaTable } from './table.ts';
import { mergePatch, stored } from './manifests.ts';

export type { Rule } from './authorizer.ts';
export type { KubernetesObject } from './objectStore.ts';

/** One request as the server saw it. */
export interface SeenRequest {
  readonly verb: string;
  readonly resource: string;
  readonly path: string;
  readonly status: number;
  /** Common name of the client certificate, where one came. */
  readonly certificate?: string;
}

export interface ApiServer {
  readonly url: string;
  /** A kubeconfig file for the service account. */
  readonly kubeconfig: string;
  /** A kubeconfig file for whoever may do everything. */
  readonly adminKubeconfig: string;
  readonly requests: SeenRequest[];
  /** Connections that were made, over all time. */
  readonly connections: () => number;
  /** What is kept, past RBAC; for controllers that live in the double. */
  readonly store: ObjectStore;
  put(...objects: readonly KubernetesObject[]): void;
  delete(kind: 'ScaledObject' | 'Secret', namespace: string, name: string): void;
  /** From now on every request waits so long. */
  delay(ms: number): void;
  /** From now on every request is answered with this status; undefined: no more. */
  fail(status: number | undefined, retryAfterS?: number): void;
  /** Watches that are open stay open and say nothing any more, as behind a firewall that has forgotten them. */
  deafenWatches(): void;
  /** Forgets the past: a watch from an old version gets 410, and open ones end. */
  compact(): void;
  /** Ends all open watches in order. */
  endWatches(): void;
  bookmark(): void;
  openWatches(): number;
  stop(): Promise<void>;
  /** On the same port, with the same objects. */
  start(): Promise<void>;
  close(): Promise<void>;
}

export interface ApiServerOptions {
  /** Whether KEDA's group is served to whoever asks what there is. */
  readonly keda?: boolean;
  /** PEM; with these TLS is served, and a client certificate of that authority is a login as the service account. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly clientCa: string };
}

export const SCALER_TOKEN = 'token-of-the-scaler';
const ADMIN_TOKEN = 'token-of-the-admin';
const KEDA_GROUP = '/apis/keda.sh/v1alpha1';
const PATH =
  /^\/(?:api\/v1|apis\/(?<group>[^/]+)\/[^/]+)(?:\/namespaces\/(?<namespace>[^/]+)(?=\/[^/]))?\/(?<resource>[^/]+)(?:\/(?<name>[^/]+))?(?:\/(?<sub>[^/]+))?$/;
const VERBS: Readonly<Record<string, string>> = { POST: 'create', PATCH: 'patch', PUT: 'update', DELETE: 'delete' };

interface Watcher {
  readonly response: ServerResponse;
  readonly bookmarks: boolean;
  deaf: boolean;
}

export async function startApiServer(rules: readonly Rule[], options: ApiServerOptions = {}): Promise<ApiServer> {
  const store = createObjectStore();
  /** Tokens that were asked for, with their service account. */
  const issued = new Map<string, Exclude<Identity, string>>();
  const watchers = new Set<Watcher>();
  const requests: SeenRequest[] = [];
  let delayMs = 0;
  let failure: { readonly status: number; readonly retryAfterS: number | undefined } | undefined;
  let server: Server = createHttpServer();
  let port = 0;
  let connections = 0;

  function reply(response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): number {
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
    return status;
  }

  function refuse(response: ServerResponse, status: number, message: string, headers: Record<string, string> = {}): number {
    return reply(response, status, { kind: 'Status', apiVersion: 'v1', status: 'Failure', code: status, message }, headers);
  }

  function identityOf(request: IncomingMessage): Identity | undefined {
    if (certificateOf(request) !== undefined) return 'scaler';
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '';
    return token === SCALER_TOKEN ? 'scaler' : token === ADMIN_TOKEN ? 'admin' : issued.get(token);
  }

  function allows(identity: Identity, attempt: Attempt): boolean {
    if (identity === 'admin') return true;
    return mayDo(attempt, identity === 'scaler' ? rules : boundRules(store, identity));
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://localhost');
    const match = PATH.exec(url.pathname);
    const { group = '', namespace, resource: plain = '', name, sub } = match?.groups ?? {};
    const resource = sub === undefined ? plain : `${plain}/${sub}`;
    const reading = url.searchParams.has('watch') ? 'watch' : name === undefined ? 'list' : 'get';
    const verb = VERBS[request.method ?? ''] ?? reading;
    const seen = (status: number): void => {
      const certificate = certificateOf(request);
      requests.push({ verb, resource, path: url.pathname, status, ...(certificate === undefined ? {} : { certificate }) });
    };
    const body = await text(request);
    if (delayMs > 0) await sleep(delayMs);
    const identity = identityOf(request);
    if (failure !== undefined) {
      const headers: Record<string, string> =
        failure.retryAfterS === undefined ? {} : { 'retry-after': String(failure.retryAfterS) };
      seen(refuse(response, failure.status, 'as the test wishes', headers));
    } else if (identity === undefined) {
      seen(refuse(response, 401, 'Unauthorized'));
    } else if (url.pathname === KEDA_GROUP && options.keda === true) {
      seen(reply(response, 200, { kind: 'APIResourceList', groupVersion: 'keda.sh/v1alpha1', resources: [] }));
    } else if (url.pathname === '/apis/argoproj.io/v1alpha1') {
      const resources = [{ kind: 'Rollout', name: RESOURCES['Rollout'], namespaced: true, singularName: '', verbs: ['get'] }];
      seen(reply(response, 200, { kind: 'APIResourceList', groupVersion: 'argoproj.io/v1alpha1', resources }));
    } else if (match === null) {
      seen(refuse(response, 404, 'the server could not find the requested resource'));
    } else if (!allows(identity, { verb, group, resource, namespace, name })) {
      seen(refuse(response, 403, `User "system:serviceaccount:keda:keda-queue-scaler" cannot ${verb} resource "${resource}"`));
    } else if (verb === 'list') {
      seen(list(url, resource, namespace, response));
    } else if (verb === 'watch') {
      seen(watch(url, resource, response));
    } else if (verb === 'get') {
      const object = store.get(resource, namespace, name ?? '');
      if (object === undefined) seen(refuse(response, 404, `${resource} "${name ?? ''}" not found`));
      else seen(reply(response, 200, asAsked(request, object)));
    } else if (request.headers['content-type'] === 'application/json-patch+json') {
      seen(refuse(response, 415, 'the double takes merge patches only'));
    } else {
      seen(change(verb, { resource, sub, namespace, name }, body, response));
    }
  }

  function asAsked(request: IncomingMessage, object: KubernetesObject): unknown {
    const wantsTable = (request.headers.accept ?? '').includes('as=Table');
    return wantsTable && object.kind === 'HorizontalPodAutoscaler' ? hpaTable(object) : object;
  }

  function change(
    verb: string,
    at: Pick<Attempt, 'resource' | 'namespace' | 'name'> & { readonly sub: string | undefined },
    body: string,
    response: ServerResponse,
  ): number {
    const { resource, sub, namespace, name } = at;
    if (verb === 'create' && sub === 'token') {
      const token = `token-of-${namespace ?? ''}-${name ?? ''}`;
      issued.set(token, { namespace: namespace ?? '', serviceAccount: name ?? '' });
      return reply(response, 201, { status: { token } });
    }
    if (verb === 'create' && name === undefined) {
      const object = stored(JSON.parse(body) as KubernetesObject, namespace);
      if (namespace !== undefined && store.get('namespaces', undefined, namespace) === undefined)
        return refuse(response, 404, `namespaces "${namespace}" not found`);
      if (store.get(resource, namespace, object.metadata.name) !== undefined)
        return refuse(response, 409, `${resource} "${object.metadata.name}" already exists`);
      return reply(response, 201, store.put(object));
    }
    const present = store.get(resource, namespace, name ?? '');
    if (present === undefined) return refuse(response, 404, `${resource} "${name ?? ''}" not found`);
    if (verb === 'patch') {
      return reply(response, 200, store.put(stored(mergePatch(present, JSON.parse(body)) as KubernetesObject, namespace)));
    }
    if (verb !== 'delete') return refuse(response, 405, `${verb} is not what the double can do`);
    store.delete(resource, namespace, name ?? '');
    return reply(response, 200, { kind: 'Status', apiVersion: 'v1', status: 'Success' });
  }

  function list(url: URL, resource: string, namespace: string | undefined, response: ServerResponse): number {
    const all = store.list(resource, namespace);
    const from = Number(url.searchParams.get('continue') ?? 0);
    const limit = Number(url.searchParams.get('limit') ?? all.length);
    const next = from + limit < all.length ? { continue: String(from + limit) } : {};
    return reply(response, 200, {
      kind: 'List',
      metadata: { resourceVersion: String(store.version()), ...next },
      items: all.slice(from, from + limit),
    });
  }

  function watch(url: URL, resource: string, response: ServerResponse): number {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    const past = store.since(resource, Number(url.searchParams.get('resourceVersion') ?? 0));
    if (past === undefined) {
      response.end(TOO_OLD);
      return 410;
    }
    const bookmarks = url.searchParams.get('allowWatchBookmarks') === 'true';
    const watcher: Watcher = { response, bookmarks, deaf: false };
    const tell = ({ type, object }: { readonly type: string; readonly object: unknown }): void => {
      response.write(`${JSON.stringify({ type, object })}\n`);
    };
    past.forEach(tell);
    watchers.add(watcher);
    const unlisten = store.listen((told) => {
      if (told.resource === resource && !watcher.deaf) tell(told);
    });
    response.on('close', () => {
      unlisten();
      watchers.delete(watcher);
    });
    return 200;
  }

  function listen(): Promise<void> {
    const listener = (request: IncomingMessage, response: ServerResponse): void => void handle(request, response);
    const { tls } = options;
    server =
      tls === undefined
        ? createHttpServer(listener)
        : createHttpsServer(
            { cert: tls.cert, key: tls.key, ca: tls.clientCa, requestCert: true, rejectUnauthorized: false },
            listener,
          );
    server.on('connection', () => connections++);
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, '127.0.0.1', () => {
        ({ port } = server.address() as AddressInfo);
        resolve();
      });
    });
  }

  function stop(listening: Server): Promise<void> {
    return new Promise((resolve) => {
      listening.close(() => {
        resolve();
      });
      listening.closeAllConnections();
    });
  }

  await listen();
  const folder = await mkdtemp(join(tmpdir(), 'kubeconfig-'));
  const url = `${options.tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`;
  const writeKubeconfig = async (name: string, token: string): Promise<string> => {
    const path = join(folder, name);
    const user = { token };
    await writeFile(path, JSON.stringify(kubeconfigOf({ server: url, 'insecure-skip-tls-verify': true }, user)), { mode: 0o600 });
    return path;
  };

  return {
    url,
    kubeconfig: await writeKubeconfig('scaler', SCALER_TOKEN),
    adminKubeconfig: await writeKubeconfig('admin', ADMIN_TOKEN),
    requests,
    connections: () => connections,
    store,
    put(...given) {
      for (const object of given) store.put(object);
    },
    delete(kind, namespace, name) {
      store.delete(kind === 'Secret' ? 'secrets' : 'scaledobjects', namespace, name);
    },
    delay(ms) {
      delayMs = ms;
    },
    fail(status, retryAfterS) {
      failure = status === undefined ? undefined : { status, retryAfterS };
    },
    deafenWatches() {
      for (const watcher of watchers) watcher.deaf = true;
    },
    compact() {
      store.forgetPast();
      for (const { response } of watchers) response.end(TOO_OLD);
    },
    endWatches() {
      for (const { response } of watchers) response.end();
    },
    bookmark() {
      const resourceVersion = String(store.tick());
      for (const { response, bookmarks, deaf } of watchers) {
        if (bookmarks && !deaf)
          response.write(`${JSON.stringify({ type: 'BOOKMARK', object: { metadata: { resourceVersion } } })}\n`);
      }
    },
    openWatches: () => watchers.size,
    stop: () => stop(server),
    start: listen,
    async close() {
      await stop(server);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** The common name of a client certificate that the authority has signed. */
function certificateOf({ socket }: IncomingMessage): string | undefined {
  if (!(socket instanceof TLSSocket) || !socket.authorized) return undefined;
  // A resumed session without a certificate counts as authorized.
  const { subject } = socket.getPeerCertificate() as { readonly subject?: { readonly CN?: unknown } };
  return typeof subject?.CN === 'string' ? subject.CN : undefined;
}

const TOO_OLD = `${JSON.stringify({ type: 'ERROR', object: { kind: 'Status', code: 410, message: 'too old resource version' } })}\n`;
