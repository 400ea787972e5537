/**
 * The management API as the conversation sees it: reached, away, or never there. What never answered may be absent without harm
 * where AMQP can tell; what answered once and does not now is trouble.
 */
import { toQueueScalerError, type QueueScalerError } from '../../../errors.ts';
import type { Management, Node, Overview } from './api.ts';
import { EVENT_MS } from '../read/zero.ts';

/** Nodes are looked at so often while questions are asked, in ms. */
const NODES_MS = 5_000;
/** The overview, which changes with the broker's configuration and its nodes alone. */
const OVERVIEW_MS = 300_000;
/** The same after a change of the nodes: one that has just come may not listen on all its ports yet. */
const OVERVIEW_AFTER_CHANGE_MS = 5_000;
const RETRY_ABSENT_MS = 5_000;

export interface ManagementHealth {
  readonly management: Management | undefined;
  isAbsent(): boolean;
  overview(): Overview | undefined;
  /** Every node ran when last seen; true where the credentials may not see nodes. */
  allRunning(): boolean;
  /** Every node told its own figures when last seen; true where the credentials may not see nodes. */
  allReport(): boolean;
  /** Names of all nodes of the cluster, those that are down included; undefined where they were not seen. */
  nodeNames(): readonly string[] | undefined;
  /** Nodes that told their own figures when last seen and yet do not run to the others: a split has healed, and they are to be restarted. */
  partitionedNodes(): readonly string[];
  /** Has the nodes of a cluster seen at `notBefore` or later, in ms of `performance.now()`; never rejects. */
  seeNodes(notBefore: number): Promise<void>;
  /** Renews what is known of the broker where it is due; never rejects. */
  refresh(): Promise<void>;
  /** Passes on the management API's answer, and learns from it whether the API is there. */
  use<T>(run: (management: Management) => Promise<T>): Promise<T>;
}

export interface HealthOptions {
  readonly management: Management | undefined;
  /** AMQP can tell by itself, and nobody said that there is a management API. */
  readonly optional: boolean;
  readonly signal: AbortSignal;
  /** A node came, went, or does not answer. */
  readonly onNodeEvent: () => void;
}

export function createManagementHealth({ management, optional, signal, onNodeEvent }: HealthOptions): ManagementHealth {
  let reached = false;
  let absentUntil = -Infinity;
  let absence: QueueScalerError | undefined;
  let overview: Overview | undefined;
  let overviewAt = -Infinity;
  let changedAt = -Infinity;
  let nodes: readonly Node[] | undefined;
  /** When the nodes were last asked for. */
  let nodesAt = -Infinity;
  let looking: Promise<void> | undefined;
  let refreshing: Promise<void> | undefined;

  function isAbsent(): boolean {
    return management === undefined || (optional && !reached && absence !== undefined);
  }

  async function use<T>(run: (management: Management) => Promise<T>): Promise<T> {
    if (management === undefined) throw new Error('there is no management API to use');
    if (absence !== undefined && !reached && performance.now() < absentUntil) throw absence;
    try {
      const result = await run(management);
      reached = true;
      absence = undefined;
      return result;
    } catch (thrown) {
      const error = toQueueScalerError(thrown);
      if (!reached && optional) {
        absence = error;
        absentUntil = performance.now() + RETRY_ABSENT_MS;
      }
      throw error;
    }
  }

  function lookAtNodes(): Promise<void> {
    looking ??= askForNodes().finally(() => {
      looking = undefined;
    });
    return looking;
  }

  async function askForNodes(): Promise<void> {
    nodesAt = performance.now();
    try {
      const seen = await use((each) => each.nodes(signal));
      // Met in trouble, a cluster may have been in it for a moment only.
      if (nodes === undefined ? seen.some(isInTrouble) : describe(seen) !== describe(nodes)) {
        changedAt = performance.now();
        onNodeEvent();
      }
      nodes = seen;
    } catch (thrown) {
      const error = toQueueScalerError(thrown);
      // A user who may not see nodes goes without this warning; anything else may be a node that hangs.
      if ((reached || !optional) && error.code !== 'BROKER_FORBIDDEN' && error.code !== 'BROKER_REFUSED') onNodeEvent();
    }
  }

  async function lookAtOverview(): Promise<void> {
    const believedMs = overviewAt - changedAt > EVENT_MS ? OVERVIEW_MS : OVERVIEW_AFTER_CHANGE_MS;
    if (performance.now() - overviewAt < believedMs) return;
    try {
      overview = await use((each) => each.overview(signal));
      overviewAt = performance.now();
    } catch {
      // Whoever asks for figures meets the same trouble and tells of it; the overview is only help in choosing.
    }
  }

  return {
    management,
    isAbsent,
    overview: () => overview,
    allRunning: () => nodes?.every(({ running }) => running) ?? true,
    allReport: () => nodes?.every(({ reports: tells }) => tells) ?? true,
    nodeNames: () => nodes?.map(({ name }) => name),
    partitionedNodes: () => nodes?.filter(({ running, reports: tells }) => tells && !running).map(({ name }) => name) ?? [],
    async seeNodes(notBefore) {
      if (nodes === undefined || nodes.length === 1) return;
      // A look that began before may have been answered before; one that began since, whoever asked for it, is waited for.
      if (nodesAt < notBefore) await looking;
      await (nodesAt < notBefore ? lookAtNodes() : looking);
    },
    use,
    refresh() {
      if (management === undefined) return Promise.resolve();
      refreshing ??= (async () => {
        // Nodes must not hold up the answers: what they tell is for the zeros after.
        const seen = performance.now() - nodesAt < NODES_MS ? undefined : lookAtNodes();
        await lookAtOverview();
        if (nodes === undefined) await seen;
      })().finally(() => {
        refreshing = undefined;
      });
      return refreshing;
    },
  };
}

function isInTrouble({ running, reports: tells }: Node): boolean {
  return !running || !tells;
}

function describe(nodes: readonly Node[]): string {
  return nodes
    .map(({ name, running, reports: tells }) => `${name} ${running} ${tells}`)
    .sort()
    .join();
}
