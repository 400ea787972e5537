/**
 * Where the nodes' Prometheus plugins are and whether they answer. It must never send a login to them, as their addresses come
 * from the broker and not from the user.
 */
import { toQueueScalerError, type QueueScalerError } from '../../../errors.ts';
import { endpointLabel, type Endpoint } from '../address.ts';
import type { HttpClient } from '../management/http.ts';
import type { ManagementHealth } from '../management/health.ts';
import type { Overview } from '../management/api.ts';
import type { QueueList } from '../management/queueStats.ts';
import { scrape } from './exposition.ts';

/** After a failed scrape the plugin is left alone for so long, in ms. */
const PAUSE_MS = 30_000;

export interface PrometheusScraper {
  /** Whether all nodes' metrics can be expected to answer. */
  isAvailable(): boolean;
  /** Undefined where a node did not answer. */
  scrape(vhost: string): Promise<QueueList | undefined>;
  close(): Promise<void>;
}

export interface ScraperOptions {
  readonly setting: 'auto' | 'off' | readonly Endpoint[];
  readonly http: HttpClient;
  readonly link: ManagementHealth;
  /** Host of the broker as the user named it: that of the only node, where there is only one. */
  readonly host: string;
  /** No node has changed lately: only then does every queue have its line. */
  readonly isCalm: () => boolean;
  readonly signal: AbortSignal;
  readonly onTrouble: (endpoint: string, error: QueueScalerError) => void;
}

export function createPrometheusScraper({
  setting,
  http,
  link,
  host,
  isCalm,
  signal,
  onTrouble,
}: ScraperOptions): PrometheusScraper {
  let failedAt = -Infinity;

  function nodes(): readonly Endpoint[] {
    if (setting === 'off') return [];
    if (setting !== 'auto') return setting;
    const listeners = new Map<string, Overview['prometheus'][number]>();
    // A node that listens with and without TLS is asked once: its lines would be told twice. Nothing secret is sent or told.
    for (const each of link.overview()?.prometheus ?? [])
      if (!each.tls || !listeners.has(each.node)) listeners.set(each.node, each);
    // Each node tells only of the queues that it leads: without one of them, they would be missing as if they were gone.
    const isWhole = link.nodeNames()?.every((node) => listeners.has(node)) ?? false;
    if (!isWhole) return [];
    return [...listeners.values()].map(({ node, port, tls }) => ({
      scheme: tls ? 'https' : 'http',
      // A node calls itself by a name that may mean something only inside its cluster.
      host: listeners.size === 1 ? host : node.slice(node.indexOf('@') + 1),
      port,
      path: '',
    }));
  }

  return {
    isAvailable: () => isCalm() && performance.now() - failedAt > PAUSE_MS && nodes().length > 0,
    async scrape(vhost) {
      const endpoints = nodes();
      try {
        return await scrape(http, endpoints, vhost, signal);
      } catch (thrown) {
        failedAt = performance.now();
        onTrouble(endpoints.map(endpointLabel).join(), toQueueScalerError(thrown));
        return undefined;
      }
    },
    close: () => http.close(),
  };
}
