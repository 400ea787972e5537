import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Sample } from '../../../src/scalers/trigger.ts';
import { startRabbit, type RabbitNode } from '../../bed/rabbitmq.ts';
import { until } from '../../bed/until.ts';
import { createAsker, type Asker } from '../redis/ask.ts';
import { connectQueues, type Queues } from './queues.ts';

const PASSWORD = 'p@ss:/w#rd?%&+ "ö';
const VHOST = 'sh op/%2F+';
let node: RabbitNode;
let queues: Queues;
let other: Queues;
let asker: Asker;

beforeAll(async () => {
  node = await startRabbit({ plugins: ['rabbitmq_sharding', 'rabbitmq_consistent_hash_exchange'] });
  asker = createAsker();
  const vhost = encodeURIComponent(VHOST);
  await node.api('PUT', `/vhosts/${vhost}`);
  await node.api('PUT', '/users/w%C3%B6rker', { password: PASSWORD, tags: 'monitoring' });
  const all = { configure: '.*', write: '.*', read: '.*' };
  await node.api('PUT', `/permissions/${vhost}/w%C3%B6rker`, all);
  await node.api('PUT', `/permissions/${vhost}/guest`, all);
  // Until it has told its statistics once, a node looks as if it were in trouble, and nothing that it says is taken for whole.
  await until('the node has settled', async () => {
    const nodes = (await node.api('GET', '/nodes?columns=uptime')) as readonly { readonly uptime?: number }[];
    return nodes.every(({ uptime }) => uptime !== undefined);
  });
  queues = await connectQueues(node.amqpUrl());
  other = await connectQueues(`${node.amqpUrl()}/${vhost}`);
});
afterAll(async () => {
  await Promise.all([asker.close(), queues.close(), other.close()]);
  await node.close();
});

type Metadata = Readonly<Record<string, string>>;

function byAmqp(more: Metadata): Metadata {
  return { scaler: 'rabbitmq', host: node.amqpUrl(), management: `http://127.0.0.1:${node.managementPort}`, ...more };
}

function byHttp(more: Metadata): Metadata {
  return { scaler: 'rabbitmq', host: node.httpUrl(), ...more };
}

async function value(metadata: Metadata): Promise<number> {
  return (await asker.ask(metadata)).decision.value;
}

