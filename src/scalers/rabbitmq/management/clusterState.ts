/**
 * What is known about a broker's nodes and its management API at one moment, as plain data.
 */
import type { QueueScalerError } from '../../../errors.ts';

/** How long after a node came, went or hung the broker may misreport its queues, in ms. */
export const NODE_CHANGE_MS = 15_000;

/**
 * How long after a node that hung answers again figures of both sides may be added up, in ms. A node drops those of queues that it
 * leads no more every 120 s, and statistics are some seconds old. Measured with RabbitMQ 4.3, where all nodes run meanwhile and none
 * tells of a split: 62 s and 120 s.
 */
export const HEALED_MS = 150_000;

/** A node that has been well for so long tells of its queues rightly, in ms: it needs 10 s to start and 10 s more to tell all. */
export const SETTLED_MS = 30_000;

/** Where the Prometheus plugin listens unless it is told otherwise. */
export const PROMETHEUS_PORT = 15_692;

export interface Node {
  readonly name: string;
  readonly running: boolean;
  /** Whether the node's own figures were in the answer: one that hangs still counts as running, but does not report. */
  readonly reports: boolean;
  /** Since the node was started. */
  readonly uptimeMs?: number | undefined;
}

/** Where a node serves its metrics. */
export interface PrometheusListener {
  /** As the node names itself, `name@host`. */
  readonly node: string;
  readonly port: number;
  readonly tls: boolean;
}

export interface ClusterState {
  /** AMQP is the only source: the management API never answered and need not exist, or refuses the user. */
  readonly managementAbsent: boolean;
  /** Why it is, where there is an address of it. */
  readonly absence?: QueueScalerError | undefined;
  /** Number of queues on the broker; undefined until the overview was read. */
  readonly queues: number | undefined;
  /** The broker counts messages, so a queue without counters has counted none. */
  readonly countsMessages: boolean;
  /** The management API keeps no counters: its `rates_mode` is `none`. */
  readonly ratesOff: boolean;
  /** The broker collects no statistics for the management API, which tells of queues only what the totals list has. */
  readonly statisticsOff: boolean;
  /** A node came, went or hung within the last {@link NODE_CHANGE_MS}. */
  readonly recentNodeChange: boolean;
  /** All nodes were running when last seen, and none changed recently. */
  readonly clusterStable: boolean;
  /** Every node reported its own figures when last seen; true where the credentials may not see nodes. */
  readonly allReport: boolean;
  /** All nodes of the cluster, including those that are down; undefined where they could not be seen. */
  readonly nodeNames: readonly string[] | undefined;
  /**
   * Nodes that are back after they hung or were cut off, and were not restarted since: for {@link HEALED_MS}, or where they are still
   * parted until their restart, the broker may add up what both sides hold.
   */
  readonly rejoinedNodes: readonly string[];
  /** All nodes were well when last seen, and had been for {@link SETTLED_MS}. */
  readonly calm: boolean;
  /** When the nodes were asked for what is said of them here, in ms of `performance.now()`. */
  readonly nodesAskedAt: number;
  readonly prometheusListeners: readonly PrometheusListener[];
}

export interface Cluster {
  /** Asks the broker again for what is out of date; never rejects. */
  readonly refresh: () => Promise<void>;
  /** Makes sure that the nodes were asked at `notBefore` or later, in ms of `performance.now()`; never rejects. */
  readonly seeNodes: (notBefore: number) => Promise<void>;
  readonly state: () => ClusterState;
}

/** Which settings do that, as the API does not tell them apart. */
export const STATISTICS_OFF =
  'the broker collects none (`management_agent.disable_metrics_collector` or `management.disable_stats` is true, or ' +
  '`deprecated_features.permit.management_metrics_collection` is false)';

/** Why the management API has no counters that rates could be taken from; undefined if it has. */
export function whyNoCounters({ statisticsOff, ratesOff }: ClusterState): string | undefined {
  const instead = 'on RabbitMQ 4 the Prometheus plugin of every node has them as well';
  if (statisticsOff) {
    return `rates need statistics, and ${STATISTICS_OFF}; ${instead}`;
  }
  return ratesOff ? `rates need counters, and \`management.rates_mode\` is none; ${instead}` : undefined;
}
