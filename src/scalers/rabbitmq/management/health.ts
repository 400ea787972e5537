/**
 * Whether the management API is reachable, and what it reports about the cluster. An API that never answered may be absent without
 * harm where AMQP can answer instead; one that answered once and stops is a failure.
 */
import { toQueueScalerError, type QueueScalerError } from '../../../errors.ts';
import type { Management, Overview } from './api.ts';
import { NODE_CHANGE_MS, PROMETHEUS_PORT, type Cluster, type Node } from './clusterState.ts';
import { createNodeHistory } from './nodeHistory.ts';

/** Interval for reading the nodes while questions are asked. */
const NODES_MS = 5_000;
/** Interval for reading the overview, which changes only with the broker's configuration and its nodes. */
const OVERVIEW_MS = 300_000;
/** The same after a node changed: one that has just started may not listen on all its ports yet. */
const OVERVIEW_AFTER_CHANGE_MS = 5_000;
const RETRY_ABSENT_MS = 5_000;

export interface ManagementHealth extends Cluster {
  /** Records that a node came, went, or does not answer. */
  readonly nodeChanged: () => void;
  /** Returns the management API's answer, and learns from it whether the API is there. */
  use<T>(run: (management: Management) => Promise<T>): Promise<T>;
}

/**
 * `optional`: AMQP is available too, and nobody said that there is a management API. One that was named may still refuse the user, and
 * `besideAmqp` is then done without.
 */
export function createManagementHealth(
  management: Management | undefined,
  optional: boolean,
  signal: AbortSignal,
  besideAmqp = optional,
): ManagementHealth {
  let reached = false;
  let absentUntil = -Infinity;
  let absence: QueueScalerError | undefined;
  let overview: Overview | undefined;
  let overviewAt = -Infinity;
  let changedAt = -Infinity;
  let nodes: readonly Node[] | undefined;
  const history = createNodeHistory();
  /** When the nodes were last requested. */
  let nodesAt = -Infinity;
  /** The same for the answer that came last. */
  let nodesAskedAt = -Infinity;
  let readingNodes: Promise<void> | undefined;
  let refreshing: Promise<void> | undefined;

  function nodeChanged(): void {
    changedAt = performance.now();
  }

  async function use<T>(run: (management: Management) => Promise<T>, extra = false): Promise<T> {
    if (management === undefined) throw new Error('there is no management API to use');
    if (absence !== undefined && performance.now() < absentUntil) throw absence;
    try {
      const result = await run(management);
      reached = true;
      absence = undefined;
      return result;
    } catch (thrown) {
      const error = toQueueScalerError(thrown);
      const forbidden = error.code === 'BROKER_FORBIDDEN';
      // A user who may not see the nodes may see the queues.
      if (forbidden && extra) throw error;
      if ((!reached && optional) || (besideAmqp && forbidden)) {
        absence = error;
        absentUntil = performance.now() + RETRY_ABSENT_MS;
      }
      throw error;
    }
  }

  function readNodes(): Promise<void> {
    readingNodes ??= requestNodes().finally(() => {
      readingNodes = undefined;
    });
    return readingNodes;
  }

  async function requestNodes(): Promise<void> {
    const askedAt = (nodesAt = performance.now());
    try {
      const seen = await use((each) => each.nodes(signal), true);
      if (history.see(seen, performance.now())) nodeChanged();
      nodes = seen;
      nodesAskedAt = askedAt;
    } catch (thrown) {
      const error = toQueueScalerError(thrown);
      if (error.code === 'BROKER_TIMEOUT') history.unseen(performance.now());
      // A user who may not see nodes goes without this warning; any other failure may be a node that hangs.
      if ((reached || !optional) && error.code !== 'BROKER_FORBIDDEN' && error.code !== 'BROKER_REFUSED') nodeChanged();
    }
  }

  async function readOverview(): Promise<void> {
    const validMs = overviewAt - changedAt > NODE_CHANGE_MS ? OVERVIEW_MS : OVERVIEW_AFTER_CHANGE_MS;
    if (performance.now() - overviewAt < validMs) return;
    try {
      overview = await use((each) => each.overview(signal));
      overviewAt = performance.now();
    } catch {
      // Reading the figures fails the same way and reports it; the overview only helps to choose a reader.
    }
  }

  return {
    nodeChanged,
    use,
    async seeNodes(notBefore) {
      if (nodes === undefined) return;
      // A request from before may have been answered before; one made since, whoever made it, is waited for.
      if (nodesAt < notBefore) await readingNodes;
      await (nodesAt < notBefore ? readNodes() : readingNodes);
    },
    refresh() {
      if (management === undefined) return Promise.resolve();
      refreshing ??= (async () => {
        // Nodes must not hold up the answers: what they report is for the zeros after.
        const seen = performance.now() - nodesAt < NODES_MS ? undefined : readNodes();
        await readOverview();
        if (nodes === undefined) await seen;
      })().finally(() => {
        refreshing = undefined;
      });
      return refreshing;
    },
    state() {
      const now = performance.now();
      const recentNodeChange = now - changedAt < NODE_CHANGE_MS;
      const rejoinedNodes = history.rejoined(now);
      const statisticsOff = overview?.statisticsOff ?? false;
      return {
        managementAbsent: management === undefined || absence !== undefined,
        absence,
        queues: overview?.queues,
        countsMessages: !statisticsOff && (overview?.ratesMode ?? 'none') !== 'none',
        ratesOff: overview?.ratesMode === 'none',
        statisticsOff,
        recentNodeChange,
        clusterStable: !recentNodeChange && (nodes?.every(({ running }) => running) ?? true),
        allReport: nodes?.every(({ reports }) => reports) ?? true,
        nodeNames: nodes?.map(({ name }) => name),
        rejoinedNodes,
        calm: !recentNodeChange && rejoinedNodes.length === 0 && history.allSettled(now),
        nodesAskedAt,
        prometheusListeners:
          overview?.usualPrometheus === true
            ? (nodes ?? []).map(({ name }) => ({ node: name, port: PROMETHEUS_PORT, tls: false }))
            : (overview?.prometheus ?? []),
      };
    },
  };
}
