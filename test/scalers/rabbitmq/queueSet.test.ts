import { describe, expect, test } from 'vitest';
import { createQueueSets } from '../../../src/scalers/rabbitmq/read/queueSet.ts';
import type { RabbitQuestion } from '../../../src/scalers/rabbitmq/question.ts';
import { ask, CHANGED, STABLE, stats } from './questionFixture.ts';

const NODES = ['r1@localhost', 'r2@localhost', 'r3@localhost'];
const SHARDS = NODES.map((node) => `sharding: orders - ${node} - 0`);

/** A broker's lists as they are at the moment; the test changes them. */
interface Listed {
  names: readonly string[];
  recentNodeChange: boolean;
  nodes: readonly string[] | undefined;
}

function setsOf(listed: Listed): (question: RabbitQuestion) => ReadonlyMap<string, unknown> {
  const sets = createQueueSets();
  return (question) => {
    const queues = new Map(listed.names.map((name) => [name, stats(name, 1)]));
    const list = { kind: 'totals', at: performance.now(), queues } as const;
    return sets.find(question, list, { ...(listed.recentNodeChange ? CHANGED : STABLE), nodeNames: listed.nodes });
  };
}

const shards = ask({ kind: 'shards', exchange: 'orders' });
const pattern = ask({ kind: 'pattern', pattern: '^orders\\.' });

describe('the queues of a set', () => {
  test('are all that the list names', () => {
    const found = setsOf({ names: [...SHARDS, 'other'], recentNodeChange: false, nodes: NODES })(shards);
    expect([...found.keys()]).toEqual(SHARDS);
  });

  test('are unknown while a node of the cluster has no shard in the list, as the lists of a node that begins to hang', () => {
    const find = setsOf({ names: SHARDS.slice(0, 2), recentNodeChange: false, nodes: NODES });
    expect(() => find(shards)).toThrow('no shard is listed of node r3@localhost');
  });

  test('are told apart by node even where the exchange is named like a shard', () => {
    const exchange = 'orders - r3@localhost - 0';
    const names = NODES.slice(0, 2).map((node) => `sharding: ${exchange} - ${node} - 0`);
    const find = setsOf({ names, recentNodeChange: false, nodes: NODES });
    expect(() => find(ask({ kind: 'shards', exchange }))).toThrow('no shard is listed of node r3@localhost');
  });

  test('are known at once when each node has its shards in the list, though a node has just changed', () => {
    const found = setsOf({ names: SHARDS, recentNodeChange: true, nodes: NODES })(shards);
    expect(found.size).toBe(3);
  });

  test('are taken as listed where the login may not see nodes', () => {
    const found = setsOf({ names: SHARDS.slice(0, 2), recentNodeChange: false, nodes: undefined })(shards);
    expect(found.size).toBe(2);
  });

  test('are unknown when first met just after a node changed, and known once that is over', () => {
    const listed: Listed = { names: ['orders.1'], recentNodeChange: true, nodes: NODES };
    const find = setsOf(listed);
    expect(() => find(pattern)).toThrow('lists may lack some');
    listed.recentNodeChange = false;
    listed.names = ['orders.1', 'orders.2'];
    expect(find(pattern).size).toBe(2);
  });

  test('stay a part of the set when a list leaves them out just after a node changed', () => {
    const listed: Listed = { names: ['orders.1', 'orders.2'], recentNodeChange: false, nodes: NODES };
    const find = setsOf(listed);
    find(pattern);
    listed.recentNodeChange = true;
    listed.names = ['orders.1'];
    const found = find(pattern);
    expect(found.has('orders.2')).toBe(true);
    expect(found.get('orders.2')).toBeUndefined();
  });
});
