import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createManagementHealth } from '../../../src/scalers/rabbitmq/management/health.ts';
import type { Management } from '../../../src/scalers/rabbitmq/management/api.ts';
import type { Node } from '../../../src/scalers/rabbitmq/management/clusterState.ts';
import { createAsker } from '../redis/ask.ts';
import { OVERVIEW } from './questionFixture.ts';

const RUNS = { name: 'r3@h', running: true, uptime: 100_000 };
const AWAY = { name: 'r3@h', running: false };
/** It hung for longer than the others waited for it, and goes on: seen on RabbitMQ 3.10 until it is restarted. */
const PARTED = { name: 'r3@h', running: false, uptime: 200_000 };
const MIRRORED = { name: 'q', type: 'classic', state: 'running', node: 'r1@h', slave_nodes: ['r2@h'] };
const STATISTICS = { messages: 12, messages_ready: 12, messages_unacknowledged: 0, consumers: 0 };

let server: Server;
/** What the third node is told to be, before the queue is told of and after; the statistics of the queue; looks at the nodes. */
let before: object;
let after: object;
let queue: object | string;
let looks: number;

beforeEach(async () => {
  before = after = RUNS;
  queue = { ...MIRRORED, ...STATISTICS };
  looks = 0;
  let told = false;
  // A totals list that has no figures yet, so that only statistics tell.
  const answers: readonly [string, () => unknown][] = [
    ['/api/overview', () => ({ rates_mode: 'basic', object_totals: { queues: 1 }, listeners: [] })],
    ['/api/queues/%2F?', () => [MIRRORED]],
    [
      '/api/queues/%2F/q',
      () => {
        told = true;
        return queue;
      },
    ],
    [
      '/api/nodes',
      () => {
        looks++;
        return [{ name: 'r1@h', running: true, uptime: 1 }, { name: 'r2@h', running: true, uptime: 1 }, told ? after : before];
      },
    ],
  ];
  server = createServer((request, response) => {
    const answer = answers.find(([path]) => request.url?.startsWith(path) === true)?.[1];
    const body = answer?.();
    response.end(typeof body === 'string' ? body : JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});

afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

async function outcome(): Promise<number | Error> {
  const asker = createAsker();
  try {
    const host = `http://guest:guest@127.0.0.1:${(server.address() as AddressInfo).port}`;
    return (await asker.ask({ scaler: 'rabbitmq', host, queueName: 'q', prometheus: 'off' })).decision.value;
  } catch (thrown) {
    return thrown as Error;
  } finally {
    await asker.close();
  }
}

describe('the statistics of a mirrored queue, which add up both sides of a healed split', () => {
  it.each([
    ['was away when the nodes were last seen', AWAY],
    ['was never seen to be away', RUNS],
    ['was seen to be back', PARTED],
  ])('are unknown where the other side %s', async (_, first) => {
    before = first;
    after = PARTED;
    const found = await outcome();
    expect(found).toMatchObject({ code: 'VALUE_IMPLAUSIBLE' });
    expect((found as Error).message).toContain('r3@h is restarted');
  });

  it.each([
    ['runs', RUNS],
    ['is away', AWAY],
    ['is back and does not tell yet', { name: 'r3@h', running: true }],
  ])('are told while the other side %s', async (_, node) => {
    before = after = node;
    expect(await outcome()).toBe(12);
  });

  it('are unknown where it may be read from them alone, as the two sides tell of other mirrors', async () => {
    queue = JSON.stringify(queue).replace('"slave_nodes"', '"slave_nodes":["r1@h","r2@h"],"slave_nodes"');
    expect(await outcome()).toMatchObject({ code: 'VALUE_IMPLAUSIBLE' });
  });

  it('are no concern of a queue without mirrors, for which the nodes are not looked at again', async () => {
    before = after = PARTED;
    queue = { ...MIRRORED, ...STATISTICS, slave_nodes: undefined };
    expect(await outcome()).toBe(12);
    expect(looks).toBe(1);
  });
});

it('one look at the nodes does for all who want it, and all of them wait for it', async () => {
  const cluster: Node[] = ['r1@h', 'r2@h'].map((name) => ({ name, running: true, reports: true }));
  let answers: ((nodes: readonly Node[]) => void)[] = [];
  const management: Partial<Management> = {
    nodes: () => new Promise((resolve) => answers.push(resolve)),
    overview: () => Promise.resolve(OVERVIEW),
  };
  const health = createManagementHealth(management as Management, false, new AbortController().signal);
  const first = health.refresh();
  answers.splice(0).forEach((answer) => {
    answer(cluster);
  });
  await first;
  const answeredAt = performance.now();
  const seen: string[] = [];
  const all = ['a', 'b'].map((who) => health.seeNodes(answeredAt).then(() => seen.push(who)));
  await new Promise(setImmediate);
  expect(seen).toEqual([]);
  expect(answers).toHaveLength(1);
  answers[0]?.(cluster);
  await Promise.all(all);
  answers = [];
  await health.seeNodes(answeredAt);
  expect(answers).toEqual([]);
});
