/**
 * The few requests that the end-to-end test makes of a real cluster, with whatever credentials its kubeconfig holds.
 */
import { HttpMethod, IsomorphicFetchHttpLibrary, RequestContext } from '@kubernetes/client-node';
import { connectTo } from '../src/auth/kubernetes/connection.ts';

const TIMEOUT_MS = 20_000;
/** What kubectl asks for: rows as it prints them. */
const TABLE = 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json';

export interface Cluster {
  readonly server: string;
  /** Undefined where there is none; rejects for every other failure. */
  get(path: string): Promise<unknown>;
  /** The object as the table that `kubectl get` prints. */
  table(path: string): Promise<unknown>;
  /** Resolves to what the server made of it. */
  create(path: string, object: object): Promise<unknown>;
  /** Changes the fields that are given (a merge patch). */
  patch(path: string, change: object): Promise<void>;
  remove(path: string): Promise<void>;
  close(): Promise<void>;
}

export async function connectCluster(): Promise<Cluster> {
  const connection = await connectTo();
  const { config, server } = connection;
  const http = new IsomorphicFetchHttpLibrary();

  // By the library's requests, but none of its typed APIs: they know no tables.
  async function send(
    method: HttpMethod,
    path: string,
    { body, type = 'application/json', accept = 'application/json' }: Sending = {},
  ): Promise<unknown> {
    const context = new RequestContext(server + path, HttpMethod[method]);
    context.setHeaderParam('Accept', accept);
    if (body !== undefined) {
      context.setHeaderParam('Content-Type', type);
      context.setBody(JSON.stringify(body));
    }
    context.setSignal(AbortSignal.timeout(TIMEOUT_MS));
    await config.applySecurityAuthentication(context);
    const response = await http.send(context).toPromise();
    const text = await response.body.text();
    if (response.httpStatusCode === 404) return undefined;
    if (response.httpStatusCode >= 300) throw new Error(`${method} ${path}: ${response.httpStatusCode} ${text.slice(0, 300)}`);
    return JSON.parse(text) as unknown;
  }

  return {
    server,
    get: (path) => send('GET', path),
    table: (path) => send('GET', path, { accept: TABLE }),
    async create(path, object) {
      const created = await send('POST', path, { body: object });
      if (created === undefined) throw new Error(`POST ${path}: there is no such kind or namespace here`);
      return created;
    },
    async patch(path, change) {
      if ((await send('PATCH', path, { body: change, type: 'application/merge-patch+json' })) === undefined)
        throw new Error(`PATCH ${path}: not there`);
    },
    async remove(path) {
      await send('DELETE', path);
    },
    close: () => connection.close(),
  };
}

interface Sending {
  readonly body?: object;
  readonly type?: string;
  readonly accept?: string;
}
