/**
 * One server at one address. If it is no primary, or no longer, the address is looked up anew.
 */
import { BrokerError } from '../../../errors.ts';
import { createNode, type NodeListener } from './node.ts';
import type { Address } from '../../net/address.ts';
import type { Access } from '../wire/session.ts';
import type { Topology, TopologySnapshot } from './topology.ts';

export function standalone(address: Address, access: Access, listener: NodeListener): Topology {
  const node = createNode(address, access, listener);
  const snapshotNow = (): TopologySnapshot => ({ at: performance.now(), nodeOf: () => node, nodes: [node], moving: () => false });
  return {
    snapshot: () => Promise.resolve(snapshotNow()),
    snapshotSince: () => Promise.resolve(snapshotNow()),
    nodeAt: () => undefined,
    anyRole: false,
    several: false,
    follow: node.follow,
    unserved: (key) => new BrokerError('BROKER_BUSY', `${node.where} does not serve ${key}`),
    close: node.close,
  };
}
