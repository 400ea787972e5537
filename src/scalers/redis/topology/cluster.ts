/**
 * A Redis Cluster: each key at the node that owns its slot, as at least two nodes know it. A node's own word that it still owns a
 * slot is never enough: one that slept through a failover says so too.
 */
import { BrokerError } from '../../../errors.ts';
import type { Deployment } from '../keys.ts';
import type { NodeListener, RedisNode } from './node.ts';
import { addressText } from '../../net/address.ts';
import { replyError, replyInvalid } from '../wire/failures.ts';
import { ErrorReply } from '../wire/resp.ts';
import { createFleet } from './nodePool.ts';
import { createRefresher, firstResults } from './refresh.ts';
import { parseClusterNodes, slotOf, slotOwners, type ClusterNode } from './slots.ts';
import type { Topology, View } from './topology.ts';

/** Nodes whose word is awaited; and at most so many are asked at a time. */
const WITNESSES = 2;
const MOST_ASKED = 16;
/** A slot counts as moving for so long after it was last told to be. */
const MOVING_MS = 2_000;

interface Testimony {
  readonly witness: RedisNode;
  readonly nodes: readonly ClusterNode[];
}

export function cluster({ addresses, access, natMap }: Deployment, listener: NodeListener): Topology {
  const fleet = createFleet(natMap, access, listener);
  const seeds = addresses.map((address) => fleet.nodeAt(addressText(address))).filter((node) => node !== undefined);
  const movingUntil = new Map<number, number>();
  let known: readonly RedisNode[] = [];

  async function testify(witness: RedisNode): Promise<Testimony> {
    const [reply = null] = (await witness.request([['CLUSTER', 'NODES']])).replies;
    if (reply instanceof ErrorReply) throw replyError(reply, witness.where, 'CLUSTER NODES');
    const nodes = typeof reply === 'string' ? parseClusterNodes(reply, access.tls !== undefined) : undefined;
    if (nodes === undefined) throw replyInvalid(reply, witness.where, 'CLUSTER NODES');
    // Also of a witness who was too late to be heard: only a slot's two ends know that it moves.
    for (const slot of nodes.flatMap((node) => node.moving)) movingUntil.set(slot, performance.now() + MOVING_MS);
    return { witness, nodes };
  }

  async function ask(at: number): Promise<View> {
    const serving = refresher.latest()?.nodes ?? [];
    const candidates = new Set([...shuffled(serving), ...known, ...seeds]);
    const asked = new Set<RedisNode>();
    const heard: Testimony[] = [];
    let reason: unknown;
    while (heard.length < WITNESSES) {
      const next = [...candidates].filter((node) => !asked.has(node)).slice(0, MOST_ASKED);
      if (next.length === 0) break;
      for (const node of next) asked.add(node);
      try {
        const results = await firstResults(next.map(testify), (had) => heard.length + had.length >= WITNESSES, 0);
        heard.push(...results);
        // The first witness tells of the others.
        for (const { announced } of results.flatMap(({ nodes }) => nodes)) {
          const found = announced === undefined ? undefined : fleet.nodeAt(announced);
          if (found !== undefined) candidates.add(found);
        }
      } catch (thrown) {
        reason = thrown;
      }
    }
    if (heard.length === 0) throw reason;
    return viewFrom(at, heard);
  }

  function viewFrom(at: number, heard: readonly Testimony[]): View {
    const owners = slotOwners(heard.map(({ nodes }) => nodes));
    const nodes = new Map<string, RedisNode>();
    for (const { witness, nodes: told } of heard) {
      for (const node of told) {
        // A node that doesn't know its own address is where it was asked.
        const found = node.announced === undefined ? (node.isSelf ? witness : undefined) : fleet.nodeAt(node.announced);
        if (found !== undefined && !nodes.has(node.id)) nodes.set(node.id, found);
      }
    }
    // In a cluster of several nodes one witness is none: it may be the very one that slept.
    if (heard.length < WITNESSES && nodes.size > 1) {
      throw new BrokerError(
        'BROKER_CLUSTER_DOWN',
        `only ${heard[0]?.witness.where ?? 'nobody'} of the cluster's ${nodes.size} nodes answers`,
      );
    }
    known = [...nodes.values()];
    const serving = new Set<RedisNode>();
    for (const owner of new Set(owners)) {
      const node = owner === undefined ? undefined : nodes.get(owner.id);
      if (node !== undefined) serving.add(node);
    }
    fleet.serve([...serving], new Set([...known, ...seeds]));
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
    view: () => refresher.view(),
    viewSince: (since) => refresher.viewSince(since),
    nodeAt: (address) => fleet.nodeAt(address),
    primary: 'never',
    follow: (on) => {
      fleet.follow(on);
    },
    unserved: (key) => new BrokerError('BROKER_CLUSTER_DOWN', `no node of the cluster serves slot ${slotOf(key)} of ${key}`),
    close: () => {
      fleet.close();
    },
  };
}

/** In another order each time, so that the witnesses change. */
function shuffled<T>(values: readonly T[]): T[] {
  return values
    .map((value) => ({ value, at: Math.random() }))
    .sort((left, right) => left.at - right.at)
    .map(({ value }) => value);
}
