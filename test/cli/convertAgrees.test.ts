/**
 * Before and after `convert` on real brokers: what KEDA's own scaler makes of each form of trigger, and what this one tells KEDA over
 * gRPC, are the same, or `convert` has said what will differ.
 */
import { connect, type ChannelModel, type ConfirmChannel } from 'amqplib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { convertText } from '../../src/cli/convert/convert.ts';
import { loadKnownScalers } from '../../src/cli/knownScalers.ts';
import { startRabbit, type RabbitNode } from '../bed/rabbitmq.ts';
import { startRedis, type RedisServer } from '../bed/redis.ts';
import { startRedisCluster, type RedisCluster } from '../bed/redisCluster.ts';
import { startSentinelSet, type SentinelSet } from '../bed/redisSentinel.ts';
import { startScaler, type TestScaler } from '../bed/scaler.ts';
import { until } from '../bed/until.ts';
import { rabbitmqVerdict, redisVerdict, type Verdict } from '../keda/builtIn.ts';

type Metadata = Readonly<Record<string, string>>;

const FAILED = 'an error';

interface Case {
  readonly form: string;
  readonly metadata: Metadata;
  /** What `convert` must have said, where the two differ, and what this scaler tells then. Without it they must agree. */
  readonly announced?: RegExp;
  readonly becomes?: Partial<Verdict> | typeof FAILED;
  /** Rates move between two questions: how far, as a share of the value or as a number, whichever is more. */
  readonly tolerance?: number;
}

/** Zeros of the statistics have to last before they are believed. */
const AGREE_MS = 25_000;
const FLOW_EVERY_MS = 20;

const scalers = await loadKnownScalers();
let scaler: TestScaler;
beforeAll(async () => {
  scaler = await startScaler();
});
afterAll(async () => {
  await scaler.close();
});

function converted(type: string, metadata: Metadata): { readonly metadata: Metadata; readonly remarks: string } {
  const entries = Object.entries(metadata).map(([key, value]) => `        ${key}: ${JSON.stringify(value)}\n`);
  const before = `apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata:\n  name: x\nspec:\n  scaleTargetRef:\n    name: x\n  triggers:\n    - type: ${type}\n      metadata:\n${entries.join('')}`;
  const { text, conversions } = convertText('x.yaml', before, { scalerAddress: scaler.grpc, scalers });
  const [trigger] = (parse(text) as { spec: { triggers: { metadata: Metadata }[] } }).spec.triggers;
  return { metadata: trigger?.metadata ?? {}, remarks: conversions[0]?.remarks.join('\n') ?? '' };
}

const orFailed = <T>(answer: Promise<T>): Promise<T | typeof FAILED> => answer.catch(() => FAILED);

async function ours(metadata: Metadata): Promise<Verdict> {
  const trigger = scaler.client.trigger({ type: 'external-push', metadata });
  const [spec] = await trigger.spec();
  const { metrics, active } = await trigger.poll();
  return { value: metrics[0]?.value ?? Number.NaN, target: spec?.target ?? Number.NaN, active };
}

function agree(before: Verdict | typeof FAILED, after: Verdict | typeof FAILED, tolerance = 0): boolean {
  if (before === FAILED || after === FAILED) return before === after;
  const near = Math.abs(before.value - after.value) <= Math.max(tolerance, tolerance * before.value);
  return near && before.target === after.target && before.active === after.active;
}

/** An error of ours is no match for figures, so that a trouble that passes does not pass for a difference. */
function isAs(after: Verdict | typeof FAILED, expected: Case['becomes']): boolean {
  if (after === FAILED || expected === FAILED || expected === undefined) return after === expected;
  return Object.entries(expected).every(([name, value]) => after[name as keyof Verdict] === value);
}

/** Waits for agreement, or for the difference: both sides need a moment until their broker has told them the present state. */
async function compare(type: string, one: Case, more: Metadata, ask: () => Promise<Verdict>): Promise<void> {
  const { metadata, remarks } = converted(type, one.metadata);
  const differs = one.announced !== undefined;
  await until(
    `both ${differs ? 'differ' : 'agree'}`,
    async () => {
      const [before, after] = await Promise.all([orFailed(ask()), orFailed(ours({ ...metadata, ...more }))]);
      const same = agree(before, after, one.tolerance);
      if (differs ? !same && isAs(after, one.becomes) : same) return true;
      throw new Error(`KEDA’s own: ${JSON.stringify(before)}, this scaler: ${JSON.stringify(after)}`);
    },
    { deadlineMs: AGREE_MS, everyMs: 250 },
  );
  if (one.announced !== undefined) expect(remarks).toMatch(one.announced);
}

