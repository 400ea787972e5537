/**
 * How a Redis deployment is spoken to, with the topology of its kind, and what the scalers over each kind share.
 */
import type { BrokerKind } from '../contract.ts';
import { createRedisClient } from './client.ts';
import { deploymentOf, type ConnectionValues, type Deployment, type DeploymentKind } from './keys.ts';
import type { RedisQuestion } from './question.ts';
import { cluster } from './topology/cluster.ts';
import type { NodeListener } from './topology/node.ts';
import { sentinel } from './topology/sentinel.ts';
import { standalone } from './topology/standalone.ts';
import type { Topology } from './topology/topology.ts';
import { addressText } from '../net/address.ts';

const redisBroker: BrokerKind<Deployment, RedisQuestion> = {
  name: 'redis',
  label({ kind, addresses, access, masterName }) {
    const places = addresses.map(addressText).join(',');
    const scheme = access.tls === undefined ? 'redis' : 'rediss';
    switch (kind) {
      case 'standalone':
        return `${scheme}://${places}/${access.database}`;
      case 'cluster':
        return `${scheme} cluster ${places}`;
      case 'sentinel':
        return `${scheme} primary ${masterName} of sentinels ${places}, database ${access.database}`;
    }
  },
  open: (deployment, broker, events) => createRedisClient(broker, events, (listener) => connect(deployment, listener)),
};

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

/** The part of a scaler's definition that says which deployment it asks. */
export function asksDeployment(kind: DeploymentKind) {
  return {
    broker: redisBroker,
    connection: (values: ConnectionValues) => deploymentOf(kind, values),
  };
}
