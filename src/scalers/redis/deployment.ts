/**
 * Makes the conversation with a deployment, with the topology of its kind.
 */
import type { BrokerEvents } from '../brokerEvents.ts';
import type { BoundTo } from '../contract.ts';
import { identityOf, type Deployment } from './keys.ts';
import { createRedisClient } from './client.ts';
import type { NodeListener } from './topology/node.ts';
import type { RedisQuestion } from './question.ts';
import { cluster } from './topology/cluster.ts';
import { sentinel } from './topology/sentinel.ts';
import { standalone } from './topology/standalone.ts';
import type { Topology } from './topology/topology.ts';

export function bindTo(
  deployment: Deployment,
  question: RedisQuestion,
  decide: BoundTo<RedisQuestion>['decide'],
): BoundTo<RedisQuestion> {
  const broker = identityOf(deployment);
  return {
    broker,
    question,
    decide,
    open: (events: BrokerEvents) => createRedisClient(broker, events, (listener) => connect(deployment, listener)),
  };
}

function connect(deployment: Deployment, listener: NodeListener): Topology {
  const { addresses, access } = deployment;
  const [first] = addresses;
  if (first === undefined) throw new Error('a deployment without addresses passed the rules');
  switch (deployment.kind) {
    case 'standalone':
      return standalone(first, access, listener);
    case 'sentinel':
      return sentinel(deployment, listener);
    case 'cluster':
      return cluster(deployment, listener);
  }
}
