import fc from 'fast-check';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { connect } from 'amqplib';
import { afterEach, describe, expect, it } from 'vitest';
import { jsonOfBert } from '../../../src/scalers/rabbitmq/management/bert.ts';
import { startRabbit } from '../../bed/rabbitmq.ts';
import { until } from '../../bed/until.ts';
import { createAsker } from '../redis/ask.ts';

const MAX_BYTES = 1_000_000;

/** Erlang's terms, as far as the management API sends them. */
const NIL = Buffer.from([106]);

function atom(text: string): Buffer {
  const name = Buffer.from(text, 'latin1');
  return Buffer.concat([Buffer.from([100, 0, name.length]), name]);
}

function atomUtf8(text: string): Buffer {
  const name = Buffer.from(text);
  return Buffer.concat([Buffer.from([119, name.length]), name]);
}

function head(tag: number, count: number): Buffer {
  const bytes = Buffer.alloc(5);
  bytes[0] = tag;
  bytes.writeUInt32BE(count, 1);
  return bytes;
}

function binary(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([head(109, bytes.length), bytes]);
}

function integer(value: number): Buffer {
  if (value >= 0 && value < 256) return Buffer.from([97, value]);
  const bytes = Buffer.alloc(5);
  bytes[0] = 98;
  bytes.writeInt32BE(value, 1);
  return bytes;
}

function float(value: number): Buffer {
  const bytes = Buffer.alloc(9);
  bytes[0] = 70;
  bytes.writeDoubleBE(value, 1);
  return bytes;
}

const pair = (key: Buffer, value: Buffer): Buffer => Buffer.concat([Buffer.from([104, 2]), key, value]);
const list = (...items: readonly Buffer[]): Buffer =>
  items.length === 0 ? NIL : Buffer.concat([head(108, items.length), ...items, NIL]);
const answer = (term: Buffer): Buffer => Buffer.concat([Buffer.from([131]), term]);
const read = (term: Buffer): unknown => JSON.parse(jsonOfBert(answer(term), { maxBytes: MAX_BYTES }));

/** A JSON value as the broker would write it; what is a record in JSON is a list of pairs or a map. */
function term(value: unknown, asMap: boolean): Buffer {
  if (value === null || typeof value === 'boolean') return atom(String(value));
  if (typeof value === 'number') return Number.isInteger(value) ? integer(value) : float(value);
  if (typeof value === 'string') return binary(value);
  if (Array.isArray(value)) return list(...value.map((item) => term(item, asMap)));
  const entries = Object.entries(value as Record<string, unknown>);
  if (entries.length > 0 && !asMap) return list(...entries.map(([key, item]) => pair(binary(key), term(item, asMap))));
  return Buffer.concat([head(116, entries.length), ...entries.flatMap(([key, item]) => [binary(key), term(item, asMap)])]);
}

const row = (figures: Readonly<Record<string, Buffer>>): Buffer =>
  list(...Object.entries(figures).map(([key, value]) => pair(atom(key), value)));
const ROW = {
  name: binary('q'),
  type: atom('classic'),
  state: atom('running'),
  messages: integer(5),
  messages_ready: integer(3),
  messages_unacknowledged: integer(2),
};

