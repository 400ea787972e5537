/**
 * The ways in which the queues of one vhost can be asked, as the reading of a question sees them.
 */
import type { QueueScalerError } from '../../../errors.ts';
import type { Declared } from '../amqp/channels.ts';
import type { QueueListCache } from '../management/queueListCache.ts';
import type { Counters, QueueStats } from '../management/queueStats.ts';
import type { RateTracker } from './rates.ts';
import type { Zeros } from './zero.ts';

export interface VhostSources {
  /** Resolves in any case. Undefined where the broker is known by HTTP alone. */
  readonly declare: ((queue: string) => Promise<Declared | QueueScalerError>) | undefined;
  readonly lists: QueueListCache;
  /** One queue's row from the statistics; undefined where the broker knows none of that name. */
  queue(name: string): Promise<(QueueStats & { readonly at: number }) | undefined>;
  /** The management API was never reached and need not be there: only AMQP tells. */
  managementIsAbsent(): boolean;
  /** Finds out what can be asked; never rejects. */
  prepare(): Promise<{ readonly queues: number | undefined; readonly prometheus: boolean }>;
  /** What a queue without counters has counted: nothing, if the broker counts at all; otherwise undefined. */
  noCounters(): Counters | undefined;
  /** All nodes ran when last seen, and nothing has changed lately. */
  clusterStable(): boolean;
  /** How long a list is likely to take, in ms; 0 while a node may hang or nothing is known of it. */
  expectedListMs(): number;
  /** Names of all nodes of the cluster, those that are down included; undefined where they were not seen. */
  nodeNames(): readonly string[] | undefined;
  /** Nodes that have come back from the other side of a split and were not restarted since: statistics add up what both sides hold. */
  partitionedNodes(): readonly string[];
  readonly zeros: Zeros;
  readonly rates: RateTracker;
}
