/**
 * The primary that Redis Sentinel names: what most sentinels say, asked anew for every reading, so that a former primary which
 * still answers is not believed.
 */
import { BrokerError } from '../../../errors.ts';
import type { Deployment } from '../connectionKeys.ts';
import { createNode, type NodeListener, type RedisNode } from '../node.ts';
import { addressText } from '../wire/address.ts';
import { replyError, replyInvalid } from '../wire/failures.ts';
import { ErrorReply } from '../wire/resp.ts';
import { createFleet } from './fleet.ts';
import { createRefresher, firstResults } from './refresh.ts';
import type { Topology, View } from './topology.ts';

/** The sentinels' own troubles show where they matter: when nobody names a primary. */
const SENTINEL_LISTENER: NodeListener = {
  opened: () => undefined,
  followed: () => undefined,
  ended: () => undefined,
  invalidated: () => undefined,
};

export function sentinel(
  { addresses, access, sentinelAccess, masterName, natMap }: Deployment,
  listener: NodeListener,
): Topology {
  const fleet = createFleet(natMap, access, listener);
  const sentinels = addresses.map((address) => createNode(address, sentinelAccess, SENTINEL_LISTENER, false));

  async function named(by: RedisNode): Promise<string> {
    const subject = `the primary ${masterName}`;
    const [reply = null] = (await by.request([['SENTINEL', 'GET-MASTER-ADDR-BY-NAME', masterName]])).replies;
    if (reply instanceof ErrorReply) throw replyError(reply, by.where, subject);
    if (reply === null)
      throw new BrokerError('BROKER_REPLY_INVALID', `sentinel ${by.where} knows no primary called ${masterName}`);
    const [host, port] = Array.isArray(reply) ? (reply as readonly unknown[]) : [];
    if (typeof host !== 'string' || typeof port !== 'string') throw replyInvalid(reply, by.where, subject);
    return addressText({ host, port: Number(port) });
  }

  async function ask(at: number): Promise<View> {
    const majority = Math.floor(sentinels.length / 2) + 1;
    const votes = await firstResults(sentinels.map(named), (names) => mostVoted(names).count >= majority);
    const { name } = mostVoted(votes);
    const primary = fleet.nodeAt(name);
    if (primary === undefined) throw new BrokerError('BROKER_REPLY_INVALID', `the sentinels name ${name}, which is no address`);
    fleet.serve([primary], new Set());
    return { at, nodeOf: () => primary, nodes: [primary], moving: () => false };
  }

  const refresher = createRefresher(ask);
  return {
    view: () => refresher.view(),
    viewSince: (since) => refresher.viewSince(since),
    nodeAt: () => undefined,
    primary: 'always',
    follow: (on) => {
      fleet.follow(on);
    },
    unserved: () => new BrokerError('BROKER_BUSY', `the sentinels name no primary ${masterName}`),
    close() {
      fleet.close();
      for (const each of sentinels) each.close();
    },
  };
}

function mostVoted(names: readonly string[]): { readonly name: string; readonly count: number } {
  const votes = new Map<string, number>();
  for (const name of names) votes.set(name, (votes.get(name) ?? 0) + 1);
  const [[name, count] = ['', 0]] = [...votes].sort(([, left], [, right]) => right - left);
  return { name, count };
}