describe('BERT', () => {
  it.each([
    ['an atom', atom('running'), 'running'],
    ['an atom beyond ASCII', atom('größe'), 'größe'],
    ['an atom in UTF-8', atomUtf8('größe 東'), 'größe 東'],
    ['a word of JSON', list(atom('true'), atom('false'), atom('null')), [true, false, null]],
    ['an empty atom, which is nothing', atom(''), null],
    ['a text like a word of JSON', binary('true'), 'true'],
    ['quotes, control characters and what is beyond ASCII', binary('"\\\n\u0001 東'), '"\\\n\u0001 東'],
    ['an empty text', binary(''), ''],
    ['a negative integer', integer(-7), -7],
    ['a large integer', Buffer.from([110, 6, 0, 255, 255, 255, 255, 255, 0]), 2 ** 40 - 1],
    ['a float', float(2.5), 2.5],
    ['small integers that Erlang packs like a text', Buffer.from([107, 0, 3, 1, 2, 3]), [1, 2, 3]],
    ['a tuple', Buffer.concat([Buffer.from([104, 3]), integer(1), integer(2), NIL]), [1, 2, []]],
    ['a record with a key like a word', list(pair(atom('true'), integer(1))), { true: 1 }],
    [
      'a record in which an atom stands alone',
      list(pair(atom('a'), integer(1)), atom('b'), pair(atom('c'), NIL)),
      { a: 1, c: [] },
    ],
    ['a list that begins with no pair', list(atom('b'), pair(atom('a'), integer(1))), ['b', ['a', 1]]],
    [
      'a row',
      row(ROW),
      { name: 'q', type: 'classic', state: 'running', messages: 5, messages_ready: 3, messages_unacknowledged: 2 },
    ],
  ])('tells %s', (_, bytes, value) => {
    expect(read(bytes)).toEqual(value);
  });

  it('tells every JSON value that it was made of, as records and as maps', () => {
    const value = fc.jsonValue({ maxDepth: 4 });
    fc.assert(
      fc.property(value, fc.boolean(), (json, asMap) => {
        const expected = JSON.parse(JSON.stringify(json), (_, item: unknown) => (isLarge(item) ? 0 : item)) as unknown;
        expect(read(term(expected, asMap))).toEqual(expected);
      }),
    );
  });

  it('tells of the rows of a list the fields that are wanted, whatever the others hold', () => {
    const key = fc.constantFrom('name', 'messages', 'messages_ready', 'arguments', 'true', 'ü');
    const rows = fc.array(fc.dictionary(key, fc.jsonValue({ maxDepth: 3 })), { minLength: 1 });
    fc.assert(
      fc.property(rows, fc.uniqueArray(key), fc.boolean(), (json, fields, asMap) => {
        const all = JSON.parse(JSON.stringify(json), (_, item: unknown) => (isLarge(item) ? 0 : item)) as Record<
          string,
          unknown
        >[];
        const told = all.map((row) =>
          Object.fromEntries(Object.entries(row).filter(([name]) => fields.some((field) => field === name))),
        );
        expect(JSON.parse(jsonOfBert(answer(term(all, asMap)), { maxBytes: MAX_BYTES, fields }))).toEqual(told);
      }),
    );
  });

  it('that is cut short anywhere, or goes on, is refused', () => {
    const whole = answer(list(row(ROW), row({ ...ROW, name: binary('r') })));
    for (let length = 0; length < whole.length; length++) {
      expect(() => jsonOfBert(whole.subarray(0, length), { maxBytes: MAX_BYTES })).toThrow();
      expect(() => jsonOfBert(whole.subarray(0, length), { maxBytes: MAX_BYTES, fields: ['name'] })).toThrow();
    }
    expect(() => jsonOfBert(Buffer.concat([whole, NIL]), { maxBytes: MAX_BYTES })).toThrow(/more than one/);
  });

  it.each([
    ['no version before it', row(ROW), /no term/],
    ['a reference to a process', answer(Buffer.from([103, 0])), /unknown kind 103/],
    ['a list of four thousand million, of which none is there', answer(head(108, 0xffff_ffff)), /./],
    ['a list in a list without end', answer(Buffer.concat(Array.from({ length: 100_000 }, () => head(108, 1)))), /too deep/],
    ['more than may be held', answer(Buffer.concat([head(108, 400_000), Buffer.alloc(400_001, NIL)])), /more than 1000000 bytes/],
    ['an integer of 255 bytes', answer(Buffer.concat([Buffer.from([110, 255, 0]), Buffer.alloc(255, 1)])), /beyond all counts/],
    ['a float that is no number', answer(float(NaN)), /no number/],
    ['a list with a tail', answer(Buffer.concat([head(108, 1), integer(1), integer(2)])), /no end/],
  ])('with %s is refused', (_, bytes, message) => {
    expect(() => jsonOfBert(bytes, { maxBytes: MAX_BYTES })).toThrow(message);
  });

  it('with any bytes changed is refused or is JSON', () => {
    const whole = answer(list(row(ROW), row({ ...ROW, name: binary('r') })));
    const changes = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 });
    const fields = fc.constantFrom(undefined, ['name', 'messages']);
    fc.assert(
      fc.property(changes, fields, (changed, fields) => {
        const bytes = Buffer.from(whole);
        for (const [at, value] of changed) bytes[at] = value;
        let json: string;
        try {
          json = jsonOfBert(bytes, { maxBytes: MAX_BYTES, fields });
        } catch {
          return;
        }
        JSON.parse(json);
      }),
      { numRuns: 5_000 },
    );
  });
});