describe('a converted rabbitmq trigger', () => {
  let rabbit: RabbitNode;
  let connection: ChannelModel;
  let channel: ConfirmChannel;
  let flow: NodeJS.Timeout;

  beforeAll(async () => {
    rabbit = await startRabbit();
    connection = await connect(rabbit.amqpUrl());
    channel = await connection.createConfirmChannel();
    const depths = { busy: 9, waiting: 6, empty: 0, 'reg-a': 3, 'reg-b': 4, flow: 0, drained: 1 };
    for (const [queue, depth] of Object.entries(depths)) {
      await channel.assertQueue(queue);
      for (let index = 0; index < depth; index++) channel.sendToQueue(queue, Buffer.from('x'));
    }
    await channel.waitForConfirms();
    await channel.get('drained', { noAck: true });
    // Held by a consumer that stays: 7 ready, 2 unacknowledged.
    await channel.prefetch(2);
    await channel.consume('busy', () => undefined);
    const worker = await connection.createChannel();
    await worker.consume('flow', (message) => {
      if (message !== null) worker.ack(message);
    });
    flow = setInterval(() => channel.sendToQueue('flow', Buffer.from('x')), FLOW_EVERY_MS);
    await until(
      'the statistics know what is held',
      async () => {
        const { messages_unacknowledged: held } = (await rabbit.api('GET', '/queues/%2F/busy')) as {
          messages_unacknowledged?: number;
        };
        return held === 2;
      },
      { deadlineMs: 30_000, everyMs: 200 },
    );
  });
  afterAll(async () => {
    clearInterval(flow);
    await connection.close();
    await rabbit.close();
  });

  const length = { mode: 'QueueLength', value: '20' };
  const rate = (mode: string): Metadata => ({ mode, value: '10' });
  const AMQP: readonly Case[] = [
    { form: 'nothing held', metadata: { queueName: 'waiting', ...length } },
    { form: 'an empty queue', metadata: { queueName: 'empty', ...length } },
    {
      form: 'messages held',
      metadata: { queueName: 'busy', ...length },
      announced: /unacknowledged messages count as well/,
      becomes: { value: 9, active: true },
    },
    { form: 'the old queueLength', metadata: { queueName: 'waiting', queueLength: '5' } },
    { form: 'neither mode nor value', metadata: { queueName: 'waiting' } },
    { form: 'the activation value reached, not passed', metadata: { queueName: 'waiting', ...length, activationValue: '6' } },
    { form: 'a queue that does not exist', metadata: { queueName: 'nowhere', ...length } },
  ];
  const HTTP: readonly Case[] = [
    { form: 'messages held', metadata: { queueName: 'busy', ...length } },
    { form: 'nothing held', metadata: { queueName: 'waiting', ...length } },
    { form: 'an empty queue', metadata: { queueName: 'empty', ...length } },
    { form: 'ready messages alone', metadata: { queueName: 'busy', ...length, excludeUnacknowledged: 'true' } },
    { form: 'an activation value passed', metadata: { queueName: 'busy', ...length, activationValue: '8' } },
    {
      form: 'messages held below the activation value',
      metadata: { queueName: 'busy', ...length, activationValue: '20' },
      announced: /any unacknowledged message keeps the trigger active/,
      becomes: { value: 9, active: true },
    },
    { form: 'a queue that does not exist', metadata: { queueName: 'nowhere', ...length } },
    { form: 'a pattern, summed', metadata: { queueName: '^reg-', useRegex: 'true', ...length } },
    { form: 'a pattern, the largest', metadata: { queueName: '^reg-', useRegex: 'true', operation: 'max', ...length } },
    {
      form: 'a pattern, averaged',
      metadata: { queueName: '^reg-', useRegex: 'true', operation: 'avg', ...length },
      announced: /an average keeps its fraction/,
      becomes: { value: 3.5, active: true },
    },
    {
      form: 'a pattern without match',
      metadata: { queueName: '^none-', useRegex: 'true', ...length },
      announced: /matches no queue is an error/,
      becomes: FAILED,
    },
    { form: 'MessageRate at rest', metadata: { queueName: 'waiting', ...rate('MessageRate') } },
    { form: 'DeliverGetRate at rest', metadata: { queueName: 'waiting', ...rate('DeliverGetRate') } },
    {
      form: 'DeliverGetRate while messages are held',
      metadata: { queueName: 'busy', ...rate('DeliverGetRate') },
      announced: /any unacknowledged message keeps the trigger active/,
      becomes: { value: 0, active: true },
    },
    { form: 'PublishedToDeliveredRatio at rest', metadata: { queueName: 'waiting', ...rate('PublishedToDeliveredRatio') } },
    {
      form: 'PublishedToDeliveredRatio of a queue that was never used',
      metadata: { queueName: 'empty', ...rate('PublishedToDeliveredRatio') },
    },
    {
      form: 'ExpectedQueueConsumptionTime without consumers',
      metadata: { queueName: 'waiting', ...rate('ExpectedQueueConsumptionTime') },
    },
    {
      form: 'ExpectedQueueConsumptionTime of an idle consumer',
      metadata: { queueName: 'busy', ...rate('ExpectedQueueConsumptionTime') },
      announced: /the target with consumers/,
      becomes: { value: 10, active: true },
    },
    {
      form: 'ExpectedQueueConsumptionTime of an empty queue',
      metadata: { queueName: 'drained', ...rate('ExpectedQueueConsumptionTime') },
      announced: /an empty queue is inactive/,
      becomes: { value: 0, active: false },
    },
    { form: 'MessageRate in flow', metadata: { queueName: 'flow', ...rate('MessageRate') }, tolerance: 0.25 },
    { form: 'DeliverGetRate in flow', metadata: { queueName: 'flow', ...rate('DeliverGetRate') }, tolerance: 0.25 },
    {
      form: 'PublishedToDeliveredRatio in flow',
      metadata: { queueName: 'flow', ...rate('PublishedToDeliveredRatio') },
      tolerance: 0.25,
    },
  ];

  test.concurrent.each(AMQP)('over AMQP, $form', { timeout: 60_000 }, (one) => {
    const metadata = { host: rabbit.amqpUrl(), ...one.metadata };
    // It would be found at the usual port.
    const more = { management: `http://127.0.0.1:${rabbit.managementPort}` };
    return compare('rabbitmq', { ...one, metadata }, more, () => rabbitmqVerdict(metadata));
  });

  test.concurrent.each(HTTP)('over HTTP, $form', { timeout: 60_000 }, (one) => {
    const metadata = { host: `${rabbit.httpUrl()}/`, protocol: 'http', ...one.metadata };
    return compare('rabbitmq', { ...one, metadata }, {}, () => rabbitmqVerdict(metadata));
  });
});

