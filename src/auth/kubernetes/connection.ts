/**
 * The way to the API server: its address, and what each request carries of the kubeconfig's or the pod's credentials. Connections are
 * kept and shared; they must never outlive the certificates that they were made with.
 *
 * The client library finds the cluster and renews its credentials (token files, exec plugins), but makes a pool of connections for
 * every request, and so a TLS handshake each. It costs a second and tens of megabytes, and is therefore loaded when needed.
 */
import type { RequestOptions } from 'node:https';
import type { Dispatcher } from 'undici';
import { fingerprint, Secret } from '../secret.ts';

export interface Connection {
  /** The server's URL, for logs too. */
  readonly server: string;
  /** The namespace of the kubeconfig's context, or the one that this process runs in. */
  readonly namespace: string | undefined;
  /** What the next request carries; asked for each request, as tokens and certificates are renewed. */
  authorise(): Promise<Authorisation>;
  /** Ends all connections at once. */
  close(): Promise<void>;
}

export interface Authorisation {
  readonly headers: Readonly<Record<string, string>>;
  readonly dispatcher: Dispatcher | undefined;
}

/** `kubeconfig` is a file's path; without it, `KUBECONFIG`, `~/.kube/config` or the pod's service account. Rejects where there is no cluster. */
export async function connectTo(kubeconfig?: string): Promise<Connection> {
  const { KubeConfig } = await import('@kubernetes/client-node');
  const config = new KubeConfig();
  if (kubeconfig === undefined) config.loadFromDefault();
  else config.loadFromFile(kubeconfig);
  const cluster = config.getCurrentCluster();
  if (cluster === null) throw new Error('the kubeconfig has no current cluster');
  let pool: { readonly identity: string; readonly dispatcher: Promise<Dispatcher | undefined> } | undefined;

  async function newDispatcher(): Promise<Dispatcher | undefined> {
    let dispatcher: Dispatcher | undefined;
    const context = {
      setHeaderParam: () => undefined,
      setDispatcher: (given: Dispatcher) => {
        dispatcher = given;
      },
    };
    // The library's request context is not exported; these are the two methods that are called.
    await config.applySecurityAuthentication(context as unknown as Parameters<typeof config.applySecurityAuthentication>[0]);
    return dispatcher;
  }

  return {
    server: cluster.server.replace(/\/+$/, ''),
    namespace: config.getContextObject(config.getCurrentContext())?.namespace,

    async authorise() {
      const options: RequestOptions = {};
      await config.applyToHTTPSOptions(options);
      const identity = identityOf(options);
      // A former pool is left alone: its requests, watches among them, end in their own time, and its idle connections within seconds.
      if (pool?.identity !== identity) pool = { identity, dispatcher: newDispatcher() };
      return { headers: headersOf(options), dispatcher: await pool.dispatcher };
    },

    async close() {
      const dispatcher = await pool?.dispatcher.catch(() => undefined);
      await dispatcher?.destroy();
    },
  };
}

/** Everything that a connection, once made, cannot change. */
function identityOf({ ca, cert, key, pfx, passphrase, servername, rejectUnauthorized }: RequestOptions): string {
  const parts = [ca, cert, key, pfx, passphrase].map((part) =>
    part === undefined ? undefined : new Secret(Buffer.isBuffer(part) ? part.toString('latin1') : JSON.stringify(part)),
  );
  return fingerprint(...parts, servername, rejectUnauthorized);
}

function headersOf({ headers, auth }: RequestOptions): Record<string, string> {
  const given = Object.entries(headers ?? {}).map(([name, value]) => [name.toLowerCase(), String(value)] as const);
  const login = typeof auth === 'string' ? { authorization: `Basic ${Buffer.from(auth).toString('base64')}` } : {};
  return { ...login, ...Object.fromEntries(given) };
}
