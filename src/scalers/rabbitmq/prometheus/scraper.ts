/**
 * Where the nodes' Prometheus plugins are and whether they answer.
 */
import { toQueueScalerError, type QueueScalerError } from '../../../errors.ts';
import { endpointLabel, type Endpoint } from '../address.ts';
import type { ClusterState, PrometheusListener } from '../management/clusterState.ts';
import type { HttpClient } from '../management/http.ts';
import type { QueueList } from '../management/queueStats.ts';
import { scrape, type MetricsSource } from './exposition.ts';

/** After a failed scrape the plugin is left alone for this long, in ms. */
const PAUSE_MS = 30_000;

export interface PrometheusScraper {
  /** Whether all nodes' metrics can be expected to answer. */
  readonly isAvailable: () => boolean;
  /** Undefined if a node did not answer. With `counters` rows have counters as well, where the broker has them. */
  scrape(vhost: string, counters?: boolean): Promise<QueueList | undefined>;
  close(): Promise<void>;
}

export interface ScraperOptions {
  readonly setting: 'auto' | 'off' | readonly Endpoint[];
  readonly http: HttpClient;
  readonly cluster: () => ClusterState;
  /** The broker's host as the user named it, used when the cluster has a single node. */
  readonly host: string;
  readonly signal: AbortSignal;
  readonly onFailure: (endpoint: string, error: QueueScalerError) => void;
}

export function createPrometheusScraper(options: ScraperOptions): PrometheusScraper {
  const { setting, http, host, signal, onFailure } = options;
  let failedAt = -Infinity;

  function nodesOf({ prometheusListeners, nodeNames }: ClusterState): readonly MetricsSource[] {
    if (setting === 'off') return [];
    if (setting !== 'auto') return setting.map((endpoint) => ({ endpoint, node: undefined }));
    const listeners = new Map<string, PrometheusListener>();
    // A node that listens with and without TLS is asked once, or its lines would count twice. Nothing secret passes either way.
    for (const each of prometheusListeners) if (!each.tls || !listeners.has(each.node)) listeners.set(each.node, each);
    // Each node reports only the queues that it leads: without one of them, its queues would seem to be gone.
    if (nodeNames?.every((node) => listeners.has(node)) !== true) return [];
    return [...listeners.values()].map(({ node, port, tls }) => ({
      endpoint: {
        scheme: tls ? 'https' : 'http',
        // A node's own name may mean something only inside its cluster.
        host: listeners.size === 1 ? host : node.slice(node.indexOf('@') + 1),
        port,
        path: '',
      },
      node,
    }));
  }

  return {
    isAvailable() {
      const cluster = options.cluster();
      // Only while no node has changed recently does every queue have its line.
      return cluster.clusterStable && performance.now() - failedAt > PAUSE_MS && nodesOf(cluster).length > 0;
    },
    async scrape(vhost, counters = false) {
      const sources = nodesOf(options.cluster());
      try {
        return await scrape(http, sources, vhost, counters, signal);
      } catch (thrown) {
        failedAt = performance.now();
        onFailure(sources.map(({ endpoint }) => endpointLabel(endpoint)).join(), toQueueScalerError(thrown));
        return undefined;
      }
    },
    close: () => http.close(),
  };
}
