/**
 * A double of the Kubernetes API server that speaks the wire: get, list in pages, watch with bookmarks, token requests, and the
 * ways in which all of that fails. It lets through only what the RBAC rules it is given allow.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** Any object of Kubernetes, as the test writes it. */
export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly [field: string]: unknown };
  readonly [field: string]: unknown;
}

/** One rule of a Role or ClusterRole. */
export interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
  readonly resourceNames?: readonly string[];
  /** Of a Role: the one namespace that it holds in. */
  readonly namespace?: string;
}

/** One request as the server saw it. */
export interface SeenRequest {
  readonly verb: 'get' | 'list' | 'watch' | 'create';
  readonly resource: string;
  readonly path: string;
  readonly status: number;
}

export interface ApiServer {
  readonly url: string;
  /** A kubeconfig file for the service account. */
  readonly kubeconfig: string;
  readonly requests: SeenRequest[];
  put(...objects: readonly KubernetesObject[]): void;
  delete(kind: string, namespace: string | undefined, name: string): void;
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

const PLURALS: Readonly<Record<string, readonly [group: string, resource: string]>> = {
  ScaledObject: ['keda.sh', 'scaledobjects'],
  ScaledJob: ['keda.sh', 'scaledjobs'],
  TriggerAuthentication: ['keda.sh', 'triggerauthentications'],
  ClusterTriggerAuthentication: ['keda.sh', 'clustertriggerauthentications'],
  Deployment: ['apps', 'deployments'],
  StatefulSet: ['apps', 'statefulsets'],
  Secret: ['', 'secrets'],
  ConfigMap: ['', 'configmaps'],
};

const TOKEN = 'token-of-the-scaler';

interface Watcher {
  readonly resource: string;
  readonly response: ServerResponse;
  readonly bookmarks: boolean;
  deaf: boolean;
}

export async function startApiServer(rules: readonly Rule[]): Promise<ApiServer> {
  const objects = new Map<string, KubernetesObject>();
  /** Every change since the past was last forgotten. */
  let history: { readonly version: number; readonly resource: string; readonly line: string }[] = [];
  let version = 1;
  let oldest = 0;
  let delayMs = 0;
  let failure: { readonly status: number; readonly retryAfterS: number | undefined } | undefined;
  const watchers = new Set<Watcher>();
  const requests: SeenRequest[] = [];
  let server = createServer();
  let port = 0;

  const keyOf = (resource: string, namespace: string | undefined, name: string): string =>
    `${resource}/${namespace ?? ''}/${name}`;

  function change(type: 'ADDED' | 'MODIFIED' | 'DELETED', resource: string, object: KubernetesObject): void {
    const line = JSON.stringify({ type, object });
    history.push({ version, resource, line });
    for (const watcher of watchers) if (watcher.resource === resource && !watcher.deaf) watcher.response.write(`${line}\n`);
  }

  function stamped(object: KubernetesObject): KubernetesObject {
    return { ...object, metadata: { ...object.metadata, resourceVersion: String(++version), uid: `uid-${version}` } };
  }

  function allows(
    verb: string,
    group: string,
    resource: string,
    namespace: string | undefined,
    name: string | undefined,
  ): boolean {
    return rules.some(
      (rule) =>
        rule.apiGroups.includes(group) &&
        rule.resources.includes(resource) &&
        rule.verbs.includes(verb) &&
        (rule.namespace === undefined || rule.namespace === namespace) &&
        (rule.resourceNames === undefined || (name !== undefined && rule.resourceNames.includes(name))),
    );
  }

  function reply(response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void {
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
  }

  function refuse(response: ServerResponse, status: number, message: string, headers: Record<string, string> = {}): number {
    reply(response, status, { kind: 'Status', apiVersion: 'v1', status: 'Failure', code: status, message }, headers);
    return status;
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://localhost');
    const match =
      /^\/(?:api\/v1|apis\/(?<group>[^/]+)\/[^/]+)(?:\/namespaces\/(?<namespace>[^/]+))?\/(?<resource>[^/]+)(?:\/(?<name>[^/]+))?(?:\/(?<sub>[^/]+))?$/.exec(
        url.pathname,
      );
    const { group = '', namespace, resource: plain = '', name, sub } = match?.groups ?? {};
    const resource = sub === undefined ? plain : `${plain}/${sub}`;
    const verb =
      request.method === 'POST' ? 'create' : url.searchParams.has('watch') ? 'watch' : name === undefined ? 'list' : 'get';
    const seen = (status: number): void => {
      requests.push({ verb, resource, path: url.pathname, status });
    };
    if (delayMs > 0) await sleep(delayMs);
    if (failure !== undefined) {
      const headers: Record<string, string> =
        failure.retryAfterS === undefined ? {} : { 'retry-after': String(failure.retryAfterS) };
      seen(refuse(response, failure.status, 'as the test wishes', headers));
    } else if (match === null) {
      seen(refuse(response, 404, 'the server could not find the requested resource'));
    } else if (request.headers.authorization !== `Bearer ${TOKEN}`) {
      seen(refuse(response, 401, 'Unauthorized'));
    } else if (!allows(verb, group, resource, namespace, name)) {
      seen(refuse(response, 403, `User "system:serviceaccount:keda:keda-queue-scaler" cannot ${verb} resource "${resource}"`));
    } else if (verb === 'create') {
      seen(201);
      reply(response, 201, { status: { token: `token-of-${namespace ?? ''}-${name ?? ''}` } });
    } else if (verb === 'get') {
      const object = objects.get(keyOf(resource, namespace, name ?? ''));
      seen(object === undefined ? 404 : 200);
      if (object === undefined) refuse(response, 404, `${resource} "${name ?? ''}" not found`);
      else reply(response, 200, object);
    } else if (verb === 'list') {
      seen(200);
      list(url, resource, namespace, response);
    } else {
      seen(watch(url, resource, response));
    }
  }

  function list(url: URL, resource: string, namespace: string | undefined, response: ServerResponse): void {
    const prefix = namespace === undefined ? `${resource}/` : `${resource}/${namespace}/`;
    const all = [...objects].filter(([key]) => key.startsWith(prefix)).map(([, object]) => object);
    const from = Number(url.searchParams.get('continue') ?? 0);
    const limit = Number(url.searchParams.get('limit') ?? all.length);
    const next = from + limit < all.length ? { continue: String(from + limit) } : {};
    reply(response, 200, {
      kind: 'List',
      metadata: { resourceVersion: String(version), ...next },
      items: all.slice(from, from + limit),
    });
  }

  function watch(url: URL, resource: string, response: ServerResponse): number {
    const from = Number(url.searchParams.get('resourceVersion') ?? 0);
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    if (from < oldest) {
      response.end(
        `${JSON.stringify({ type: 'ERROR', object: { kind: 'Status', code: 410, message: 'too old resource version' } })}\n`,
      );
      return 410;
    }
    const watcher: Watcher = {
      resource,
      response,
      bookmarks: url.searchParams.get('allowWatchBookmarks') === 'true',
      deaf: false,
    };
    for (const past of history) if (past.resource === resource && past.version > from) response.write(`${past.line}\n`);
    watchers.add(watcher);
    response.on('close', () => watchers.delete(watcher));
    return 200;
  }

  function listen(): Promise<void> {
    server = createServer((request, response) => {
      void handle(request, response);
    });
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
  const kubeconfig = join(folder, 'config');
  const cluster = { server: `http://127.0.0.1:${port}`, 'insecure-skip-tls-verify': true };
  await writeFile(
    kubeconfig,
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'double',
      clusters: [{ name: 'double', cluster }],
      users: [{ name: 'scaler', user: { token: TOKEN } }],
      contexts: [{ name: 'double', context: { cluster: 'double', user: 'scaler', namespace: 'keda' } }],
    }),
    { mode: 0o600 },
  );

  return {
    url: cluster.server,
    kubeconfig,
    requests,
    put(...given) {
      for (const object of given) {
        const [, resource] = PLURALS[object.kind] ?? ['', ''];
        const key = keyOf(resource, object.metadata.namespace, object.metadata.name);
        const type = objects.has(key) ? 'MODIFIED' : 'ADDED';
        const kept = stamped(object);
        objects.set(key, kept);
        change(type, resource, kept);
      }
    },
    delete(kind, namespace, name) {
      const [, resource] = PLURALS[kind] ?? ['', ''];
      const key = keyOf(resource, namespace, name);
      const object = objects.get(key);
      if (object === undefined) return;
      objects.delete(key);
      change('DELETED', resource, stamped(object));
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
      history = [];
      oldest = ++version;
      for (const { response } of watchers) {
        response.end(
          `${JSON.stringify({ type: 'ERROR', object: { kind: 'Status', code: 410, message: 'too old resource version' } })}\n`,
        );
      }
    },
    endWatches() {
      for (const { response } of watchers) response.end();
    },
    bookmark() {
      version++;
      for (const { response, bookmarks, deaf } of watchers) {
        const object = { metadata: { resourceVersion: String(version) } };
        if (bookmarks && !deaf) response.write(`${JSON.stringify({ type: 'BOOKMARK', object })}\n`);
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