describe.each([
  ['amqp', byAmqp],
  ['http', byHttp],
])('by %s', (name, by) => {
  const queue = (text: string): string => `${name}-${text}`;

  it('counts ready and unacknowledged messages, and ready ones alone where asked to', async () => {
    await queues.declare(queue('both'));
    await queues.put(queue('both'), 5);
    await queues.hold(queue('both'), 2);
    await expect.poll(() => value(by({ queueName: queue('both') }))).toBe(5);
    expect(await value(by({ queueName: queue('both'), excludeUnacknowledged: 'true' }))).toBe(3);
    await queues.finish(queue('both'));
    await expect.poll(() => value(by({ queueName: queue('both') }))).toBe(3);
  });

  it('adds, averages and takes the largest of the queues that match, and of no other vhost', async () => {
    for (const [index, messages] of [0, 1, 2, 6].entries()) {
      await queues.declare(`${name}.set.${index}`);
      await queues.put(`${name}.set.${index}`, messages);
    }
    await queues.declare(`${name}-set-decoy`);
    await queues.put(`${name}-set-decoy`, 9);
    await other.declare(`${name}.set.9`);
    await other.put(`${name}.set.9`, 9);
    const set = { queueName: `^${name}\\.set\\.`, useRegex: 'true' };
    await expect.poll(() => value(by(set))).toBe(9);
    expect(await value(by({ ...set, operation: 'avg' }))).toBe(2.25);
    expect(await value(by({ ...set, operation: 'max' }))).toBe(6);
  });

  it('leaves queues out of a set', async () => {
    for (const end of ['one', 'two', 'two.dead']) {
      await queues.declare(`${name}.kept.${end}`);
      await queues.put(`${name}.kept.${end}`, 2);
    }
    const set = { queueName: `^${name}\\.kept\\.`, useRegex: 'true' };
    await expect.poll(() => value(by(set))).toBe(6);
    expect(await value(by({ ...set, exclude: '\\.dead$' }))).toBe(4);
  });

  it('adds up queues that are named, and says which of them does not exist', async () => {
    for (const [queue, messages] of [
      [`${name}.named.a`, 1],
      [`${name}.named.b`, 2],
    ] as const) {
      await queues.declare(queue);
      await queues.put(queue, messages);
    }
    const both = `${name}.named.a,${name}.named.b`;
    await expect.poll(() => value(by({ queueNames: both }))).toBe(3);
    expect(await value(by({ queueNames: `${name}.named.b, ${name}.named.a`, operation: 'max' }))).toBe(2);
    const missing = { queueNames: `${both},${name}.named.c` };
    const error = await asker.refusal(by(missing));
    expect(error).toMatchObject({ code: 'QUEUE_MISSING' });
    expect(error.message).toContain(`queue ${name}.named.c does not exist`);
    expect(await value(by({ ...missing, onMissingQueue: 'zero' }))).toBe(3);
  });

  it('takes a queue that is not there for an error, and for zero only where told', async () => {
    const missing = { queueName: queue('nowhere') };
    expect(await asker.refusal(by(missing))).toMatchObject({ code: 'QUEUE_MISSING' });
    expect(await value(by({ ...missing, onMissingQueue: 'zero', confirmZero: '0' }))).toBe(0);
    const nothing = { queueName: '^no queue is called so', useRegex: 'true' };
    expect(await asker.refusal(by(nothing))).toMatchObject({ code: 'QUEUE_MISSING' });
    expect(await value(by({ ...nothing, onMissingQueue: 'zero', confirmZero: '0' }))).toBe(0);
  });

  it('believes the zero of a quorum queue with a consumer only after it has lasted, and its messages at once', async () => {
    await queues.declare(queue('quorum'), { durable: true, arguments: { 'x-queue-type': 'quorum' } });
    const { consumerTag } = await queues.channel.consume(queue('quorum'), () => undefined);
    const trigger = asker.trigger(by({ queueName: queue('quorum'), confirmZero: '6s', staleAfter: '0' }));
    const read = (): Promise<Sample> => trigger.read(AbortSignal.timeout(2_000));
    const startedAt = performance.now();
    await expect(read()).rejects.toMatchObject({ code: expect.stringMatching(/ZERO_UNCONFIRMED|FIELD_MISSING/) as string });
    const zero = await until('the zero is believed', () => read().catch(() => undefined), { deadlineMs: 28_000, everyMs: 500 });
    expect(performance.now() - startedAt).toBeGreaterThan(5_900);
    expect(zero.decision).toMatchObject({ value: 0, active: false });
    await queues.channel.cancel(consumerTag);
    await queues.put(queue('quorum'), 4);
    await expect.poll(async () => (await read()).decision.value, { timeout: 12_000 }).toBe(4);
  }, 45_000);

  it('counts the length of a stream', async () => {
    await queues.declare(queue('stream'), { durable: true, arguments: { 'x-queue-type': 'stream' } });
    await queues.put(queue('stream'), 7);
    await expect.poll(() => value(by({ queueName: queue('stream') })).catch(() => 'unknown'), { timeout: 20_000 }).toBe(7);
  }, 25_000);

  it('reads a vhost and a password of any characters', async () => {
    await other.declare('q');
    await other.drain('q');
    await other.put('q', 2);
    const scheme = name === 'amqp' ? 'amqp' : 'http';
    const port = name === 'amqp' ? node.amqpPort : node.managementPort;
    const login = `w%C3%B6rker:${encodeURIComponent(PASSWORD)}`;
    const inUrl = { host: `${scheme}://${login}@127.0.0.1:${port}/${encodeURIComponent(VHOST)}`, queueName: 'q' };
    await expect.poll(() => value(by(inUrl))).toBe(2);
    const apart = {
      host: `${scheme}://127.0.0.1:${port}`,
      vhostName: VHOST,
      usernameFromEnv: 'wörker',
      passwordFromEnv: PASSWORD,
    };
    expect(await value(by({ ...apart, queueName: 'q' }))).toBe(2);
  });

  it('sums the shards of an exchange, and asks for a consumer for each with work', async () => {
    const exchange = `${name}.orders`;
    await node.api('PUT', `/policies/%2F/${exchange}`, {
      pattern: `^${exchange}$`,
      'apply-to': 'exchanges',
      definition: { 'shards-per-node': 3 },
    });
    await queues.channel.assertExchange(exchange, 'x-modulus-hash', { durable: true });
    const trigger = { shardedExchange: exchange, value: '10' };
    await until('the shards are there', async () => {
      const all = (await node.api('GET', '/queues/%2F?columns=name')) as readonly { readonly name: string }[];
      return all.filter((each) => each.name.startsWith(`sharding: ${exchange} - `)).length === 3;
    });
    for (let sent = 0; sent < 60; sent++) queues.channel.publish(exchange, `key-${sent}`, Buffer.from('work'));
    await queues.channel.waitForConfirms();
    await expect.poll(() => value(by(trigger))).toBe(60);
    const { reading, decision } = await asker.ask(by({ ...trigger, value: '100' }));
    expect(reading.queues).toHaveLength(3);
    expect(reading.measures['shardsWithWork']).toBeGreaterThan(1);
    expect(decision.value).toBe((reading.measures['shardsWithWork'] ?? NaN) * 100);
  });

  it('sums the queues of a consistent-hash exchange by their names', async () => {
    const exchange = `${name}.hashed`;
    await queues.channel.assertExchange(exchange, 'x-consistent-hash', { durable: true });
    const bound = [1, 2, 3].map((index) => `${exchange}.${index}`);
    for (const each of bound) {
      await queues.declare(each);
      await queues.channel.bindQueue(each, exchange, '10');
    }
    for (let sent = 0; sent < 90; sent++) queues.channel.publish(exchange, `key-${sent}`, Buffer.from('work'));
    await queues.channel.waitForConfirms();
    const set = { queueName: `^${exchange.replace('.', '\\.')}\\.[0-9]+$`, useRegex: 'true' };
    await expect.poll(() => value(by(set))).toBe(90);
    const { reading } = await asker.ask(by(set));
    expect(reading.queues.map(({ queue: each }) => each).sort()).toEqual(bound);
    // Each has a share, so that the sum is not the work of one.
    for (const { measures } of reading.queues) expect(measures['messages']).toBeGreaterThan(0);
  });

  it('counts priority, lazy and other kinds of classic queues, and a queue name of any characters', async () => {
    const kinds: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
      priority: { 'x-max-priority': 5 },
      lazy: { 'x-queue-mode': 'lazy' },
      'single active consumer': { 'x-single-active-consumer': true },
      'a/b c+d%2F?&#ü"\\': {},
    };
    for (const [kind, args] of Object.entries(kinds)) {
      await queues.declare(queue(kind), { durable: true, arguments: args });
      await queues.put(queue(kind), 2);
      await expect.poll(() => value(by({ queueName: queue(kind) }))).toBe(2);
    }
  });

  it('tells the publish rate', async () => {
    const rated = queue('rated');
    await queues.declare(rated);
    const trigger = asker.trigger(by({ queueName: rated, mode: 'MessageRate', value: '5', staleAfter: '0' }));
    const stop = setInterval(() => void queues.put(rated, 4), 200);
    try {
      const rate = async (): Promise<number> => (await trigger.read(AbortSignal.timeout(2_000))).decision.value;
      await expect
        .poll(() => rate().catch(() => -1), { timeout: 25_000, interval: 500 })
        .toSatisfy((read: number) => read > 5 && read < 40);
    } finally {
      clearInterval(stop);
    }
  }, 30_000);
});

