/**
 * Which server to believe about which key. A single server, a primary under Sentinel and a cluster share one contract; reading and
 * watching keys does not depend on the kind.
 */
import type { BrokerError } from '../../../errors.ts';
import type { RedisNode } from './node.ts';

/**
 * An answer is believed if those who decide (the sentinels, the cluster's other nodes) named its server at most this many ms before
 * it arrived: a primary that slept through a failover answers from the past when it wakes.
 */
export const CONFIRM_WINDOW_MS = 250;
/** How often the topology of a watched deployment is refreshed, in ms. */
export const SNAPSHOT_PERIOD_MS = 500;

/** Who serves what, as of one moment. */
export interface TopologySnapshot {
  /** When the deployment was asked, in ms of `performance.now()`. */
  readonly at: number;
  /** Undefined where nobody serves the key now. */
  readonly nodeOf: (key: string) => RedisNode | undefined;
  /** All servers that hold keys. */
  readonly nodes: readonly RedisNode[];
  /** Whether the key is on its way to another server, and may change at either end. */
  moving(key: string): boolean;
}

export interface Topology {
  /** The latest snapshot; fetches one if there is none. Rejects with a {@link BrokerError}. */
  snapshot(): Promise<TopologySnapshot>;
  /** A snapshot that was requested no earlier than `since`. Rejects with a {@link BrokerError}. */
  snapshotSince(since: number): Promise<TopologySnapshot>;
  /** The server that a redirection names. */
  nodeAt(address: string): RedisNode | undefined;
  /** Whether a server may be asked that is no primary: a cluster's keys are asked of whoever owns their slot. */
  readonly anyRole: boolean;
  /** Whether another server may answer where one fails. */
  readonly several: boolean;
  /** Whether to keep sessions open and tracking on all servers of the snapshot. */
  follow(on: boolean): void;
  /** The error for a key that no server serves. */
  unserved(key: string): BrokerError;
  close(): void;
}
