/**
 * The few requests that the end-to-end test makes of a real cluster, with whatever credentials its kubeconfig holds.
 */
import { KubeConfig } from '@kubernetes/client-node';
import { request, type Dispatcher } from 'undici';

const TIMEOUT_MS = 20_000;

export interface Cluster {
  readonly server: string;
  /** Undefined where there is none; rejects for every other failure. */
  get(path: string): Promise<unknown>;
  create(path: string, object: object): Promise<void>;
  /** Changes the fields that are given (a merge patch). */
  patch(path: string, change: object): Promise<void>;
  remove(path: string): Promise<void>;
}

export function connectCluster(): Cluster {
  const config = new KubeConfig();
  config.loadFromDefault();
  const server = config.getCurrentCluster()?.server ?? '';

  async function send(method: Dispatcher.HttpMethod, path: string, body?: object, type = 'application/json') {
    const headers: Record<string, string> = { accept: 'application/json' };
    let dispatcher: Dispatcher | undefined;
    const context = {
      setHeaderParam: (name: string, value: string) => (headers[name] = value),
      setDispatcher: (given: Dispatcher) => (dispatcher = given),
    };
    // The library's request context is not exported; these are the two methods it calls.
    await config.applySecurityAuthentication(context as unknown as Parameters<typeof config.applySecurityAuthentication>[0]);
    const response = await request(server + path, {
      method,
      headers: body === undefined ? headers : { ...headers, 'content-type': type },
      signal: AbortSignal.timeout(TIMEOUT_MS),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(dispatcher === undefined ? {} : { dispatcher }),
    });
    if (response.statusCode === 404) {
      await response.body.dump();
      return undefined;
    }
    const text = await response.body.text();
    if (response.statusCode >= 300) throw new Error(`${method} ${path}: ${response.statusCode} ${text.slice(0, 300)}`);
    return JSON.parse(text) as unknown;
  }

  return {
    server,
    get: (path) => send('GET', path),
    async create(path, object) {
      if ((await send('POST', path, object)) === undefined) throw new Error(`POST ${path}: there is no such kind here`);
    },
    async patch(path, change) {
      if ((await send('PATCH', path, change, 'application/merge-patch+json')) === undefined)
        throw new Error(`PATCH ${path}: not there`);
    },
    async remove(path) {
      await send('DELETE', path);
    },
  };
}
