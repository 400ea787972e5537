/** What readers of RabbitMQ are given in tests: questions, a cluster, and what is known about its queues. */
import type { Overview } from '../../../src/scalers/rabbitmq/management/api.ts';
import type { ClusterState } from '../../../src/scalers/rabbitmq/management/clusterState.ts';
import type { QueueStats } from '../../../src/scalers/rabbitmq/management/queueStats.ts';
import { createQuestion, type RabbitQuestion, type Selection } from '../../../src/scalers/rabbitmq/question.ts';

/** A question as a trigger with the defaults asks it. */
export function ask(selection: Selection, more: Partial<RabbitQuestion> = {}): RabbitQuestion {
  return createQuestion({
    ...{ vhost: '/', selection, operation: 'sum', needs: 'messages', missingIsZero: false, confirmZeroMs: 11_000 },
    ...{ rateWindowMs: 30_000, busyForMs: 600_000, wakeBudget: 1000, staleAfterMs: 15_000 },
    ...more,
  });
}

/** A healthy cluster whose credentials may not see nodes. */
export const STABLE: ClusterState = {
  ...{
    managementAbsent: false,
    queues: 10,
    countsMessages: false,
    ratesOff: false,
    statisticsOff: false,
    recentNodeChange: false,
    clusterStable: true,
    allReport: true,
  },
  ...{ nodeNames: undefined, rejoinedNodes: [], calm: false, nodesAskedAt: -Infinity, prometheusListeners: [] },
};

/** What the API says of a broker of one queue that keeps statistics. */
export const OVERVIEW: Overview = { prometheus: [], queues: 1, ratesMode: 'basic', statisticsOff: false, usualPrometheus: false };

export const CHANGED: ClusterState = { ...STABLE, recentNodeChange: true, clusterStable: false };

/** A classic queue whose messages all wait. */
export function stats(name: string, messages: number, more: Partial<QueueStats> = {}): QueueStats {
  const figures = { ready: messages, unacknowledged: 0, messages, consumers: 0 };
  return { name, type: 'classic', replicated: false, ...figures, counters: undefined, error: undefined, ...more };
}
