/**
 * One node for each server of a deployment, by the address that it announces, reached where the NAT map says.
 */
import { createNode, type NodeListener, type RedisNode } from './node.ts';
import { parseAddress, type Address } from '../../net/address.ts';
import type { Access } from '../wire/session.ts';

export interface NodePool {
  /** The node of an announced address; undefined where that is no address. */
  readonly nodeAt: (announced: string) => RedisNode | undefined;
  /** Follows the nodes that serve if following is on, and closes those that neither serve nor are known. */
  serve(serving: readonly RedisNode[], known: ReadonlySet<RedisNode>): void;
  readonly follow: (on: boolean) => void;
  readonly close: () => void;
}

export function createNodePool(natMap: ReadonlyMap<string, Address>, access: Access, listener: NodeListener): NodePool {
  const nodes = new Map<string, RedisNode>();
  let following = false;
  let current: readonly RedisNode[] = [];
  return {
    nodeAt(announced) {
      const existing = nodes.get(announced);
      if (existing !== undefined) return existing;
      const address = natMap.get(announced) ?? parseAddress(announced);
      if (address === undefined) return undefined;
      const node = createNode(address, access, listener);
      nodes.set(announced, node);
      return node;
    },
    serve(serving, known) {
      current = serving;
      const serves = new Set(serving);
      for (const [announced, node] of nodes) {
        node.follow(following && serves.has(node));
        if (serves.has(node) || known.has(node)) continue;
        nodes.delete(announced);
        node.close();
      }
    },
    follow(on) {
      following = on;
      for (const node of current) node.follow(on);
    },
    close() {
      for (const node of nodes.values()) node.close();
    },
  };
}