/** Lists and streams in every state, with the calls that make them. */
const CALLS: readonly (readonly [command: string, ...args: string[]])[] = [
  ['RPUSH', 'list', 'a', 'b', 'c', 'd', 'e', 'f', 'g'],
  ['SADD', 'set', 'a', 'b', 'c'],
  ['ZADD', 'sorted', '1', 'a', '2', 'b'],
  ['HSET', 'hash', 'a', '1'],
  ['SET', 'text', 'x'],
  ...Array.from({ length: 10 }, (_, index) => ['XADD', 'stream', `${index + 1}-0`, 'a', 'b'] as const),
  ['XGROUP', 'CREATE', 'stream', 'workers', '0'],
  ['XGROUP', 'CREATE', 'stream', 'fresh', '0'],
  ['XREADGROUP', 'GROUP', 'workers', 'one', 'COUNT', '3', 'STREAMS', 'stream', '>'],
  ...Array.from({ length: 5 }, (_, index) => ['XADD', 'gaps', `${index + 1}-0`, 'a', 'b'] as const),
  ['XGROUP', 'CREATE', 'gaps', 'workers', '0'],
  ['XDEL', 'gaps', '3-0'],
];
const lag = { consumerGroup: 'workers', lagCount: '5' };
const LISTS: readonly Case[] = [
  { form: 'a list', metadata: { listName: 'list', listLength: '3' } },
  { form: 'the activation length reached, not passed', metadata: { listName: 'list', activationListLength: '7' } },
  { form: 'a set', metadata: { listName: 'set' } },
  { form: 'a sorted set', metadata: { listName: 'sorted' } },
  { form: 'a hash', metadata: { listName: 'hash' } },
  { form: 'no key', metadata: { listName: 'nothing' } },
  { form: 'a key of another type', metadata: { listName: 'text' } },
];
const STREAMS: readonly Case[] = [
  { form: 'the length', metadata: { stream: 'stream', streamLength: '4' } },
  { form: 'pending entries', metadata: { stream: 'stream', consumerGroup: 'workers', pendingEntriesCount: '2' } },
  {
    form: 'pending entries of a group that has read nothing',
    metadata: { stream: 'stream', consumerGroup: 'fresh' },
    announced: /undelivered entries wake a worker/,
    becomes: { value: 0, active: true },
  },
  {
    form: 'pending entries of no group',
    metadata: { stream: 'stream', consumerGroup: 'nobody' },
    announced: /a group that nobody has created/,
    becomes: { value: 0, active: true },
  },
  { form: 'the lag of a group that has read nothing', metadata: { stream: 'stream', consumerGroup: 'fresh', lagCount: '5' } },
  {
    form: 'the lag with entries pending',
    metadata: { stream: 'stream', ...lag },
    announced: /both undelivered and pending entries count/,
    becomes: { value: 10, active: true },
  },
  { form: 'the lag of no group', metadata: { stream: 'stream', consumerGroup: 'nobody', lagCount: '5' } },
  { form: 'the lag of no stream', metadata: { stream: 'nothing', ...lag } },
  {
    form: 'a lag that Redis does not know',
    metadata: { stream: 'gaps', ...lag },
    announced: /where Redis cannot tell the lag/,
    becomes: { value: 4, active: true },
  },
];

