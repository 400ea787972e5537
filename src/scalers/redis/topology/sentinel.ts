/**
 * The primary that Redis Sentinel names, asked anew for every reading, so that a former primary which still answers is not believed. Of
 * different names the one of the most recent configuration counts: each failover has a higher epoch, and sentinels that had no part in
 * it may name the former primary for seconds (https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/, "Configuration
 * epochs").
 */
import { BrokerError } from '../../../errors.ts';
import type { Deployment } from '../keys.ts';
import { createNode, type NodeListener, type RedisNode } from './node.ts';
import { addressText } from '../../net/address.ts';
import { askedAmiss, replyInvalid } from '../wire/failures.ts';
import { ErrorReply, fieldsOf } from '../wire/reply.ts';
import { createNodePool } from './nodePool.ts';
import { createRefresher, firstResults } from './refresh.ts';
import type { Topology, TopologySnapshot } from './topology.ts';

/** How long to wait for the others once a majority has answered: the one that led a failover is the first to know its end. */
const LATE_VOTE_MS = 50;

export function sentinel(
  { addresses, access, sentinelAccess, masterName, natMap }: Deployment,
  listener: NodeListener,
): Topology {
  const pool = createNodePool(natMap, access, listener);
  // Failures of single ones matter only when none names a primary, and are reported then.
  const sentinels = addresses.map((address) => createNode(address, sentinelAccess));

  async function named(by: RedisNode): Promise<Vote> {
    const subject = `the primary ${masterName}`;
    const { replies, session } = await by.request([
      ['SENTINEL', 'GET-MASTER-ADDR-BY-NAME', masterName],
      ['SENTINEL', 'MASTER', masterName],
    ]);
    const [reply = null, master = null] = replies;
    if (reply instanceof ErrorReply) throw askedAmiss(reply, by.where, subject, 'sentinel', session.kind);
    if (reply === null)
      throw new BrokerError('BROKER_REPLY_INVALID', `sentinel ${by.where} knows no primary called ${masterName}`);
    const [host, port] = Array.isArray(reply) ? (reply as readonly unknown[]) : [];
    if (typeof host !== 'string' || typeof port !== 'string') throw replyInvalid(reply, by.where, subject);
    // A sentinel whose epoch we may not read still has a vote.
    const epoch = Number(fieldsOf(master).get('config-epoch') ?? NaN);
    return { name: addressText({ host, port: Number(port) }), epoch: Number.isSafeInteger(epoch) ? epoch : -1 };
  }

  async function ask(at: number): Promise<TopologySnapshot> {
    const majority = Math.floor(sentinels.length / 2) + 1;
    const votes = await firstResults(sentinels.map(named), (heard) => heard.length >= majority, LATE_VOTE_MS);
    const name = mostRecent(votes);
    const primary = pool.nodeAt(name);
    if (primary === undefined) throw new BrokerError('BROKER_REPLY_INVALID', `the sentinels name ${name}, which is no address`);
    pool.serve([primary], new Set());
    return { at, nodeOf: () => primary, nodes: [primary], moving: () => false };
  }

  const refresher = createRefresher(ask);
  return {
    ...refresher,
    nodeAt: () => undefined,
    anyRole: false,
    several: true,
    follow: pool.follow,
    unserved: () => new BrokerError('BROKER_BUSY', `the sentinels name no primary ${masterName}`),
    close() {
      pool.close();
      for (const each of sentinels) each.close();
    },
  };
}

/** One sentinel's answer. */
interface Vote {
  /** `host:port` */
  readonly name: string;
  /** Epoch of its configuration; -1 where it is not known. */
  readonly epoch: number;
}

/** The name with the highest epoch, or where an epoch is unknown the most frequent one. */
function mostRecent(votes: readonly Vote[]): string {
  const newest = votes.some(({ epoch }) => epoch < 0) ? -1 : Math.max(...votes.map(({ epoch }) => epoch));
  const counts = new Map<string, number>();
  for (const { name, epoch } of votes) if (newest < 0 || epoch === newest) counts.set(name, (counts.get(name) ?? 0) + 1);
  const [[name] = ['']] = [...counts].sort(([, left], [, right]) => right - left);
  return name;
}
