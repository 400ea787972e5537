import fc from 'fast-check';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { readMetrics } from '../../../src/scalers/rabbitmq/prometheus/exposition.ts';
import type { QueueStats } from '../../../src/scalers/rabbitmq/management/queueStats.ts';
import { createAsker } from '../redis/ask.ts';

/** What is beyond what may be held of one answer and its parsing, in bytes. */
const MEMORY_BYTES = 250_000_000;
let server: Server | undefined;

afterEach(async () => {
  server?.closeAllConnections();
  await new Promise<void>((resolve) => {
    if (server === undefined) resolve();
    else
      server.close(() => {
        resolve();
      });
  });
  server = undefined;
});

/** A management API that answers lists, or everything, as it is told; the rest is that of a broker without figures. */
async function serve(answer: (request: IncomingMessage, response: ServerResponse) => void, queues = 1): Promise<string> {
  server = createServer((request, response) => {
    if (request.url?.startsWith('/api/overview'))
      response.end(`{"rates_mode":"basic","object_totals":{"queues":${queues}},"listeners":[]}`);
    else if (request.url?.startsWith('/api/nodes')) response.end('[{"name":"r1@h","running":true,"uptime":100000}]');
    else answer(request, response);
  });
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
  return `http://guest:guest@127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** The value that the trigger is told, or the code of the error in its place. */
async function outcome(host: string, more: Readonly<Record<string, string>> = {}): Promise<number | string> {
  const asker = createAsker();
  try {
    const { decision } = await asker.ask({
      scaler: 'rabbitmq',
      host,
      queueName: 'q',
      timeout: '500',
      prometheus: 'off',
      ...more,
    });
    return decision.value;
  } catch (thrown) {
    return (thrown as { code: string }).code;
  } finally {
    await asker.close();
  }
}

const ROW = { name: 'q', type: 'classic', state: 'running', messages: 5, messages_ready: 3, messages_unacknowledged: 2 };

function row(changes: Readonly<Record<string, unknown>>): string {
  return JSON.stringify([{ ...ROW, ...changes }]);
}

/** Answers that never end, or far too late. */
const ENDLESS: Readonly<
  Record<string, { readonly answer: (request: IncomingMessage, response: ServerResponse) => void; readonly code: RegExp }>
> = {
  'of 50 MB': {
    code: /^BROKER_REPLY_INVALID$/,
    answer: (_, response) => {
      const chunk = Buffer.alloc(1_000_000, ' ');
      let sent = 0;
      const more = (): void => {
        while (sent++ < 50) if (!response.write(chunk)) return void response.once('drain', more);
        response.end('[]');
      };
      more();
    },
  },
  'that drips for ever': {
    code: /^BROKER_TIMEOUT$/,
    answer: (request, response) => {
      const drip = setInterval(() => response.write(' '), 20);
      request.on('close', () => {
        clearInterval(drip);
      });
    },
  },
  'whose headers never end': {
    code: /^BROKER_/,
    answer: ({ socket }) => {
      socket.write('HTTP/1.1 200 OK\r\n');
      const more = setInterval(() => socket.write(`x-more: ${'y'.repeat(8_000)}\r\n`), 1);
      socket
        .on('error', () => undefined)
        .on('close', () => {
          clearInterval(more);
        });
    },
  },
};

describe('an answer of the management API', () => {
  it.each([
    ['a whole row', row({}), 5],
    ['no messages', row({ messages: undefined }), 'error'],
    ['null messages', row({ messages: null }), 'error'],
    ['no state', row({ state: undefined, messages: 0, messages_ready: 0, messages_unacknowledged: 0 }), 'FIELD_MISSING'],
    ['a queue that is down', row({ state: 'down' }), 'QUEUE_DOWN'],
    ['a stopped queue of 0', row({ state: 'stopped', messages: 0, messages_ready: 0, messages_unacknowledged: 0 }), 'QUEUE_DOWN'],
    ['a negative count', row({ messages: -1 }), 'VALUE_IMPLAUSIBLE'],
    ['a fraction', row({ messages: 1.5 }), 'VALUE_IMPLAUSIBLE'],
    ['a text', row({ messages: '5' }), 'VALUE_IMPLAUSIBLE'],
    ['a sum less than its parts', row({ messages: 0 }), 'VALUE_IMPLAUSIBLE'],
    ['the queue twice', `[${row({}).slice(1, -1)},${row({ messages: 9 }).slice(1, -1)}]`, 'VALUE_IMPLAUSIBLE'],
    ['a figure twice', row({}).replace('"messages":5', '"messages":5,"messages":0'), 'VALUE_IMPLAUSIBLE'],
    ['ready messages twice', row({}).replace('}]', ',"messages_ready":0}]'), 'VALUE_IMPLAUSIBLE'],
    [
      'a figure twice beside a row without it',
      `[${row({}).slice(1, -1).replace('"messages":5', '"messages":5,"messages":0')},{"name":"stream"}]`,
      'VALUE_IMPLAUSIBLE',
    ],
    ['more messages than are ready or held, which are delayed', row({ messages: 9 }), 5],
    ['arguments named like a figure', row({ arguments: { messages: 9, more: [{ messages: '"messages":\\' }] } }), 5],
    ['a text where a row should be', '["q"]', 'error'],
    ['a list in a list', `[${row({})}]`, 'error'],
    ['a number beyond all counts', row({}).replace('"messages":5', '"messages":5e99'), 'VALUE_IMPLAUSIBLE'],
    ['a truncated list', row({}).slice(0, -9), 'BROKER_REPLY_INVALID'],
    ['no list', '{}', 'BROKER_REPLY_INVALID'],
    ['a page of HTML', '<html><body>503</body></html>', 'BROKER_REPLY_INVALID'],
    ['nothing', '', 'BROKER_REPLY_INVALID'],
  ])('with %s is %s: %s', async (_, body, expected) => {
    const host = await serve((request, response) => {
      if (request.url?.startsWith('/api/queues/%2F?') === true) response.end(body);
      else response.writeHead(200).end(JSON.stringify({ name: 'q' }));
    });
    const found = await outcome(host);
    if (expected === 'error') expect(found).toEqual(expect.any(String));
    else expect(found).toBe(expected);
  });

  it.each([
    [401, '{"error":"not_authorized","reason":"Login failed"}', 'BROKER_REFUSED'],
    [401, '{"error":"not_authorized","reason":"Not management user"}', 'BROKER_FORBIDDEN'],
    [403, '', 'BROKER_FORBIDDEN'],
    [404, '<html>no such page</html>', 'BROKER_REPLY_INVALID'],
    [500, '{"error":"Internal Server Error"}', 'BROKER_BUSY'],
    [502, '<html>Bad Gateway</html>', 'BROKER_BUSY'],
    [302, '', 'BROKER_REPLY_INVALID'],
  ])('of status %d %s is %s', async (status, body, expected) => {
    expect(await outcome(await serve((_, response) => response.writeHead(status, { location: '/elsewhere' }).end(body)))).toBe(
      expected,
    );
  });

  it('never becomes a number that it does not hold, whatever is changed in it', async () => {
    let body = '';
    const host = await serve((_, response) => response.end(body));
    const whole = row({});
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), fc.string({ maxLength: 3 }), async (at, text) => {
        body = whole.slice(0, at) + text + whole.slice(at + 1);
        const found = await outcome(host);
        if (typeof found !== 'number') return;
        const [parsed] = JSON.parse(body) as readonly Readonly<Record<string, number>>[];
        const { messages = NaN, messages_ready: ready = NaN, messages_unacknowledged: held = NaN } = parsed ?? {};
        // What is neither ready nor held is delayed, and does not count yet.
        expect(found).toBe(Math.min(messages, ready + held));
      }),
      { numRuns: 60 },
    );
  });

  it.each(Object.entries(ENDLESS))('%s is unknown in time, and is not held in memory', async (_, { answer, code }) => {
    const host = await serve(answer);
    const before = process.memoryUsage().rss;
    const startedAt = performance.now();
    expect(await outcome(host, { timeout: '2s' })).toMatch(code);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    expect(process.memoryUsage().rss - before).toBeLessThan(MEMORY_BYTES);
  });

  it.each([
    [20_000, false],
    [40_000, true],
  ])('of %d queues is shortened by the broker: %s', async (queues, leftOut) => {
    const asked: string[] = [];
    const host = await serve((request, response) => {
      asked.push(request.url ?? '');
      response.end(row({}));
    }, queues);
    expect(await outcome(host, { queueName: '^q$', useRegex: 'true' })).toBe(5);
    expect(asked.map((url) => url.includes('columns='))).toEqual([leftOut]);
  });

  it('that is a reset, from a load balancer, costs a single question nothing', async () => {
    let requests = 0;
    const host = await serve((request, response) => {
      if (++requests === 1) request.socket.resetAndDestroy();
      else response.end(row({}));
    });
    expect(await outcome(host)).toBe(5);
  });

  it('from a dead endpoint is had from the next', async () => {
    const host = await serve((_, response) => response.end(row({})));
    const alive = host.replace('http://guest:guest@', '');
    expect(await outcome('http://guest:guest@127.0.0.1:1', { hosts: alive })).toBe(5);
  });
});

describe('an answer of the Prometheus plugin', () => {
  it.each(Object.entries(ENDLESS))('%s is not held in memory, and the totals list tells in its place', async (_, { answer }) => {
    const host = await serve((request, response) => {
      if (request.url?.startsWith('/metrics') === true) answer(request, response);
      else response.end(row({}));
    }, 1_000);
    const before = process.memoryUsage().rss;
    const prometheus = host.replace('guest:guest@', '');
    expect(await outcome(host, { timeout: '2s', prometheus })).toBe(5);
    expect(process.memoryUsage().rss - before).toBeLessThan(MEMORY_BYTES);
  });

  const rowsOf = (body: string): Promise<Map<string, QueueStats>> => readMetrics([body], '/');
  const NAMES = ['messages', 'messages_ready', 'messages_unacked'];
  const metrics = (queue: string, figures: readonly (number | string)[], vhost = '/'): string =>
    NAMES.map(
      (name, index) => `rabbitmq_detailed_queue_${name}{vhost="${vhost}",queue="${queue}"} ${figures[index] ?? ''}\n`,
    ).join('');

  it('is read queue by queue, with any characters in names', async () => {
    const rows = await rowsOf(`# TYPE x gauge\n${metrics('a\\"b\\\\c\\nd', [5, 3, 2])}${metrics('other', [9, 9, 0], 'v')}`);
    expect([...rows.keys()]).toEqual(['a"b\\c\nd']);
    expect(rows.get('a"b\\c\nd')).toMatchObject({ messages: 5, ready: 3, unacknowledged: 2 });
  });

  it('of thousands of queues is read whole, in turns that leave the event loop to others', async () => {
    const body = `# x\n${Array.from({ length: 5_000 }, (_, index) => metrics(`queue-${index}`, [index, index, 0])).join('')}`;
    let turns = 0;
    const others = setInterval(() => turns++, 0);
    const rows = await rowsOf(body);
    clearInterval(others);
    expect([...rows.values()].filter(({ name, messages }) => name === `queue-${messages}`)).toHaveLength(5_000);
    expect(turns).toBeGreaterThan(3);
  });

  it.each(['NaN', '-1', '1e3', '', '+Inf', '1.5'])('that holds %j lacks the figure', async (text) => {
    expect((await rowsOf(`# x\n${metrics('q', [text, 0, 0])}`)).get('q')?.messages).toBeUndefined();
  });

  const COUNTERS =
    '# TYPE rabbitmq_detailed_queue_messages_acked_total counter\n# TYPE rabbitmq_detailed_queue_exchange_messages_published_total counter\n';
  const counted = (name: string, count: number, labels = 'vhost="/",queue="q"'): string =>
    `rabbitmq_detailed_queue_${name}_total{${labels}} ${count}\n`;

  it('has counters of a queue on every node that it has traffic through, and none where a node does not count', async () => {
    const leader = `${COUNTERS}${metrics('q', [5, 3, 2])}${counted('get', 1)}${counted('get_ack', 2)}${counted('messages_acked', 4)}`;
    const other = `${COUNTERS}${counted('messages_delivered', 8)}${counted('messages_delivered_ack', 16)}${counted(
      'exchange_messages_published',
      32,
      'vhost="/",exchange="",queue="q"',
    )}${counted('exchange_messages_published', 64, 'vhost="/",exchange="x",queue="q"')}`;
    const rows = await readMetrics([leader, other, `${COUNTERS}${metrics('idle', [0, 0, 0])}`], '/');
    expect(rows.get('q')).toMatchObject({ messages: 5, counters: { published: 96, delivered: 27, acknowledged: 4 } });
    expect(rows.get('idle')).toMatchObject({ counters: { published: 0, delivered: 0, acknowledged: 0 } });
    expect((await readMetrics([leader, '# x\n'], '/')).get('q')?.counters).toBeUndefined();
    expect((await readMetrics([leader, `${COUNTERS}${counted('get', NaN)}`], '/')).get('q')?.counters).toBeUndefined();
  });

  it('that gives a figure twice lacks it', async () => {
    expect((await rowsOf(`# x\n${metrics('q', [0, 0, 0])}${metrics('q', [5, 5, 0])}`)).get('q')).toMatchObject({
      messages: undefined,
      ready: undefined,
    });
  });

  it('is refused where it is no metrics, and never crashes', async () => {
    await expect(rowsOf('<html>')).rejects.toThrow('something other than metrics');
    await fc.assert(
      fc.asyncProperty(fc.string({ maxLength: 300 }), async (text) => {
        for (const [, { ready }] of await rowsOf(`# x\n${metrics('q', [1, 1, 0])}${text}`)) {
          expect(ready === undefined || Number.isSafeInteger(ready)).toBe(true);
        }
      }),
    );
  });
});
