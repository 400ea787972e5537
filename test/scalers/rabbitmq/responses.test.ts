import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createAsker, type Asker } from '../redis/ask.ts';

/** What the broker has of a queue: messages that wait, messages held, rates of publishing and delivering. */
interface State {
  readonly ready: number;
  readonly held?: number;
  readonly published?: number;
  readonly delivered?: number;
}

type Texts = Readonly<Record<string, string>>;

let server: Server;
let port: number;
let asker: Asker;
/** By sub-path and vhost as they stand in the request's path, so that an answer shows that the path was right. */
const brokers = new Map<string, Readonly<Record<string, State>>>();

/** A management API behind any sub-path, with the queues that {@link brokers} has there. */
beforeAll(async () => {
  server = createServer((request, response) => {
    const [, subPath = '', rest = ''] = /^(.*?)\/api\/(.*)$/.exec(request.url ?? '') ?? [];
    const [, vhost = '', queue] = /^queues\/([^/?]+)(?:\/([^?]+))?/.exec(rest) ?? [];
    const queues = brokers.get(`${subPath} ${vhost}`);
    if (rest.startsWith('overview')) response.end('{"rates_mode":"basic","object_totals":{"queues":4},"listeners":[]}');
    else if (rest.startsWith('nodes')) response.end('[{"name":"r1@h","running":true,"uptime":100000}]');
    else if (queues === undefined) response.writeHead(404).end('{"error":"Object Not Found"}');
    else if (queue === undefined) response.end(JSON.stringify(Object.entries(queues).map(([name, state]) => row(name, state))));
    else {
      const state = queues[decodeURIComponent(queue)];
      if (state === undefined) response.writeHead(404).end('{"error":"Object Not Found"}');
      else response.end(JSON.stringify(row(decodeURIComponent(queue), state)));
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  ({ port } = server.address() as AddressInfo);
  asker = createAsker();
});
afterAll(async () => {
  await asker.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

function row(name: string, { ready, held = 0, published = 0, delivered = 0 }: State): unknown {
  const stats = {
    ...{ publish: 10, publish_details: { rate: published } },
    ...{ deliver_get: 10, deliver_get_details: { rate: delivered }, ack: 10, ack_details: { rate: delivered } },
  };
  const counts = { messages: ready + held, messages_ready: ready, messages_unacknowledged: held, consumers: held };
  return { name, type: 'classic', state: 'running', ...counts, message_stats: stats };
}

async function told(path: string, more: Texts): Promise<{ readonly value: number; readonly active: boolean }> {
  const metadata = { scaler: 'rabbitmq', host: `http://u:p@127.0.0.1:${port}${path}`, prometheus: 'off', ...more };
  const { value, active } = (await asker.ask(metadata)).decision;
  return { value, active };
}

/** Path of host, vhostName, and where the request must go. */
const ADDRESSES: readonly (readonly [string, string | undefined, string, string])[] = [
  ['', undefined, '', '%2F'],
  ['/', undefined, '', '%2F'],
  ['//', undefined, '', '%2F'],
  ['/%2F', undefined, '', '%2F'],
  ['/myVhost', undefined, '', 'myVhost'],
  ['/%2FmyVhost', undefined, '', '%2FmyVhost'],
  ['/sub1/', undefined, '/sub1', '%2F'],
  ['/sub1/%2F', undefined, '/sub1', '%2F'],
  ['/sub1/myVhost', undefined, '/sub1', 'myVhost'],
  ['/sub1/sub2/%2FmyVhost', undefined, '/sub1/sub2', '%2FmyVhost'],
  ['', 'over', '', 'over'],
  ['/myVhost', 'over', '', 'over'],
  ['/sub1/', '/over', '/sub1', '%2Fover'],
  ['/sub1/sub2/myVhost', 'over', '/sub1/sub2', 'over'],
  // KEDA asks for `ov+er`, which is another vhost.
  ['/myVhost', 'ov er', '', 'ov%20er'],
];

/** What is asked of which queue, and what is told; the queue's name has slashes, as KEDA's tables have it. */
const RESPONSES: readonly (readonly [State, Texts, number, boolean])[] = [
  [{ ready: 4 }, { queueLength: '10' }, 4, true],
  [{ ready: 3, held: 1 }, { mode: 'QueueLength', value: '10' }, 4, true],
  [{ ready: 0, held: 4 }, { mode: 'QueueLength', value: '10' }, 4, true],
  [{ ready: 0, held: 4 }, { mode: 'QueueLength', value: '10', excludeUnacknowledged: 'true' }, 0, false],
  [{ ready: 1, held: 4 }, { mode: 'QueueLength', value: '10', excludeUnacknowledged: 'true' }, 1, true],
  [{ ready: 0 }, { mode: 'QueueLength', value: '10' }, 0, false],
  [{ ready: 9 }, { mode: 'QueueLength', value: '10', activationValue: '9' }, 9, false],
  [{ ready: 4, published: 1.4 }, { mode: 'MessageRate', value: '10' }, 1.4, true],
  [{ ready: 0, published: 1.4 }, { mode: 'MessageRate', value: '10' }, 1.4, true],
  [{ ready: 1 }, { mode: 'MessageRate', value: '10' }, 0, true],
  [{ ready: 0 }, { mode: 'MessageRate', value: '10' }, 0, false],
  [{ ready: 4, delivered: 2.5 }, { mode: 'DeliverGetRate', value: '10' }, 2.5, true],
  [{ ready: 4 }, { mode: 'DeliverGetRate', value: '10' }, 0, false],
];

describe.each(ADDRESSES)('a host with the path %j and vhostName %j', (path, vhostName, subPath, vhost) => {
  it(`is asked below ${subPath}/api/queues/${vhost}, and each response becomes its value and activity`, async () => {
    const name = 'evaluate_trials/with slash+';
    for (const [state, more, value, active] of RESPONSES) {
      brokers.clear();
      brokers.set(`${subPath} ${vhost}`, { [name]: state, other: { ready: 99 } });
      const asked = { queueName: name, confirmZero: '0', ...more, ...(vhostName === undefined ? {} : { vhostName }) };
      expect(await told(path, asked), JSON.stringify([state, more])).toEqual({ value, active });
    }
  });
});

describe('a set by regular expression', () => {
  const SET: Readonly<Record<string, State>> = {
    'evaluate_trial-1': { ready: 4, held: 1, published: 1, delivered: 2 },
    'evaluate_trial-2': { ready: 2, held: 0, published: 3, delivered: 0 },
    'evaluate_trial-3': { ready: 1, held: 2, published: 0.5, delivered: 1 },
    decoy: { ready: 99, published: 99, delivered: 99 },
  };
  const length = { mode: 'QueueLength', value: '10' };
  it.each<[string, Texts, number]>([
    ['sum', length, 10],
    ['max', length, 5],
    // KEDA cuts it to 3.
    ['avg', length, 10 / 3],
    ['sum', { ...length, excludeUnacknowledged: 'true' }, 7],
    ['max', { ...length, excludeUnacknowledged: 'true' }, 4],
    ['avg', { ...length, excludeUnacknowledged: 'true' }, 7 / 3],
    ['sum', { mode: 'MessageRate', value: '10' }, 4.5],
    ['max', { mode: 'MessageRate', value: '10' }, 3],
    ['avg', { mode: 'MessageRate', value: '10' }, 1.5],
    ['sum', { mode: 'DeliverGetRate', value: '10' }, 3],
    ['max', { mode: 'DeliverGetRate', value: '10' }, 2],
    ['avg', { mode: 'DeliverGetRate', value: '10' }, 1],
  ])('has the %s of %j', async (operation, more, value) => {
    brokers.clear();
    brokers.set(' %2F', SET);
    const asked = { queueName: '^evaluate_trial', useRegex: 'true', operation, ...more };
    const found = await told('/', asked);
    expect(found.value).toBeCloseTo(value, 9);
    expect(found.active).toBe(true);
    // Where KEDA takes the second page for an error, the page size changes nothing.
    for (const pageSize of ['1', '100', '200', '500']) expect(await told('/', { ...asked, pageSize })).toEqual(found);
  });
});