function isLarge(value: unknown): boolean {
  return typeof value === 'number' && Number.isInteger(value) && Math.abs(value) > 2 ** 31 - 1;
}

describe('a management API that answers in BERT', () => {
  let server: Server | undefined;

  afterEach(() => {
    server?.closeAllConnections();
    server?.close();
    server = undefined;
  });

  async function outcome(list: Buffer): Promise<number | string> {
    server = createServer((request, response) => {
      if (request.headers.accept?.startsWith('application/bert') !== true) response.writeHead(406).end();
      else if (request.url?.startsWith('/api/overview')) response.end('{"object_totals":{"queues":1},"listeners":[]}');
      else if (request.url?.startsWith('/api/nodes')) response.end('[{"name":"r1@h","running":true,"uptime":100000}]');
      else response.writeHead(200, { 'content-type': 'application/bert' }).end(list);
    });
    await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
    const asker = createAsker();
    try {
      const host = `http://guest:guest@127.0.0.1:${(server.address() as AddressInfo).port}`;
      const { decision } = await asker.ask({ scaler: 'rabbitmq', host, queueName: 'q', prometheus: 'off' });
      return decision.value;
    } catch (thrown) {
      return (thrown as { code: string }).code;
    } finally {
      await asker.close();
    }
  }

  it.each([
    ['a whole row', answer(list(row(ROW))), 5],
    ['arguments named like a figure', answer(list(row({ ...ROW, arguments: list(pair(binary('messages'), integer(9))) }))), 5],
    ['a truncated list', answer(list(row(ROW))).subarray(0, -9), 'BROKER_REPLY_INVALID'],
    ['JSON under its name', Buffer.from('[]'), 'BROKER_REPLY_INVALID'],
    ['no state', answer(list(row({ ...ROW, state: atom('') }))), 'FIELD_MISSING'],
    [
      'a figure twice',
      answer(list(Buffer.concat([head(108, 7), row(ROW).subarray(5, -1), pair(atom('messages'), integer(0)), NIL]))),
      'VALUE_IMPLAUSIBLE',
    ],
  ])('with %s is told as what it is', async (_, bytes, expected) => {
    expect(await outcome(bytes)).toBe(expected);
  });

  it('says the same as in JSON, on a real broker', { timeout: 90_000 }, async () => {
    const node = await startRabbit();
    try {
      const connection = await connect(node.amqpUrl());
      const channel = await connection.createConfirmChannel();
      for (const type of ['classic', 'quorum', 'stream']) {
        await channel.assertQueue(`"${type}" ü`, { arguments: { 'x-queue-type': type }, durable: true });
        channel.sendToQueue(`"${type}" ü`, Buffer.from('work'), { persistent: true });
      }
      await channel.waitForConfirms();
      const get = async (path: string, accept: string): Promise<Buffer> => {
        const authorization = `Basic ${Buffer.from('guest:guest').toString('base64')}`;
        const response = await fetch(`http://127.0.0.1:${node.managementPort}${path}`, { headers: { accept, authorization } });
        expect(response.headers.get('content-type')).toBe(accept);
        return Buffer.from(await response.arrayBuffer());
      };
      const figures = 'name,type,state,messages,messages_ready,messages_unacknowledged';
      const paths = [
        `/api/queues/%2F?disable_stats=true&enable_queue_totals=true&sort=&columns=${figures}`,
        '/api/queues/%2F?disable_stats=true&enable_queue_totals=true&sort=',
        `/api/queues/%2F?columns=${figures},node,consumers,message_stats.publish,message_stats.publish_details.rate`,
        `/api/queues/%2F/${encodeURIComponent('"quorum" ü')}?columns=${figures},node,message_stats.publish`,
        '/api/nodes?columns=name,running',
        '/api/overview?columns=listeners,object_totals.queues,rates_mode',
      ];
      for (const path of paths) {
        // Statistics may be renewed between the two.
        await until(`${path} is the same in both forms`, async () => {
          const json: unknown = JSON.parse((await get(path, 'application/json')).toString());
          const bert: unknown = JSON.parse(jsonOfBert(await get(path, 'application/bert'), { maxBytes: MAX_BYTES }));
          return JSON.stringify(bert) === JSON.stringify(json);
        });
      }
      await connection.close();
    } finally {
      await node.close();
    }
  });
});
