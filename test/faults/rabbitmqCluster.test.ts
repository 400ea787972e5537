/**
 * What the scaler says while the node that leads a queue fails: killed, stopped in order, hung, restarted; for every type of queue,
 * over every road to it, by a scaler that has known the queue before, one that meets it as it fails, one that meets it as it comes
 * back, and ones that look in for a moment. Messages wait all the time, so the only answers that may be given are the truth and an error.
 * More than 300 lines because the failures, the times they are given and how they are judged are read side by side.
 */
import { connect } from 'amqplib';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { startRabbitCluster, type RabbitCluster, type RabbitNode } from '../bed/rabbitmq.ts';
import { startScaler, type TestScaler } from '../bed/scaler.ts';
import { until } from '../bed/until.ts';
import { rabbitTraits } from '../bed/versions/chosen.ts';
import { isReplicated, watchBroker, type ReplicatedType } from './brokerWatch.ts';
import { SLOW_MS, tallyTable, watchTrigger, type Witness } from './recorder.ts';

type QueueType = 'classic' | 'mirrored' | 'quorum' | 'stream' | 'sharded';
const QUEUE_TYPES: readonly QueueType[] = [
  'classic',
  ...(rabbitTraits().hasMirroredQueues ? (['mirrored'] as const) : []),
  'quorum',
  'stream',
  'sharded',
];

/**
 * Once a stream has changed its leader, the management API of RabbitMQ 3.10 may have neither state nor messages of it for minutes (seen
 * for as long as the new leader ran), while a passive declare is right: by HTTP alone it is then unknown, and no recovery is demanded.
 */
const mayStayUnknown = ({ name }: Witness): boolean => name.startsWith('stream, http') || name.includes(` ${RATES}`);

/**
 * Of a queue that is asked for its publish rate, which is none. A node that fails takes with it what it has counted, and one that hung
 * brings that back, so that nothing is known of rates for minutes.
 */
const RATES = 'rates';
const RATE_OF: readonly QueueType[] = ['quorum', 'stream'];

const isRate = ({ name }: Witness): boolean => name.includes(` ${RATES}`);

const isByHttp = ({ name }: Witness): boolean => name.includes(', http');

/** Messages that wait, by type. */
const DEPTHS: Record<QueueType, number> = { classic: 5, mirrored: 6, quorum: 7, stream: 8, sharded: 60 };
/**
 * What we may add to the time that the broker itself needs, in ms: an answer, a list and a reading may each be a moment old. A stream's
 * statistics count again only 15 s after a node event, of which the list of nodes tells up to 5 s late.
 */
const OURS_MS: Record<QueueType, number> = { classic: 5_000, mirrored: 5_000, quorum: 5_000, stream: 25_000, sharded: 5_000 };
/** By HTTP alone it is more: a list waited for in vain, and then 2 s for the answer about a queue with a member on the node that hangs. */
const OURS_BY_HTTP_MS = 5_000;

/**
 * Quorum queues beside the ones that are watched. Each costs every list a second while a node with a member of it hangs, so that no
 * list comes in time then, and by HTTP the queues must be told of one by one.
 */
const CROWD = 4;

const BASELINE_DEADLINE_MS = 90_000;
/** How long nodes that have healed without a restart are watched. */
const HEALED_MS = 90_000;
const STAY_MS = 6000;
/** A right answer counts as recovery when nothing else has followed for so long. */
const SETTLED_MS = 3000;

let cluster: RabbitCluster;
let survivors: readonly [RabbitNode, RabbitNode];
let leader: RabbitNode;
const scalers: TestScaler[] = [];

beforeAll(async () => {
  cluster = await startRabbitCluster(3, { plugins: ['rabbitmq_sharding'] });
  const [first, second, third] = cluster.nodes as [RabbitNode, RabbitNode, RabbitNode];
  survivors = [first, second];
  leader = third;
  const policy = (name: string, body: unknown): Promise<unknown> => first.api('PUT', `/policies/%2F/${name}`, body);
  if (rabbitTraits().hasMirroredQueues) {
    await policy('mirrored', {
      pattern: '^mirrored',
      definition: { 'ha-mode': 'all', 'ha-sync-mode': 'automatic' },
      'apply-to': 'queues',
    });
  }
  await policy('sharded', { pattern: '^sharded', definition: { 'shards-per-node': 2 }, 'apply-to': 'exchanges' });
}, 180_000);

