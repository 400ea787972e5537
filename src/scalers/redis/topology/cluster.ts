/**
 * A Redis Cluster: each key at the node that owns its slot, as at least two nodes know it. A node's own
 * claim to a slot is not enough: one that slept through a failover claims it too.
 */
import { BrokerError } from '../../../errors.ts';
import type { Deployment } from '../keys.ts';
import type { NodeListener, RedisNode } from './node.ts';
import { addressText } from '../../net/address.ts';
import { askedAmiss, replyInvalid } from '../wire/failures.ts';
import { ErrorReply } from '../wire/reply.ts';
import { createNodePool } from './nodePool.ts';
import { createRefresher, firstResults } from './refresh.ts';
import { parseClusterNodes, slotOf, slotOwners, type ClusterNode } from './slots.ts';
import type { Topology, TopologySnapshot } from './topology.ts';

/** How many nodes must answer, and how many are asked at a time. */
const PEERS = 2;
const MOST_ASKED = 16;
/** How long a slot counts as moving after a node last said so, in ms. */
const MOVING_MS = 2_000;

interface ClusterView {
  readonly peer: RedisNode;
  readonly nodes: readonly ClusterNode[];
}

export function cluster({ addresses, access, natMap }: Deployment, listener: NodeListener): Topology {
  const pool = createNodePool(natMap, access, listener);
  const seeds = addresses.map((address) => pool.nodeAt(addressText(address))).filter((node) => node !== undefined);
  const movingUntil = new Map<number, number>();
  let known: readonly RedisNode[] = [];

  async function fetchClusterNodes(peer: RedisNode): Promise<ClusterView> {
    const { replies, session } = await peer.request([['CLUSTER', 'NODES']]);
    const [reply = null] = replies;
    if (reply instanceof ErrorReply) throw askedAmiss(reply, peer.where, 'CLUSTER NODES', 'cluster', session.kind);
    const nodes = typeof reply === 'string' ? parseClusterNodes(reply, access.tls !== undefined) : undefined;
    if (nodes === undefined) throw replyInvalid(reply, peer.where, 'CLUSTER NODES');
    // Also from a peer that answered too late to count: only a slot's two ends know that it moves.
    for (const slot of nodes.flatMap((node) => node.moving)) movingUntil.set(slot, performance.now() + MOVING_MS);
    return { peer, nodes };
  }

  async function ask(at: number): Promise<TopologySnapshot> {
    const serving = refresher.latest()?.nodes ?? [];
    const candidates = new Set([...shuffled(serving), ...known, ...seeds]);
    const asked = new Set<RedisNode>();
    const views: ClusterView[] = [];
    let reason: unknown;
    while (views.length < PEERS) {
      const next = [...candidates].filter((node) => !asked.has(node)).slice(0, MOST_ASKED);
      if (next.length === 0) break;
      for (const node of next) asked.add(node);
      try {
        const results = await firstResults(next.map(fetchClusterNodes), (had) => views.length + had.length >= PEERS, 0);
        views.push(...results);
        // The first answer names the other nodes.
        for (const { announced } of results.flatMap(({ nodes }) => nodes)) {
          const found = announced === undefined ? undefined : pool.nodeAt(announced);
          if (found !== undefined) candidates.add(found);
        }
      } catch (thrown) {
        reason = thrown;
      }
    }
    if (views.length === 0) throw reason;
    return snapshotFrom(at, views);
  }

  function snapshotFrom(at: number, views: readonly ClusterView[]): TopologySnapshot {
    const owners = slotOwners(views.map(({ nodes }) => nodes));
    const nodes = new Map<string, RedisNode>();
    for (const { peer, nodes: listed } of views) {
      for (const node of listed) {
        // A node that doesn't know its own address is where it was asked.
        const found = node.announced === undefined ? (node.isSelf ? peer : undefined) : pool.nodeAt(node.announced);
        if (found !== undefined && !nodes.has(node.id)) nodes.set(node.id, found);
      }
    }
    // In a cluster of several nodes one answer is not enough: it may come from a node that slept.
    if (views.length < PEERS && nodes.size > 1) {
      throw new BrokerError(
        'BROKER_CLUSTER_DOWN',
        `only ${views[0]?.peer.where ?? 'nobody'} of the cluster's ${nodes.size} nodes answers`,
      );
    }
    known = [...nodes.values()];
    const serving = new Set<RedisNode>();
    for (const owner of new Set(owners)) {
      const node = owner === undefined ? undefined : nodes.get(owner.id);
      if (node !== undefined) serving.add(node);
    }
    pool.serve([...serving], new Set([...known, ...seeds]));
    return {
      at,
      nodes: [...serving],
      nodeOf(key) {
        const owner = owners[slotOf(key)];
        return owner === undefined ? undefined : nodes.get(owner.id);
      },
      moving: (key) => (movingUntil.get(slotOf(key)) ?? 0) > performance.now(),
    };
  }

  const refresher = createRefresher(ask);
  return {
    ...refresher,
    nodeAt: pool.nodeAt,
    anyRole: true,
    several: true,
    follow: pool.follow,
    unserved: (key) => new BrokerError('BROKER_CLUSTER_DOWN', `no node of the cluster serves slot ${slotOf(key)} of ${key}`),
    close: pool.close,
  };
}

/** In another order each time, so that the peers change. */
function shuffled<T>(values: readonly T[]): T[] {
  return values
    .map((value) => ({ value, at: Math.random() }))
    .sort((left, right) => left.at - right.at)
    .map(({ value }) => value);
}
