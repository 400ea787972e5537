import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { HttpClient } from '../../../src/scalers/rabbitmq/management/http.ts';
import { createManagementHealth, type ManagementHealth } from '../../../src/scalers/rabbitmq/management/health.ts';
import type { Management, Overview } from '../../../src/scalers/rabbitmq/management/api.ts';
import type { Node } from '../../../src/scalers/rabbitmq/management/clusterState.ts';
import { createPrometheusScraper, type PrometheusScraper } from '../../../src/scalers/rabbitmq/prometheus/scraper.ts';
import { OVERVIEW } from './questionFixture.ts';

const NODES = ['r1@one', 'r2@two', 'r3@three'];
const listenerOf = (node: string, tls = false): Overview['prometheus'][number] => ({ node, port: tls ? 15691 : 15692, tls });

/** A cluster as its management API tells of it at the moment; the test changes it. */
interface Cluster {
  nodes: readonly Node[];
  listeners: Overview['prometheus'];
  usualPrometheus?: boolean;
}

function clusterOf(names: readonly string[]): Cluster {
  return { nodes: names.map(runs), listeners: names.map((name) => listenerOf(name)) };
}

function runs(name: string): Node {
  return { name, running: true, reports: true };
}

/** What looks at the cluster, and the URLs that its metrics were asked at. */
function observe(cluster: Cluster, body = ''): { health: ManagementHealth; metrics: PrometheusScraper; asked: string[] } {
  const management: Partial<Management> = {
    nodes: () => Promise.resolve(cluster.nodes),
    overview: () =>
      Promise.resolve({ ...OVERVIEW, prometheus: cluster.listeners, usualPrometheus: cluster.usualPrometheus ?? false }),
  };
  const { signal } = new AbortController();
  const health = createManagementHealth(management as Management, false, signal);
  const asked: string[] = [];
  const http: HttpClient = {
    get: ({ scheme, host, port }) => {
      asked.push(`${scheme}://${host}:${port}`);
      return Promise.resolve({ status: 200, body, at: performance.now() });
    },
    close: () => Promise.resolve(),
  };
  const metrics = createPrometheusScraper({
    setting: 'auto',
    http,
    cluster: () => ({ ...health.state(), clusterStable: true }),
    host: 'named.by.user',
    signal,
    onFailure: () => undefined,
  });
  return { health, metrics, asked };
}

describe('the Prometheus plugins that the overview names', () => {
  test('are asked at every node', async () => {
    const { health, metrics, asked } = observe(clusterOf(NODES));
    await health.refresh();
    expect(metrics.isAvailable()).toBe(true);
    await metrics.scrape('/');
    expect(asked).toEqual(['http://one:15692', 'http://two:15692', 'http://three:15692']);
  });

  test('are asked where the user says that the broker is, when it has one node', async () => {
    const { health, metrics, asked } = observe(clusterOf(['rabbit@pod-0']));
    await health.refresh();
    await metrics.scrape('/');
    expect(asked).toEqual(['http://named.by.user:15692']);
  });

  test('are not taken for those of another node', async () => {
    const { health, metrics } = observe(clusterOf(['r1@one']), '# x\nrabbitmq_identity_info{rabbitmq_node="r9@one",x="y"} 1\n');
    await health.refresh();
    expect(await metrics.scrape('/')).toBeUndefined();
  });

  test('are looked for at their usual port where the overview names none and one was found there', async () => {
    const cluster = { ...clusterOf(NODES), listeners: [], usualPrometheus: true };
    const { health, metrics, asked } = observe(cluster);
    await health.refresh();
    await metrics.scrape('/');
    expect(asked).toEqual(['http://one:15692', 'http://two:15692', 'http://three:15692']);
  });

  test('are left alone while a node is without one, as its queues would seem to be gone', async () => {
    const cluster = clusterOf(NODES);
    cluster.listeners = cluster.listeners.slice(0, 2);
    const { health, metrics } = observe(cluster);
    await health.refresh();
    expect(metrics.isAvailable()).toBe(false);
  });

  test.each([
    ['with TLS first', [listenerOf('r1@one', true), listenerOf('r1@one')]],
    ['with TLS last', [listenerOf('r1@one'), listenerOf('r1@one', true)]],
  ])('are asked once each, where they listen with TLS and without, %s', async (_, listeners) => {
    const cluster = { ...clusterOf(['r1@one']), listeners };
    const { health, metrics, asked } = observe(cluster);
    await health.refresh();
    await metrics.scrape('/');
    expect(asked).toEqual(['http://named.by.user:15692']);
  });
});

describe('a node that comes back', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['performance'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  test('is asked for its metrics once it listens, however long that takes it within the first seconds', async () => {
    const cluster = clusterOf(NODES);
    const { health, metrics } = observe(cluster);
    await health.refresh();
    const later = async (ms: number): Promise<void> => {
      vi.advanceTimersByTime(ms);
      // What nodes tell is taken in beside the refresh.
      await health.refresh();
      await health.refresh();
    };

    cluster.nodes = [...NODES.slice(0, 2).map(runs), { name: 'r3@three', running: false, reports: false }];
    cluster.listeners = NODES.slice(0, 2).map((name) => listenerOf(name));
    await later(6_000);
    expect(metrics.isAvailable()).toBe(false);

    cluster.nodes = NODES.map(runs);
    await later(6_000);
    expect(metrics.isAvailable()).toBe(false);

    cluster.listeners = NODES.map((name) => listenerOf(name));
    await later(6_000);
    expect(metrics.isAvailable()).toBe(true);
  });
});
