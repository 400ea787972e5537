import fc from 'fast-check';
import net from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { Secret } from '../../../src/auth/secret.ts';
import type { QueueScalerError } from '../../../src/errors.ts';
import type { Answer } from '../../../src/scalers/rabbitmq/amqp/channels.ts';
import { openAmqp, type AmqpConnection, type AmqpOptions } from '../../../src/scalers/rabbitmq/amqp/connection.ts';
import { createFrameGate, MAX_FRAME_BYTES, ProtocolError } from '../../../src/scalers/rabbitmq/amqp/frameGate.ts';
import { createDeclarer } from '../../../src/scalers/rabbitmq/amqp/declarePool.ts';
import { createEndpoints } from '../../../src/scalers/net/failover.ts';
import { tlsSettings } from '../../../src/scalers/net/tls.ts';
import { until } from '../../bed/until.ts';
import {
  closing,
  frame,
  openOk,
  short,
  start,
  startFakeAmqp,
  u32,
  type FakeAmqp,
  type FakeAmqpOptions,
  type FakeClient,
} from './fakeAmqp.ts';

const TIMEOUT_MS = 150;
/** What is beyond what may be held of a connection’s bytes and their parsing. */
const MEMORY_BYTES = 100_000_000;
let fake: FakeAmqp | undefined;
let connection: AmqpConnection | undefined;
let ended: QueueScalerError | undefined;

afterEach(async () => {
  await connection?.close();
  await fake?.close();
  connection = ended = fake = undefined;
});

async function open({
  timeoutMs = TIMEOUT_MS,
  ...options
}: FakeAmqpOptions & { timeoutMs?: number } = {}): Promise<AmqpConnection> {
  fake = await startFakeAmqp(options);
  connection = await openTo(fake, timeoutMs, (error) => {
    ended = error;
  });
  return connection;
}

function openTo(
  { port }: FakeAmqp,
  timeoutMs = TIMEOUT_MS,
  onEnd: AmqpOptions['onEnd'] = () => undefined,
): Promise<AmqpConnection> {
  return openAmqp({
    endpoint: { scheme: 'amqp', host: '127.0.0.1', port, path: '' },
    tls: tlsSettings({}, true),
    login: { user: 'user', password: new Secret('p@ss') },
    vhost: '/',
    connectTimeoutMs: 500,
    timeoutMs,
    onEnd,
  });
}

function ask(queue: string): Promise<Answer> {
  if (connection === undefined) throw new Error('no connection');
  return connection.declare(queue);
}

async function codes(queues: readonly string[]): Promise<Record<string, string | number>> {
  const answers = await Promise.all(queues.map(async (queue) => [queue, await ask(queue)] as const));
  return Object.fromEntries(answers.map(([queue, answer]) => [queue, answer instanceof Error ? answer.code : answer.ready]));
}

