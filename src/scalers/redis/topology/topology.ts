/**
 * Which server to believe about which key. Behind one contract stand a single server, a primary under Sentinel and a cluster;
 * what reads and watches keys knows no difference.
 */
import type { BrokerError } from '../../../errors.ts';
import type { RedisNode } from './node.ts';

/**
 * An answer is believed when whoever decides (the sentinels, the cluster's other nodes) has named its server no earlier than so
 * long before the answer arrived: a primary that slept through a failover answers from the past when it wakes.
 */
export const CONFIRM_WINDOW_MS = 250;
/** How often a watched deployment is asked who serves what. */
export const SNAPSHOT_PERIOD_MS = 500;

/** Who serves what, as of one moment. */
export interface TopologySnapshot {
  /** When whoever decides was asked, in ms of `performance.now()`. */
  readonly at: number;
  /** Undefined where nobody serves the key now. */
  nodeOf(key: string): RedisNode | undefined;
  /** All servers that hold keys. */
  readonly nodes: readonly RedisNode[];
  /** Keys under way to another server, whose changes may happen at either end. */
  moving(key: string): boolean;
}

export interface Topology {
  /** The latest view; asks if there is none. Rejects with a {@link BrokerError}. */
  snapshot(): Promise<TopologySnapshot>;
  /** A view that was asked for no earlier than `since`. Rejects with a {@link BrokerError}. */
  snapshotSince(since: number): Promise<TopologySnapshot>;
  /** The server that a redirection names. */
  nodeAt(address: string): RedisNode | undefined;
  /** Whether answers only count from a server that says that it is a primary: always, never, or if it said so at first. */
  readonly primary: 'always' | 'once' | 'never';
  /** Keep sessions open and tracking on all servers of the view, or let them be. */
  follow(on: boolean): void;
  /** What is answered to a key that nobody serves. */
  unserved(key: string): BrokerError;
  close(): void;
}