afterAll(async () => {
  await Promise.all(scalers.map((scaler) => scaler.close()));
  await cluster.close();
});

/** Declares one queue of each type, all led by the node that will fail, and fills it. */
async function fillQueues(suffix: string): Promise<void> {
  const connection = await connect(leader.amqpUrl(), { noDelay: true });
  try {
    const channel = await connection.createConfirmChannel();
    for (const type of QUEUE_TYPES) {
      const name = `${type}-${suffix}`;
      if (type === 'sharded') await channel.assertExchange(name, 'x-modulus-hash', { durable: true });
      else if (type === 'quorum' || type === 'stream') {
        await channel.assertQueue(name, { durable: true, arguments: { 'x-queue-type': type } });
      } else await channel.assertQueue(name, { durable: true });
    }
    await until('the shards are there', async () => (await queueNames(`sharding: sharded-${suffix} - `)).length === 6, {
      deadlineMs: 20_000,
      everyMs: 200,
    });
    for (let index = 0; index < CROWD; index++) {
      await channel.assertQueue(`crowd-${index}`, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
    }
    for (const type of QUEUE_TYPES) {
      for (let index = 0; index < DEPTHS[type]; index++) {
        const [exchange, key] = type === 'sharded' ? [`sharded-${suffix}`, `key${index}`] : ['', `${type}-${suffix}`];
        channel.publish(exchange, key, Buffer.from('waiting'), { persistent: true });
      }
    }
    await channel.waitForConfirms();
  } finally {
    await connection.close();
  }
  if (!rabbitTraits().hasMirroredQueues) return;
  await until(
    'the mirrors are in step',
    async () => {
      const queue = (await survivors[0].api('GET', `/queues/%2F/mirrored-${suffix}`)) as { synchronised_slave_nodes?: unknown[] };
      return queue.synchronised_slave_nodes?.length === 2;
    },
    { deadlineMs: 30_000, everyMs: 200 },
  );
}

async function queueNames(prefix: string): Promise<string[]> {
  const queues = (await survivors[0].api('GET', '/queues/%2F?disable_stats=true')) as { name: string }[];
  return queues.map(({ name }) => name).filter((name) => name.startsWith(prefix));
}

/** Ways to the same queue. The first endpoint is the one that a scaler asks while it answers. */
function roads(): Readonly<Record<string, Readonly<Record<string, string>>>> {
  const [first, second] = survivors;
  const amqp = (node: RabbitNode): string => `127.0.0.1:${node.amqpPort}`;
  const http = (node: RabbitNode): string => `127.0.0.1:${node.managementPort}`;
  const all = [first, second, leader];
  const sources = {
    management: all.map((node) => `http://${http(node)}`).join(','),
    prometheus: all.map((node) => `http://127.0.0.1:${node.prometheusPort}`).join(','),
  };
  return {
    'amqp by a survivor': { host: first.amqpUrl('/'), hosts: amqp(second), ...sources },
    'amqp by the failing node': { host: leader.amqpUrl('/'), hosts: [amqp(first), amqp(second)].join(','), ...sources },
    'http by a survivor': { host: first.httpUrl('/'), hosts: http(second), prometheus: sources.prometheus },
  };
}

async function watchAll(suffix: string, who: string): Promise<Witness[]> {
  const scaler = await startScaler();
  scalers.push(scaler);
  return witnessesOf(scaler, suffix, who);
}

/** Scalers that look in on the queues now and then, one after the other, and so meet each state of the cluster anew. */
function passBy(suffix: string): { stop(): Promise<readonly Witness[]> } {
  const stopped = new AbortController();
  const witnesses: Witness[] = [];
  const passing = (async () => {
    while (!stopped.signal.aborted) {
      const scaler = await startScaler();
      const own = witnessesOf(scaler, suffix, 'passing by');
      witnesses.push(...own);
      await delay(STAY_MS, undefined, { signal: stopped.signal }).catch(() => undefined);
      await Promise.all(own.map((witness) => witness.stop()));
      await scaler.close();
    }
  })();
  return {
    async stop() {
      stopped.abort();
      await passing;
      return witnesses;
    },
  };
}

function witnessesOf(scaler: TestScaler, suffix: string, who: string): Witness[] {
  const watchQueue = (name: string, type: QueueType, road: string, mode: string, truth: number): Witness => {
    const queue = type === 'sharded' ? { shardedExchange: `sharded-${suffix}` } : { queueName: `${type}-${suffix}` };
    const metadata = { scaler: 'rabbitmq', mode, value: '1', ...roads()[road], ...queue };
    return watchTrigger(`${name}, ${road}, ${who}`, scaler.client, { metadata }, truth);
  };
  return Object.keys(roads()).flatMap((road) => [
    ...QUEUE_TYPES.map((type) => watchQueue(type, type, road, 'QueueLength', DEPTHS[type])),
    ...RATE_OF.map((type) => watchQueue(`${type} ${RATES}`, type, road, 'MessageRate', 0)),
  ]);
}

interface Failure {
  readonly name: string;
  /** Makes the leading node fail. Resolves when it is away. */
  readonly fail: () => Promise<void>;
  /** How long it stays away, in ms. */
  readonly awayMs: number;
  readonly comeBack: () => Promise<void>;
  /** Until the others tell of the queues that they hold as well, in ms from the failure; undefined where the node is back before that. */
  readonly failoverMs: Readonly<Record<ReplicatedType, number>> | undefined;
}

/**
 * From the node's return until its statistics are whole, in ms. All times here are the longest that RabbitMQ 3.10 was seen to need by
 * any of the readers that are asked.
 */
const RETURN_MS: Record<QueueType, number> = { classic: 5_100, mirrored: 5_100, quorum: 10_000, stream: 5_000, sharded: 5_100 };

const FAILURES: readonly Failure[] = [
  {
    name: 'killed',
    fail: () => leader.kill(),
    awayMs: 25_000,
    comeBack: () => leader.start(),
    failoverMs: { mirrored: 8_800, quorum: 8_800, stream: 3_300 },
  },
  {
    name: 'stopped',
    fail: () => leader.stop(),
    awayMs: 25_000,
    comeBack: () => leader.start(),
    failoverMs: { mirrored: 9_100, quorum: 14_000, stream: 9_000 },
  },
  {
    name: 'restarted',
    fail: () => leader.stop(),
    awayMs: 0,
    comeBack: () => leader.start(),
    failoverMs: undefined,
  },
  {
    name: 'hung',
    fail: () => {
      leader.pause();
      return Promise.resolve();
    },
    awayMs: 120_000,
    async comeBack() {
      leader.resume();
      // The nodes have parted by now. Until one of them is restarted, or for a minute with Khepri, the management API counts what both
      // sides hold.
      await delay(HEALED_MS);
      await leader.kill();
      await leader.start();
    },
    // The longest seen, rounded up: nodes give each other up 60 to 75 s after the last sign of life, and then have to agree on a leader.
    failoverMs: { mirrored: 80_000, quorum: 85_000, stream: 85_000 },
  },
];

/** The longest that a queue of the type may be unknown after the node's return, in ms. */
function returnLimit(type: QueueType): number {
  return RETURN_MS[type] + OURS_MS[type];
}

function typeOf({ name }: Witness): QueueType {
  const type = QUEUE_TYPES.find((each) => name.startsWith(each));
  if (type === undefined) throw new Error(`no type of queue in ${name}`);
  return type;
}

describe('while messages wait, no zero and no false number is told', () => {
  for (const failure of FAILURES) {
    test(`when the leading node is ${failure.name}`, async () => {
      await fillQueues(failure.name);
      const witnesses = await watchAll(failure.name, 'known before');
      await until('every queue is told rightly', () => witnesses.every(isReady), {
        deadlineMs: BASELINE_DEADLINE_MS,
        everyMs: 500,
      }).catch((error: unknown) => {
        throw new Error(unsettled(witnesses), { cause: error });
      });

      const broker = await watchBroker(survivors, failure.name, DEPTHS);
      onTestFinished(() => broker.stop());
      const failedAt = performance.now();
      const failing = failure.fail();
      witnesses.push(...(await watchAll(failure.name, 'met failing')));
      const passersBy = passBy(failure.name);
      onTestFinished(async () => {
        await passersBy.stop();
      });
      await failing;
      await delay(failure.awayMs);
      const failovers = witnesses.flatMap((witness) => {
        const type = typeOf(witness);
        if (!isReplicated(type) || failure.failoverMs === undefined || mayStayUnknown(witness)) return [];
        const brokerMs = Math.max(failure.failoverMs[type], broker.tellsAfter(type, isByHttp(witness), failedAt));
        const limitMs = brokerMs + OURS_MS[type] + (isByHttp(witness) ? OURS_BY_HTTP_MS : 0);
        return [{ witness, ms: witness.rightSince(failedAt), limitMs, last: lastWords(witness) }];
      });
      await failure.comeBack();
      const backAt = performance.now();
      witnesses.push(...(await watchAll(failure.name, 'met coming back')));
      const recovered = await until(
        'all are told again',
        () => witnesses.every((witness) => mayStayUnknown(witness) || witness.settled(SETTLED_MS)),
        {
          deadlineMs: Math.max(...QUEUE_TYPES.map(returnLimit)) + SETTLED_MS,
          everyMs: 500,
        },
      ).catch(() => false);
      await Promise.all(witnesses.map((witness) => witness.stop()));
      const all = [...witnesses, ...(await passersBy.stop())];
      await Promise.all(scalers.splice(0).map((scaler) => scaler.close()));

      console.log(`${failure.name}:\n${tallyTable(all)}`);
      console.log(recoveryTable(witnesses, failovers, backAt));
      for (const witness of all) {
        const from = isRate(witness) ? failedAt : undefined;
        expect
          .soft(witness.wrong(failedAt, from), `${witness.name}: answers that were neither the truth nor an error`)
          .toEqual([]);
        expect.soft(witness.tally().slow, `${witness.name}: answers later than ${SLOW_MS} ms`).toBe(0);
      }
      for (const { witness, ms = Infinity, limitMs, last } of failovers) {
        expect.soft(ms, `ms until told while the node is away: ${witness.name}: ${last}`).toBeLessThanOrEqual(limitMs);
      }
      for (const witness of witnesses) {
        if (mayStayUnknown(witness)) continue;
        const ms = unknownAfter(witness, backAt);
        expect
          .soft(ms, `ms until told after the node's return: ${witness.name}`)
          .toBeLessThanOrEqual(returnLimit(typeOf(witness)));
      }
      expect.soft(recovered, unsettled(witnesses)).toBe(true);
    }, 500_000);
  }
});

/** Whether the failure may begin. Rates are those of the publishing at first, and may then be unknown. */
function isReady(witness: Witness): boolean {
  if (!isRate(witness)) return witness.settled(SETTLED_MS);
  const since = performance.now() - SETTLED_MS;
  return witness.answers.some(({ at }) => at > since) && witness.wrong(since, since).length === 0;
}

function unsettled(witnesses: readonly Witness[]): string {
  return witnesses
    .filter((witness) => !mayStayUnknown(witness) && !witness.settled(SETTLED_MS))
    .map((witness) => `${witness.name}: ${lastWords(witness)}`)
    .join('\n');
}

function lastWords({ answers }: Witness): string {
  const { value, active, reason } = answers.at(-1) ?? {};
  return reason ?? `value ${value ?? '?'}, active ${active ?? '?'}`;
}

/** Ms from `since` until the last answer that was unknown; 0 where there is none. */
function unknownAfter({ answers }: Witness, since: number): number {
  const last = answers.findLast(({ reason }) => reason !== undefined);
  return Math.max(0, (last?.at ?? -Infinity) - since);
}

/** Time and limit of each cell, in s. */
function recoveryTable(
  witnesses: readonly Witness[],
  failovers: readonly { readonly witness: Witness; readonly ms: number | undefined; readonly limitMs: number }[],
  backAt: number,
): string {
  const cell = (ms: number | undefined, limitMs: number | undefined): string =>
    (limitMs === undefined
      ? '-'
      : `${ms === undefined ? 'never' : (ms / 1000).toFixed(1)} of ${(limitMs / 1000).toFixed(1)}`
    ).padStart(26);
  const lines = witnesses.map((witness) => {
    const failover = failovers.find((each) => each.witness === witness);
    const limitMs = mayStayUnknown(witness) ? undefined : returnLimit(typeOf(witness));
    return `${witness.name.padEnd(52)}${cell(failover?.ms, failover?.limitMs)}${cell(unknownAfter(witness, backAt), limitMs)}`;
  });
  const head = `${'s'.padEnd(52)}${'right after failure'.padStart(26)}${'unknown after return'.padStart(26)}`;
  return [head, ...lines].join('\n');
}