function names(count: number, prefix = 'q'): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}${index}`);
}

describe('passive declares', () => {
  it('are asked side by side: a broker that answers nothing until it has many gets many', async () => {
    const waiting: (() => void)[] = [];
    await open({
      onDeclare: (client, channel, queue) => {
        waiting.push(() => {
          client.declareOk(channel, queue, Number(queue.slice(1)));
        });
        if (waiting.length >= 10) for (const reply of waiting.splice(0)) reply();
      },
    });
    expect(await codes(names(50))).toEqual(Object.fromEntries(names(50).map((queue, index) => [queue, index])));
  });

  it('of one turn of the event loop go out in one write', async () => {
    await open();
    await codes(names(64));
    const before = fake?.declaringReads ?? NaN;
    await codes(names(16));
    expect((fake?.declaringReads ?? NaN) - before).toBe(1);
  });

  it('are answered each with its own figures, whatever order and number', async () => {
    await open({
      onDeclare: (client, channel, queue) => {
        setTimeout(() => {
          client.declareOk(channel, queue, Number(queue.slice(1)));
        }, 1);
      },
    });
    expect(await codes(names(500))).toEqual(Object.fromEntries(names(500).map((queue, index) => [queue, index])));
  });

  it('are asked again, and not failed, where another queue’s 404 has ended their channel', async () => {
    await open({
      onDeclare: (client, channel, queue) => {
        if (queue.startsWith('missing')) client.closeChannel(channel, 404, `NOT_FOUND - no queue '${queue}' in vhost '/'`);
        else client.declareOk(channel, queue, 5);
      },
    });
    const queues = names(60).flatMap((queue, index) => (index % 7 === 0 ? [queue, `missing${index}`] : [queue]));
    const expected = Object.fromEntries(queues.map((queue) => [queue, queue.startsWith('m') ? 'QUEUE_MISSING' : 5]));
    expect(await codes(queues)).toEqual(expected);
    expect(await codes(queues)).toEqual(expected);
    expect(fake?.taken).toBe(1);
  });

  it.each([
    [404, "NOT_FOUND - no queue 'q' in vhost '/'", 'QUEUE_MISSING'],
    [404, "NOT_FOUND - home node 'r3@h' of durable queue 'q' in vhost '/' is down or inaccessible", 'QUEUE_DOWN'],
    [404, "NOT_FOUND - queue 'q' in vhost '/' process is stopped by supervisor", 'QUEUE_DOWN'],
    [404, "NOT_FOUND - queue 'no queue 'q'' in vhost '/' has crashed and failed to restart", 'QUEUE_DOWN'],
    [404, "NOT_FOUND - failed to perform operation on queue 'q' in vhost '/' due to timeout", 'QUEUE_DOWN'],
    [405, "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q' in vhost '/'", 'QUEUE_LOCKED'],
    [403, "ACCESS_REFUSED - configure access to queue 'q' in vhost '/' refused for user 'user'", 'BROKER_FORBIDDEN'],
    [541, 'INTERNAL_ERROR', 'BROKER_BUSY'],
  ])('that end in %d %s are %s', async (code, text, expected) => {
    await open({
      onDeclare: (client, channel) => {
        client.closeChannel(channel, code, text);
      },
    });
    expect(await codes(['q'])).toEqual({ q: expected });
  });

  it('tell a sharded exchange from a queue by the name in the answer', async () => {
    await open({
      onDeclare: (client, channel, queue) => {
        client.declareOk(channel, `sharding: ${queue} - r1@h - 0`, 0);
      },
    });
    const answer = await ask('orders');
    expect(answer).toMatchObject({ code: 'QUEUE_WRONG_TYPE' });
    expect((answer as Error).message).toContain('shardedExchange');
  });
});

describe('a queue that hangs', () => {
  it('costs its own answer alone, and is asked again once the broker has given it up', async () => {
    const hung: (() => void)[] = [];
    let hangs = true;
    await open({
      onDeclare: (client, channel, queue) => {
        blockable(client, channel, queue, () => queue === 'hangs' && hangs, hung);
      },
    });
    const startedAt = performance.now();
    const others = names(100);
    expect(await codes(['a', 'hangs', ...others])).toEqual({
      a: 1,
      hangs: 'QUEUE_DOWN',
      ...Object.fromEntries(others.map((queue) => [queue, 1])),
    });
    expect(performance.now() - startedAt).toBeLessThan(TIMEOUT_MS * 10);
    const askedBefore = fake?.declared.filter((queue) => queue === 'hangs').length;
    expect(await codes(['hangs', 'b'])).toEqual({ hangs: 'QUEUE_DOWN', b: 1 });
    // The first declare still waits at the broker, so that a second would only hang as well.
    expect(fake?.declared.filter((queue) => queue === 'hangs')).toHaveLength(askedBefore ?? NaN);
    hangs = false;
    for (const release of hung.splice(0)) release();
    await until('the queue is read again', async () => (await codes(['hangs']))['hangs'] === 1);
    expect(ended).toBeUndefined();
  });

  it.each([
    ['a hundred', 100, 1_000],
    ['more than there may be channels', 700, 3_500],
  ])('costs the others no more where it is one of %s', async (_, count, limitMs) => {
    const hung: (() => void)[] = [];
    await open({
      onDeclare: (client, channel, queue) => {
        blockable(client, channel, queue, () => queue.startsWith('hangs'), hung);
      },
      timeoutMs: 1_000,
    });
    // Mixed, so that each of the others is asked behind one that hangs.
    const startedAt = performance.now();
    let lastAt = 0;
    const others = names(100).map(async (queue, index) => {
      const before = names(count / 100, `hangs${index}-`).map(ask);
      const answer = await ask(queue);
      lastAt = performance.now();
      return [answer, await Promise.all(before)] as const;
    });
    const answers = await Promise.all(others);
    expect(lastAt - startedAt).toBeLessThan(limitMs);
    expect(performance.now() - startedAt).toBeLessThan(limitMs + 10 * TIMEOUT_MS);
    for (const [, hanging] of answers) for (const answer of hanging) expect(answer).toMatchObject({ code: 'QUEUE_DOWN' });
    if (count < 500) for (const [answer] of answers) expect(answer).toMatchObject({ ready: 1 });
    expect(ended).toBeUndefined();
  });

  it('is asked once for all who ask while it is silent', async () => {
    const hung: (() => void)[] = [];
    await open({
      onDeclare: (client, channel, queue) => {
        blockable(client, channel, queue, () => queue === 'slow', hung);
      },
      timeoutMs: 2_000,
    });
    const first = ask('slow');
    expect(await codes(['behind it'])).toEqual({ 'behind it': 1 });
    const second = ask('slow');
    for (const release of hung.splice(0)) release();
    expect(await Promise.all([first, second])).toMatchObject([{ ready: 1 }, { ready: 1 }]);
    expect(fake?.declared.filter((queue) => queue === 'slow')).toHaveLength(1);
  });

  it('ends the connection where the node itself does not answer any more', async () => {
    let answers = true;
    await open({
      onDeclare: (client, channel, queue) => {
        if (answers) client.declareOk(channel, queue, 1);
      },
      opensChannels: () => answers,
    });
    expect(await codes(['q', 'r'])).toEqual({ q: 1, r: 1 });
    answers = false;
    const silentAt = performance.now();
    const unanswered = Object.values(await codes(names(20)));
    expect(unanswered.every((answer) => answer === 'QUEUE_DOWN' || answer === 'BROKER_TIMEOUT')).toBe(true);
    await until('the connection is given up', () => ended?.code === 'BROKER_TIMEOUT');
    // 150 ms of silence, 600 ms without a channel, and what a busy machine adds.
    expect(performance.now() - silentAt).toBeLessThan(2_000);
  });

  it('ends the connection after two heartbeats have been missed, while nobody asks anything', async () => {
    await open({ heartbeatS: 1 });
    const openedAt = performance.now();
    await until('the connection is given up', () => ended?.code === 'BROKER_TIMEOUT');
    const ms = performance.now() - openedAt;
    expect(ms).toBeGreaterThan(1_900);
    expect(ms).toBeLessThan(4_000);
    expect(fake?.heartbeats).toBeGreaterThanOrEqual(2);
    await until('the socket is closed', () => fake?.open === 0);
  });
});

/** As RabbitMQ does: while one declare is under way on a channel, what comes after it waits. */
function blockable(client: FakeClient, channel: number, queue: string, blocks: () => boolean, hung: (() => void)[]): void {
  const blocked = channelsBlocked.get(client.socket) ?? new Map<number, (() => void)[]>();
  channelsBlocked.set(client.socket, blocked);
  const behind = blocked.get(channel);
  const reply = (): void => {
    client.declareOk(channel, queue, 1);
  };
  if (behind !== undefined) behind.push(reply);
  else if (blocks()) {
    const rest: (() => void)[] = [];
    blocked.set(channel, rest);
    hung.push(() => {
      blocked.delete(channel);
      reply();
      for (const each of rest) each();
    });
  } else reply();
}
const channelsBlocked = new WeakMap<object, Map<number, (() => void)[]>>();

describe('an opening that fails', () => {
  it.each([
    ['HTTP', 'HTTP/1.1 400 Bad Request\r\n\r\n', 'BROKER_REPLY_INVALID', 'HTTP, not AMQP'],
    ['another version', 'AMQP\0\x01\x00\x00', 'BROKER_REPLY_INVALID', 'another version'],
    ['a TLS alert', '\x15\x03\x03\x00\x02\x02\x46', 'TLS_FAILED', 'use amqps'],
    ['noise', 'hello there, this is no AMQP at all', 'BROKER_REPLY_INVALID', 'something other'],
  ])('says that the peer speaks %s', async (_, reply, code, text) => {
    const error = await open({ onConnection: (socket) => void socket.write(Buffer.from(reply, 'latin1')) }).catch(
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({ code });
    expect((error as Error).message).toContain(text);
  });

  it('says that the login is refused, without the password', async () => {
    const error = await open({
      onLogin: (client) => {
        client.send(0, 10, 50, Buffer.from([1, 147]), short('ACCESS_REFUSED - p@ss'), Buffer.from([0, 0, 0, 0]));
      },
    }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'BROKER_REFUSED' });
    expect(String(error)).not.toContain('p@ss');
  });

  it.each([
    [530, 'NOT_ALLOWED - vhost orders not found', 'BROKER_FORBIDDEN'],
    [530, "NOT_ALLOWED - access to vhost 'orders' refused for user 'user'", 'BROKER_FORBIDDEN'],
    [530, "NOT_ALLOWED - access to vhost 'orders' refused: connection limit (0) is reached", 'BROKER_FORBIDDEN'],
    [530, "NOT_ALLOWED - vhost 'orders' is down", 'BROKER_BUSY'],
    [541, 'INTERNAL_ERROR', 'BROKER_BUSY'],
    [320, 'CONNECTION_FORCED - broker forced connection closure', 'BROKER_UNREACHABLE'],
  ])('gives the broker’s reason why it does not open the vhost: %d %s', async (code, text, expected) => {
    const error = await open({ onOpen: (client) => void client.socket.write(closing(0, code, text)) }).catch(
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({ code: expected });
    expect((error as Error).message).toContain(text);
  });

  it('says which login the broker does not offer', async () => {
    const long = (text: string): Buffer => Buffer.concat([u32(text.length), Buffer.from(text)]);
    const error = await open({
      onConnection: (socket) => {
        socket.write(frame(0, 10, 10, Buffer.from([0, 9]), u32(0), long('EXTERNAL'), long('en_US')));
      },
    }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'BROKER_REFUSED' });
    expect((error as Error).message).toContain('PLAIN');
  });

  it('ends in time where nothing answers', async () => {
    const error = await open({ onConnection: (socket) => socket.resume() }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'BROKER_TIMEOUT' });
    await until('the socket is closed', () => fake?.open === 0);
  });
});

describe('bytes that are no AMQP', () => {
  const frames = [
    start,
    frame(1, 50, 11, short('queue'), u32(7), u32(0)),
    frame(2, 20, 40, Buffer.from([1, 148]), short('NOT_FOUND'), Buffer.alloc(4)),
  ];
  const whole = Buffer.concat(frames);

  it('are the same frames however they are cut', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: whole.length - 1 })), (cuts) => {
        const gate = createFrameGate();
        const edges = [0, ...[...new Set(cuts)].sort((left, right) => left - right), whole.length];
        const passed = edges.slice(1).map((end, index) => gate.admit(whole.subarray(edges[index], end)));
        expect(Buffer.concat(passed)).toEqual(whole);
        const ends = frames.map((_, index) => Buffer.concat(frames.slice(0, index + 1)).length);
        let length = 0;
        for (const bytes of passed) expect([0, ...ends]).toContain((length += bytes.length));
      }),
    );
  });

  it('are a protocol error and nothing worse, and never held beyond one frame', () => {
    const mutation = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.integer({ min: 0, max: 255 })), { maxLength: 8 });
    fc.assert(
      fc.property(mutation, fc.uint8Array({ maxLength: 200 }), (changes, tail) => {
        const bytes = Buffer.concat([whole, tail]);
        for (const [at, value] of changes) bytes[at] = value;
        const gate = createFrameGate();
        try {
          for (let at = 0; at < bytes.length; at += 7) gate.admit(bytes.subarray(at, at + 7));
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(ProtocolError);
        }
      }),
    );
  });

  it('cannot announce a frame larger than was agreed', () => {
    const head = Buffer.alloc(7);
    head.writeUInt8(1, 0);
    head.writeUInt32BE(MAX_FRAME_BYTES + 1, 3);
    expect(() => createFrameGate().admit(head)).toThrow(ProtocolError);
  });

  it.each<[string, Buffer]>([
    ['heartbeats', Buffer.alloc(1_000_000, Buffer.from([8, 0, 0, 0, 0, 0, 0, 0xce]))],
    [
      'answers that nobody waits for',
      Buffer.concat(Array.from({ length: 50_000 }, () => frame(1, 50, 11, short('q'), u32(0), u32(0)))),
    ],
    ['one frame that never ends', Buffer.concat([Buffer.from([1, 0, 1, 0, 1, 0xff, 0xff]), Buffer.alloc(1_000_000)])],
  ])('are held no longer than one frame is, though 50 MB of %s come in place of an opening', async (_, bytes) => {
    const before = process.memoryUsage().rss;
    const error = await open({
      onConnection: (socket) => {
        let left = 50_000_000 / bytes.length;
        const more = (): void => {
          while (left-- > 0) if (!socket.write(bytes)) return void socket.once('drain', more);
        };
        more();
      },
    }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: expect.stringMatching(/^BROKER_(TIMEOUT|REPLY_INVALID|UNREACHABLE)$/) as string });
    expect(process.memoryUsage().rss - before).toBeLessThan(MEMORY_BYTES);
  });

  it('that drip one by one do not hold up the end of an opening', async () => {
    const error = await open({
      onConnection: (socket) => {
        let sent = 0;
        const drip = setInterval(() => socket.write(start.subarray(sent, ++sent)), 50);
        socket.on('close', () => {
          clearInterval(drip);
        });
      },
    }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'BROKER_TIMEOUT' });
  });

  it('end the connection when they come later, and every question with it', async () => {
    await open({
      onDeclare: (client) => {
        client.socket.write(Buffer.from('garbage that is no frame'));
      },
    });
    expect(await codes(['q', 'r'])).toEqual({ q: 'BROKER_REPLY_INVALID', r: 'BROKER_REPLY_INVALID' });
  });
});

describe('a hostile peer', () => {
  const ack = frame(1, 60, 80, u32(0), Buffer.from([0xff, 0xff, 0xff, 0xf0, 0]));
  const content = (type: number, bytes: Buffer): Buffer => {
    const framed = frame(1, 0, 0, bytes);
    framed.writeUInt8(type, 0);
    return framed;
  };
  const returned = frame(1, 60, 50, Buffer.from([1, 56]), short('NO_ROUTE'), short(''), short('q'));
  const tooLarge = Buffer.from([1, 0, 1, 0, 0x7f, 0xff, 0xff, 0, 50, 0, 11]);
  const answer = (channel: number): Buffer => frame(channel, 50, 11, short('q'), u32(1), u32(0));

  it.each<[string, Buffer]>([
    ['an answer on channel 0', answer(0)],
    ['an answer on a channel that was never opened', answer(9)],
    ['an opening of a channel that nobody asked for', frame(1, 20, 11, u32(0))],
    ['bytes that are no frame', Buffer.from('garbage that is no frame')],
    ['a second opening of the connection', openOk],
    ['a message', Buffer.concat([returned, content(2, Buffer.alloc(12))])],
  ])('ends its connection alone by %s behind the connection’s opening, in the same read', async (_, bytes) => {
    await open({ onOpen: (client) => void client.socket.write(Buffer.concat([openOk, bytes])) });
    expect(await codes(['q'])).toEqual({ q: 'BROKER_REPLY_INVALID' });
    expect(ended).toMatchObject({ code: 'BROKER_REPLY_INVALID' });
    await until('the socket is closed', () => fake?.open === 0);
  });

  it('that closes the connection in the read that opens it gives its reason', async () => {
    await open({
      onOpen: (client) => void client.socket.write(Buffer.concat([openOk, closing(0, 320, 'CONNECTION_FORCED - bye')])),
    });
    expect(await codes(['q'])).toEqual({ q: 'BROKER_UNREACHABLE' });
    expect(ended?.message).toContain('bye');
  });

  it.each<[string, Buffer]>([
    ['a confirmation whose number is four thousand million', Buffer.concat([ack, closing(1, 404, 'NOT_FOUND')])],
    ['a message that was returned', Buffer.concat([returned, content(2, Buffer.alloc(12, 0xff))])],
    ['a message’s body', content(3, Buffer.alloc(100_000))],
    ['a demand for more of a login', frame(0, 10, 20, u32(0))],
    ['a method that AMQP does not have', frame(1, 77, 1)],
    ['a frame that is too short for a method', Buffer.from([1, 0, 1, 0, 0, 0, 1, 7, 0xce])],
    ['a frame over the bound', tooLarge],
    ['an answer that ends too early', frame(1, 50, 11, Buffer.from([200, 1]))],
    ['two answers to one question', Buffer.concat([answer(1), answer(1)])],
    ['an opening in place of an answer', frame(1, 20, 11, u32(0))],
    ['an answer on a channel that nobody knows', answer(77)],
    ['the end of a channel that nobody closed', frame(1, 20, 41)],
    ['another start', start],
  ])('ends its connection alone by %s', async (_, bytes) => {
    const healthy = await startFakeAmqp();
    const other = await openTo(healthy);
    try {
      await open({ onDeclare: (client) => void client.socket.write(bytes), timeoutMs: 2_000 });
      const startedAt = performance.now();
      const answers = Object.values(await codes(['q', 'r']));
      for (const each of answers) expect([1, 'BROKER_REPLY_INVALID']).toContain(each);
      await until('the connection is given up', () => ended?.code === 'BROKER_REPLY_INVALID');
      expect(performance.now() - startedAt).toBeLessThan(1_500);
      await until('the socket is closed', () => fake?.open === 0);
      expect(await other.declare('q')).toMatchObject({ ready: 1 });
    } finally {
      await other.close();
      await healthy.close();
    }
  });

  it('that nests its properties without end is refused', async () => {
    const depth = 15_000;
    const nested = Buffer.alloc(depth * 7);
    for (let level = 0; level < depth; level++) {
      nested.writeUInt16BE(0x0161, level * 7);
      nested.write('F', level * 7 + 2);
      nested.writeUInt32BE((depth - level - 1) * 7, level * 7 + 3);
    }
    const error = await open({
      onConnection: (socket) =>
        void socket.write(frame(0, 10, 10, Buffer.from([0, 9]), u32(nested.length), nested, u32(0), u32(0))),
    }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: expect.stringMatching(/^BROKER_(REPLY_INVALID|REFUSED)$/) as string });
  });

  it('ends its connection and nothing else by whatever random bytes, at any point', async () => {
    const mutation = fc.array(fc.tuple(fc.nat(200), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 6 });
    const whole = Buffer.concat([start, openOk, answer(1), closing(1, 404, 'NOT_FOUND'), frame(1, 20, 11, u32(0)), openOk]);
    await fc.assert(
      fc.asyncProperty(mutation, fc.constantFrom('connection', 'open', 'declare'), async (changes, point) => {
        const bytes = Buffer.from(whole);
        for (const [at, value] of changes) bytes[at % bytes.length] = value;
        const send = ({ socket }: Pick<FakeClient, 'socket'>): void => void socket.end(bytes);
        const options: FakeAmqpOptions =
          point === 'connection'
            ? { onConnection: (socket) => void socket.resume().end(bytes) }
            : point === 'open'
              ? { onOpen: send }
              : { onDeclare: send };
        const opened = await open(options).catch((thrown: unknown) => thrown);
        if (!(opened instanceof Error)) await codes(names(3));
        await until('the socket is closed', () => fake?.open === 0);
        await fake?.close();
      }),
      { numRuns: 60 },
    );
  });

  it('leaves no timer behind', async () => {
    const timers = (): number => process.getActiveResourcesInfo().filter((resource) => resource === 'Timeout').length;
    const before = timers();
    for (let round = 0; round < 5; round++) {
      await open({ onOpen: (client) => void client.socket.write(Buffer.concat([openOk, answer(0)])) });
      await codes(['q']);
      await fake?.close();
    }
    await until('its timers are gone', () => timers() <= before);
  });
});

it('a connection leaves Node’s own way of connecting as it was', async () => {
  const before = net.connect;
  await open();
  expect(net.connect).toBe(before);
});

it('a user who may have few channels reads all queues over those', async () => {
  fake = await startFakeAmqp({ userLimit: 5 });
  const declarer = createDeclarer({
    endpoints: createEndpoints([{ scheme: 'amqp', host: '127.0.0.1', port: fake.port, path: '' }]),
    tls: tlsSettings({}, true),
    login: { user: 'user', password: new Secret('p@ss') },
    connectTimeoutMs: 500,
    timeoutMs: 500,
    onChange: () => undefined,
  });
  const readAll = async (): Promise<boolean> => {
    const answers = await Promise.all(names(100).map((queue) => declarer.declare('/', queue)));
    return answers.every((answer) => !(answer instanceof Error));
  };
  try {
    await until('all are read', readAll);
    expect(fake.taken).toBe(2);
  } finally {
    await declarer.close();
  }
});
