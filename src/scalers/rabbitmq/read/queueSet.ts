/**
 * Finds the queues of a pattern or a sharded exchange in the vhost's lists. A queue that is listed no longer stays in its set, unread,
 * until it is certain to be gone, because lists leave queues out during a failover. Measured on RabbitMQ 3.10: for 5.4 s, from 70 s
 * after a node began to hang, the totals list lacks that node's classic queues while all nodes are reported as running.
 */
import { RE2JS } from 're2js';
import { QueueError } from '../../../errors.ts';
import type { ClusterState } from '../management/clusterState.ts';
import type { QueueList, QueueStats } from '../management/queueStats.ts';
import type { RabbitQuestion } from '../question.ts';
import { createForgettingMap } from './queueMemory.ts';

/** A queue that no list had for this long, with all nodes running, is gone. */
const GONE_MS = 15_000;
/** Patterns and sets that nobody asks about are forgotten after this time. */
const IDLE_MS = 900_000;
/** Names of deleted queues whose match is remembered at most, beside as many as are listed. */
const SPARE_NAMES = 1_000;
/** The node in a shard's name, `sharding: EXCHANGE - NODE - INDEX`; an exchange's name may itself look like that. */
const SHARD_NODE = / - ([^ ]+) - [0-9]+$/;

export interface QueueSets {
  /**
   * The queues of the question's set; undefined for one that was listed lately and is not now. Throws a {@link QueueError} if the
   * list may be missing queues.
   */
  find(question: RabbitQuestion, list: QueueList, cluster: ClusterState): ReadonlyMap<string, QueueStats | undefined>;
  /** Drops a queue that does not exist any more. */
  gone(question: RabbitQuestion, queue: string): void;
}

interface QueueSet {
  /** When each queue was last listed. */
  readonly names: Map<string, number>;
  /** It was listed at a time when no node had changed recently, and so was complete. */
  complete: boolean;
}

export function createQueueSets(): QueueSets {
  const sets = createForgettingMap<QueueSet>(IDLE_MS);
  const matchers = createForgettingMap<Matcher>(IDLE_MS);

  function matcherOf({ selection }: RabbitQuestion): Matcher {
    if (selection.kind === 'queue' || selection.kind === 'names') throw new Error('queues that are named are not looked for');
    const { pattern, exclude } =
      selection.kind === 'pattern'
        ? selection
        : { pattern: `^sharding: ${RE2JS.quote(selection.exchange)} - [^ ]+ - [0-9]+$`, exclude: undefined };
    const key = JSON.stringify([pattern, exclude]);
    let matcher = matchers.get(key);
    if (matcher === undefined) matchers.set(key, (matcher = createMatcher(pattern, exclude)));
    return matcher;
  }

  return {
    find(question, { queues, at }, cluster) {
      const matches = matcherOf(question);
      let set = sets.get(question.key);
      if (set === undefined) sets.set(question.key, (set = { names: new Map(), complete: false }));
      const found = new Map<string, QueueStats | undefined>();
      for (const stats of queues.values()) {
        if (!matches(stats.name, queues.size)) continue;
        found.set(stats.name, stats);
        set.names.set(stats.name, at);
      }
      for (const [name, listedAt] of set.names) {
        if (found.has(name)) continue;
        if (cluster.clusterStable && at - listedAt > GONE_MS) set.names.delete(name);
        else found.set(name, undefined);
      }
      demandComplete(question, set, cluster);
      return found;
    },
    gone(question, queue) {
      sets.get(question.key)?.names.delete(queue);
    },
  };
}

function demandComplete({ selection, subject }: RabbitQuestion, set: QueueSet, cluster: ClusterState): void {
  const { nodeNames, recentNodeChange } = cluster;
  if (selection.kind === 'shards' && nodeNames !== undefined && set.names.size > 0) {
    // The plugin keeps shards on every node of the cluster, so the names themselves show whether any node's are missing.
    const nodesWithShards = new Set([...set.names.keys()].map((name) => SHARD_NODE.exec(name)?.[1]));
    const bare = nodeNames.filter((node) => !nodesWithShards.has(node));
    if (bare.length > 0) throw new QueueError('QUEUE_DOWN', `${subject}: no shard is listed of node ${bare.join(', ')}`);
    return;
  }
  if (!recentNodeChange) set.complete = true;
  if (set.complete) return;
  throw new QueueError('QUEUE_DOWN', `${subject}: a node has just changed, and lists may lack some of its queues`);
}

/** Whether a queue's name matches, given how many queues are listed with it. */
type Matcher = (name: string, listed: number) => boolean;

function createMatcher(pattern: string, exclude: string | undefined): Matcher {
  const compiled = RE2JS.compile(pattern);
  const excluded = exclude === undefined ? undefined : RE2JS.compile(exclude);
  const known = new Map<string, boolean>();
  return (name, listed) => {
    let answer = known.get(name);
    if (answer === undefined) {
      if (known.size >= listed + SPARE_NAMES) known.clear();
      known.set(name, (answer = compiled.matcher(name).find() && excluded?.matcher(name).find() !== true));
    }
    return answer;
  };
}
