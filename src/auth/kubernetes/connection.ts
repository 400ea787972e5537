/**
 * The cluster as the client library finds it, with its connections kept. The library reads the kubeconfig or the pod's service account,
 * renews tokens and certificates, and knows proxies; but it makes a pool of connections for every request, and so a TLS handshake each.
 * Here requests share one pool until the certificates change.
 *
 * Loading the library costs some 200 ms of CPU and 15 MB, so a scaler without a cluster never does.
 */
import { isDeepStrictEqual } from 'node:util';
import type { KubeConfig } from '@kubernetes/client-node';
import type { Dispatcher } from 'undici';
import type * as clientLibrary from './clientLibrary.ts';

type RequestContext = Parameters<KubeConfig['applySecurityAuthentication']>[0];
type PoolOptions = ReturnType<KubeConfig['createDispatcherOptions']>;

const USER_AGENT = 'keda-queue-scaler';

export interface Connection {
  readonly library: typeof clientLibrary;
  /** What the library's APIs and watches are made with. */
  readonly config: KubeConfig;
  /** The server's URL, for logs. */
  readonly server: string;
  /** The namespace of the kubeconfig's context, or the one that this process runs in. */
  readonly namespace: string | undefined;
  /** Ends all connections at once. */
  close(): Promise<void>;
}

/** `kubeconfig` is a file's path; without it, `KUBECONFIG`, `~/.kube/config` or the pod's service account. Rejects where there is no cluster. */
export async function connectTo(kubeconfig?: string): Promise<Connection> {
  const library = await import('./clientLibrary.ts');
  let wanted: PoolOptions | undefined;
  let pool: { readonly options: PoolOptions | undefined; readonly dispatcher: Dispatcher } | undefined;

  class KeepingKubeConfig extends library.KubeConfig {
    override createDispatcherOptions(...given: Parameters<KubeConfig['createDispatcherOptions']>): PoolOptions {
      return (wanted = super.createDispatcherOptions(...given));
    }

    /** The library calls this for each request, typed or watch. */
    override async applySecurityAuthentication(context: RequestContext): Promise<void> {
      const setDispatcher = context.setDispatcher.bind(context);
      context.setDispatcher = (dispatcher) => {
        // A former pool is left alone: its requests, watches among them, end in their own time, and its idle connections within seconds.
        if (pool === undefined || !isDeepStrictEqual(pool.options, wanted)) pool = { options: wanted, dispatcher };
        setDispatcher(pool.dispatcher);
      };
      await super.applySecurityAuthentication(context);
      context.setHeaderParam('User-Agent', USER_AGENT);
    }
  }

  const config = new KeepingKubeConfig();
  if (kubeconfig === undefined) config.loadFromDefault();
  else config.loadFromFile(kubeconfig);
  const cluster = config.getCurrentCluster();
  if (cluster === null) throw new Error('the kubeconfig has no current cluster');
  const server = cluster.server.replace(/\/+$/, '');
  // The library appends paths that begin with a slash.
  Object.assign(cluster, { server });

  return {
    library,
    config,
    server,
    namespace: config.getContextObject(config.getCurrentContext())?.namespace,
    close: async () => pool?.dispatcher.destroy(),
  };
}
