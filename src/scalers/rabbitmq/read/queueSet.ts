/**
 * Finds the queues of a pattern or a sharded exchange in the vhost's lists. A queue that was there and is not listed now stays a
 * part of its set, unread, until it is certain that it is gone: in a failover lists leave queues out. Measured on RabbitMQ 3.10: for
 * 5.4 s, from 70 s after a node began to hang, the totals list lacks that node's classic queues, with all nodes told to be running.
 */
import { RE2JS } from 're2js';
import { BrokerError, QueueError } from '../../../errors.ts';
import { chooseReader } from './readStrategy.ts';
import type { ListKind } from '../management/queueListCache.ts';
import type { QueueStats } from '../management/queueStats.ts';
import type { RabbitQuestion } from '../question.ts';
import type { VhostSources } from './sources.ts';

/** A queue that is in no list for so long, with all nodes running, is gone. */
const GONE_MS = 15_000;
const MAX_MATCHERS = 1_000;
/** The node in a shard's name, `sharding: EXCHANGE - NODE - INDEX`; an exchange's name may itself look like that. */
const SHARD_NODE = / - ([^ ]+) - [0-9]+$/;

export interface QueueSets {
  /** Rejects where names cannot be listed. A row is undefined for a queue that was listed lately and is not now. */
  find(question: RabbitQuestion): Promise<{
    readonly kind: ListKind;
    readonly found: ReadonlyMap<string, { readonly row: QueueStats; readonly at: number } | undefined>;
  }>;
  gone(question: RabbitQuestion, queue: string): void;
}

/** What lists told of a question's set. */
interface Seen {
  /** When each queue was last listed. */
  readonly names: Map<string, number>;
  /** Whether the set was listed at a time when no node had changed lately, and so was whole. */
  whole: boolean;
}

export function createQueueSets(sources: VhostSources): QueueSets {
  const seen = new Map<string, Seen>();
  const matchers = new Map<string, (name: string) => boolean>();

  /** Throws where the set may be smaller than it is. */
  function demandWhole({ selection, subject }: RabbitQuestion, lately: Seen): void {
    const nodes = sources.nodeNames();
    if (selection.kind === 'shards' && nodes !== undefined && lately.names.size > 0) {
      // The plugin keeps shards on every node of the cluster, so that the names themselves tell whether any node's are left out.
      const nodesWithShards = new Set([...lately.names.keys()].map((name) => SHARD_NODE.exec(name)?.[1]));
      const bare = nodes.filter((node) => !nodesWithShards.has(node));
      if (bare.length > 0) throw new QueueError('QUEUE_DOWN', `${subject}: no shard is listed of node ${bare.join(', ')}`);
      return;
    }
    if (!sources.zeros.recentNodeChange()) lately.whole = true;
    if (lately.whole) return;
    throw new QueueError('QUEUE_DOWN', `${subject}: a node has just changed, and lists may lack some of its queues`);
  }

  function matcherOf(question: RabbitQuestion): (name: string) => boolean {
    const { selection } = question;
    const pattern =
      selection.kind === 'shards'
        ? `^sharding: ${RE2JS.quote(selection.exchange)} - [^ ]+ - [0-9]+$`
        : selection.kind === 'pattern'
          ? selection.pattern
          : `^${RE2JS.quote(selection.name)}$`;
    let matches = matchers.get(pattern);
    if (matches === undefined) {
      const compiled = RE2JS.compile(pattern);
      const known = new Map<string, boolean>();
      matches = (name) => {
        let answer = known.get(name);
        if (answer === undefined) {
          if (known.size > 200_000) known.clear();
          known.set(name, (answer = compiled.matcher(name).find()));
        }
        return answer;
      };
      if (matchers.size >= MAX_MATCHERS) matchers.clear();
      matchers.set(pattern, matches);
    }
    return matches;
  }

  return {
    async find(question) {
      const { queues, prometheus } = await sources.prepare();
      if (sources.managementIsAbsent()) {
        throw new BrokerError(
          'BROKER_UNREACHABLE',
          `${question.subject} are listed by the management API, which cannot be reached`,
        );
      }
      const listed = sources.lists.size ?? queues ?? 0;
      const reader = chooseReader({ wanted: listed, listed, byPattern: true, rates: question.needs === 'rates', prometheus });
      const { kind, queues: rows, at } = await sources.lists.get(reader === 'single' ? 'totals' : reader);
      const matches = matcherOf(question);
      const found = new Map<string, { readonly row: QueueStats; readonly at: number } | undefined>();
      const lately = seen.get(question.key) ?? { names: new Map<string, number>(), whole: false };
      seen.set(question.key, lately);
      for (const row of rows.values()) {
        if (!matches(row.name)) continue;
        found.set(row.name, { row, at });
        lately.names.set(row.name, at);
      }
      for (const [name, seenAt] of lately.names) {
        if (found.has(name)) continue;
        if (sources.clusterStable() && at - seenAt > GONE_MS) lately.names.delete(name);
        else found.set(name, undefined);
      }
      demandWhole(question, lately);
      return { kind, found };
    },
    gone: (question, queue) => {
      seen.get(question.key)?.names.delete(queue);
    },
  };
}