describe('a converted redis trigger', () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await startRedis({ password: 'hunter2' });
    for (const call of CALLS) await redis.call(...call);
  });
  afterAll(() => redis.close());
  const address = (): Metadata => ({ address: `${redis.host}:${redis.port}`, password: 'hunter2' });

  test.concurrent.each(LISTS)('of type redis, $form', (one) => {
    const metadata = { ...address(), ...one.metadata };
    return compare('redis', { ...one, metadata }, {}, () => redisVerdict(metadata, (...args) => redis.call(...args)));
  });
  test.concurrent.each(STREAMS)('of type redis-streams, $form', (one) => {
    const metadata = { ...address(), ...one.metadata };
    return compare('redis-streams', { ...one, metadata }, {}, () => redisVerdict(metadata, (...args) => redis.call(...args)));
  });
});

describe('a converted trigger of a Redis Cluster', () => {
  let cluster: RedisCluster;
  /** Asks every primary until one owns the key. */
  const call: RedisServer['call'] = async (command, ...args) => {
    const answers = await Promise.allSettled(cluster.nodes.slice(0, 3).map((node) => node.call(command, ...args)));
    const own = answers.find((answer) => answer.status === 'fulfilled' || !String(answer.reason).includes('MOVED'));
    if (own?.status === 'fulfilled') return own.value;
    throw own?.reason instanceof Error ? own.reason : new Error('no node owns the key');
  };
  beforeAll(async () => {
    cluster = await startRedisCluster();
    for (const each of CALLS) await call(...each);
  });
  afterAll(() => cluster.close());

  test.concurrent.each([
    ...LISTS.map((one) => ({ type: 'redis-cluster', ...one })),
    ...STREAMS.map((one) => ({ type: 'redis-cluster-streams', ...one })),
  ])('of type $type, $form', ({ type, ...one }) => {
    const metadata = { addresses: cluster.addresses, ...one.metadata };
    return compare(type, { ...one, metadata }, {}, () => redisVerdict(metadata, call));
  });
});

describe('a converted trigger of a Redis with Sentinel', () => {
  let set: SentinelSet;
  let primary: RedisServer;
  beforeAll(async () => {
    set = await startSentinelSet();
    primary = await set.primary();
    for (const each of CALLS) await primary.call(...each);
  });
  afterAll(() => set.close());

  test.concurrent.each([
    ...LISTS.map((one) => ({ type: 'redis-sentinel', ...one })),
    ...STREAMS.map((one) => ({ type: 'redis-sentinel-streams', ...one })),
  ])('of type $type, $form', ({ type, ...one }) => {
    const addresses = set.sentinels.map(({ host, port }) => `${host}:${port}`).join(',');
    const metadata = { addresses, sentinelMaster: set.masterName, ...one.metadata };
    return compare(type, { ...one, metadata }, {}, () => redisVerdict(metadata, (...args) => primary.call(...args)));
  });
});
