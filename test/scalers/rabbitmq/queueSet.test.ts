import { describe, expect, test } from 'vitest';
import { createQueueSets } from '../../../src/scalers/rabbitmq/read/queueSet.ts';
import type { QueueStats, QueueList } from '../../../src/scalers/rabbitmq/management/queueStats.ts';
import type { VhostSources } from '../../../src/scalers/rabbitmq/read/sources.ts';
import { ask } from './questionFixture.ts';

const NODES = ['r1@localhost', 'r2@localhost', 'r3@localhost'];
const SHARDS = NODES.map((node) => `sharding: orders - ${node} - 0`);

/** A broker's lists as they are at the moment; the test changes them. */
interface Listed {
  names: readonly string[];
  eventful: boolean;
  nodes: readonly string[] | undefined;
}

function membersOf(listed: Listed): ReturnType<typeof createQueueSets> {
  const row = (name: string): QueueStats => ({
    name,
    type: 'classic',
    ready: 1,
    unacknowledged: 0,
    messages: 1,
    consumers: 0,
    replicated: false,
    counters: undefined,
    error: undefined,
  });
  const rows = (): QueueList => ({
    kind: 'totals',
    at: performance.now(),
    queues: new Map(listed.names.map((name) => [name, row(name)])),
  });
  const sources: Partial<VhostSources> = {
    prepare: () => Promise.resolve({ queues: 3, prometheus: false }),
    managementIsAbsent: () => false,
    clusterStable: () => !listed.eventful,
    nodeNames: () => listed.nodes,
    partitionedNodes: () => [],
    lists: {
      get: () => Promise.resolve(rows()),
      learnType: () => Promise.resolve(),
      typeOf: () => 'classic',
      size: undefined,
      tookMs: 0,
    },
    zeros: {
      recentNodeChange: () => listed.eventful,
      resetZero: () => false,
      isConfirmed: () => false,
      nodeEvent: () => undefined,
      zero: () => ({ confirmed: false, why: 'not asked for' }),
    },
  };
  return createQueueSets(sources as VhostSources);
}

const shards = ask({ kind: 'shards', exchange: 'orders' });
const pattern = ask({ kind: 'pattern', pattern: '^orders\\.' });

describe('the queues of a set', () => {
  test('are all that the list names', async () => {
    const { found } = await membersOf({ names: [...SHARDS, 'other'], eventful: false, nodes: NODES }).find(shards);
    expect([...found.keys()]).toEqual(SHARDS);
  });

  test('are unknown while a node of the cluster has no shard in the list, as the lists of a node that begins to hang', async () => {
    const members = membersOf({ names: SHARDS.slice(0, 2), eventful: false, nodes: NODES });
    await expect(members.find(shards)).rejects.toThrow('no shard is listed of node r3@localhost');
  });

  test('are told apart by node even where the exchange is named like a shard', async () => {
    const exchange = 'orders - r3@localhost - 0';
    const names = NODES.slice(0, 2).map((node) => `sharding: ${exchange} - ${node} - 0`);
    const members = membersOf({ names, eventful: false, nodes: NODES });
    await expect(members.find(ask({ kind: 'shards', exchange }))).rejects.toThrow('no shard is listed of node r3@localhost');
  });

  test('are known at once when each node has its shards in the list, though a node has just changed', async () => {
    const { found } = await membersOf({ names: SHARDS, eventful: true, nodes: NODES }).find(shards);
    expect(found.size).toBe(3);
  });

  test('are taken as listed where the login may not see nodes', async () => {
    const { found } = await membersOf({ names: SHARDS.slice(0, 2), eventful: false, nodes: undefined }).find(shards);
    expect(found.size).toBe(2);
  });

  test('are unknown when first met just after a node changed, and known once that is over', async () => {
    const listed: Listed = { names: ['orders.1'], eventful: true, nodes: NODES };
    const members = membersOf(listed);
    await expect(members.find(pattern)).rejects.toThrow('lists may lack some');
    listed.eventful = false;
    listed.names = ['orders.1', 'orders.2'];
    expect((await members.find(pattern)).found.size).toBe(2);
  });

  test('stay a part of the set when a list leaves them out just after a node changed', async () => {
    const listed: Listed = { names: ['orders.1', 'orders.2'], eventful: false, nodes: NODES };
    const members = membersOf(listed);
    await members.find(pattern);
    listed.eventful = true;
    listed.names = ['orders.1'];
    const { found } = await members.find(pattern);
    expect(found.has('orders.2')).toBe(true);
    expect(found.get('orders.2')).toBeUndefined();
  });
});