describe('by amqp', () => {
  it('says that a queue is exclusive to another connection', async () => {
    await queues.declare('mine', { exclusive: true });
    const metadata = { scaler: 'rabbitmq', host: node.amqpUrl(), management: 'off', queueName: 'mine' };
    expect(await asker.refusal(metadata)).toMatchObject({ code: 'QUEUE_LOCKED' });
  });

  it('reads a queue that is exclusive to another connection by the lists, whatever is asked of it', async () => {
    for (const name of ['own.empty', 'own.full']) await queues.declare(name, { exclusive: true });
    await queues.put('own.full', 3);
    await queues.hold('own.full', 1);
    const read = async (more: Metadata): Promise<number | string> => {
      const trigger = asker.trigger(byAmqp({ confirmZero: '3s', staleAfter: '0', ...more }));
      return trigger.read(AbortSignal.timeout(2_000)).then(
        ({ decision }) => decision.value,
        (error: unknown) => (error as Error).message,
      );
    };
    const wait = { timeout: 25_000, interval: 250 };
    await Promise.all([
      expect.poll(() => read({ queueName: 'own.full' }), wait).toBe(3),
      expect.poll(() => read({ queueName: 'own.full', excludeUnacknowledged: 'true' }), wait).toBe(2),
      expect.poll(() => read({ queueName: 'own.empty' }), wait).toBe(0),
      expect.poll(() => read({ queueName: 'own.empty', excludeUnacknowledged: 'true' }), wait).toBe(0),
      expect.poll(() => read({ queueName: '^own\\.', useRegex: 'true' }), wait).toBe(3),
      expect.poll(() => read({ queueName: '^own\\.e', useRegex: 'true' }), wait).toBe(0),
      expect.poll(() => read({ queueName: 'own.empty', mode: 'MessageRate', value: '5' }), wait).toBe(0),
    ]);
  }, 30_000);

  it('does not take a sharded exchange for a queue', async () => {
    await node.api('PUT', '/policies/%2F/trap', {
      pattern: '^trap$',
      'apply-to': 'exchanges',
      definition: { 'shards-per-node': 2 },
    });
    await queues.channel.assertExchange('trap', 'x-modulus-hash', { durable: true });
    const metadata = { scaler: 'rabbitmq', host: node.amqpUrl(), management: 'off', queueName: 'trap' };
    const error = await until('the shards are there', async () => {
      const refusal = await asker.refusal(metadata);
      return refusal.code === 'QUEUE_WRONG_TYPE' && refusal;
    });
    expect(error.message).toContain('shardedExchange');
  });

  it('falls back to AMQP for a user without tags, and names the tag wherever the API is needed', async () => {
    await node.api('PUT', '/users/plain', { password: 'plain', tags: '' });
    await node.api('PUT', '/permissions/%2F/plain', { configure: '.*', write: '.*', read: '.*' });
    await queues.declare('plain');
    await queues.put('plain', 3);
    const login = { usernameFromEnv: 'plain', passwordFromEnv: 'plain' };
    const as = (more: Metadata): Metadata => byAmqp({ ...login, host: `amqp://127.0.0.1:${node.amqpPort}`, ...more });
    const { reading, decision } = await asker.ask(as({ queueName: 'plain' }));
    expect(decision).toMatchObject({ value: 3, active: true });
    expect(reading.notes?.join()).toContain('`management`');
    const http = { scaler: 'rabbitmq', host: `http://127.0.0.1:${node.managementPort}`, ...login, queueName: 'plain' };
    for (const metadata of [
      as({ queueName: 'plain', mode: 'MessageRate', value: '5' }),
      as({ queueName: '^plain', useRegex: 'true' }),
      http,
    ]) {
      const error = await asker.refusal(metadata);
      expect(error).toMatchObject({ code: 'BROKER_FORBIDDEN' });
      expect(error.message).toContain('tag `management`');
    }
    // Nobody but a monitor sees the nodes, which is no reason to go without the queues.
    await node.api('PUT', '/users/plain', { password: 'plain', tags: 'management' });
    await queues.hold('plain', 1);
    await expect
      .poll(async () => (await asker.ask(as({ queueName: 'plain' }))).reading.measures, { timeout: 10_000 })
      .toMatchObject({
        ...{ ready: 2, unacknowledged: 1 },
      });
    await queues.finish('plain');
  }, 30_000);

  it('needs no management API for queues that are named', async () => {
    for (const queue of ['named.x', 'named.y']) await queues.declare(queue);
    await queues.put('named.y', 4);
    const metadata = { scaler: 'rabbitmq', host: node.amqpUrl(), management: 'off', queueNames: 'named.x,named.y' };
    expect(await value(metadata)).toBe(4);
  });

  it('without the management API lets consumers stand in for what they hold, for a while', async () => {
    await queues.declare('alone');
    const metadata = { scaler: 'rabbitmq', host: node.amqpUrl(), management: 'off', queueName: 'alone', confirmZero: '0' };
    expect((await asker.ask(metadata)).decision).toMatchObject({ value: 0, active: false });
    const { consumerTag } = await queues.channel.consume('alone', () => undefined);
    expect((await asker.ask(metadata)).decision).toMatchObject({ value: 0, active: true });
    expect((await asker.ask({ ...metadata, busyFor: '0' })).decision).toMatchObject({ value: 0, active: false });
    expect((await asker.ask({ ...metadata, excludeUnacknowledged: 'true' })).decision).toMatchObject({ active: false });
    await queues.channel.cancel(consumerTag);
  });

  it('notices work in a sleeping queue, and in one of a set that sleeps', async () => {
    await queues.declare('asleep.1');
    await queues.declare('asleep.2');
    for (const more of [{ queueName: 'asleep.1' }, { queueName: '^asleep', useRegex: 'true' }]) {
      const states: boolean[] = [];
      const stop = asker.trigger(byAmqp(more)).watch({
        sample: ({ decision }) => void states.push(decision.active),
        trouble: () => undefined,
      });
      try {
        await until('it sleeps', () => states.at(-1) === false);
        await queues.put('asleep.1', 1);
        await until('it is awake', () => states.at(-1) === true, { deadlineMs: 2_000 });
        await queues.drain('asleep.1');
        await until('it sleeps again', () => states.at(-1) === false, { deadlineMs: 8_000 });
      } finally {
        stop();
      }
    }
  });
});
