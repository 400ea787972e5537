/**
 * One node of three goes while the others hold the queues: the scaler that used it moves on within a sweep, and a node that hangs is
 * the trouble of its own queues alone.
 */
import { connect } from 'amqplib';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { startRabbitCluster, type RabbitCluster, type RabbitNode } from '../bed/rabbitmq.ts';
import { startScaler, type TestScaler } from '../bed/scaler.ts';
import { until } from '../bed/until.ts';
import { SLOW_MS, tallyTable, watchTrigger, type Witness } from './recorder.ts';

const DEPTH = 5;
const SETTLED_MS = 2_500;
const HANG_MS = 20_000;
/** A reading answers again for a second; whoever asks after that asks the broker. */
const SWEEP_MS = 1_100;

let cluster: RabbitCluster;
let nodes: readonly [RabbitNode, RabbitNode, RabbitNode];
let scaler: TestScaler;

beforeAll(async () => {
  cluster = await startRabbitCluster(3);
  nodes = cluster.nodes as readonly RabbitNode[] & readonly [RabbitNode, RabbitNode, RabbitNode];
  for (const [index, node] of nodes.entries()) {
    const connection = await connect(node.amqpUrl(), { noDelay: true });
    const channel = await connection.createConfirmChannel();
    await channel.assertQueue(`classic-${index + 1}`, { durable: true });
    for (let sent = 0; sent < DEPTH; sent++)
      channel.sendToQueue(`classic-${index + 1}`, Buffer.from('work'), { persistent: true });
    await channel.waitForConfirms();
    await connection.close();
  }
}, 180_000);
afterAll(async () => {
  await cluster.close();
});
beforeEach(async () => {
  scaler = await startScaler();
});
afterEach(async () => {
  await scaler.close();
});

/** A road to the cluster, by the first node first. */
function roads(): Readonly<Record<'amqp' | 'http', Readonly<Record<string, string>>>> {
  const [first, ...others] = nodes;
  const at = (port: (node: RabbitNode) => number): string => others.map((node) => `127.0.0.1:${port(node)}`).join(',');
  const management = nodes.map((node) => `http://127.0.0.1:${node.managementPort}`).join(',');
  return {
    amqp: { host: first.amqpUrl('/'), hosts: at((node) => node.amqpPort), management, prometheus: 'off' },
    http: { host: first.httpUrl('/'), hosts: at((node) => node.managementPort), prometheus: 'off' },
  };
}

/** Of a trigger whose last known reading never stands in. */
function watch(road: 'amqp' | 'http', queueName: string): Witness {
  const metadata = { scaler: 'rabbitmq', mode: 'QueueLength', value: '1', staleAfter: '0', ...roads()[road], queueName };
  return watchTrigger(`${queueName}, ${road}`, scaler.client, { metadata }, DEPTH);
}

async function settle(witnesses: readonly Witness[], deadlineMs: number): Promise<void> {
  await until('every queue is told rightly', () => witnesses.every((witness) => witness.settled(SETTLED_MS)), {
    deadlineMs,
    everyMs: 200,
  });
}

/** Sweeps of the broker, a second apart, whose answers were not right since then. */
function sweepsLost({ answers }: Witness, since: number): number {
  let lostAt = -Infinity;
  let lost = 0;
  for (const { at, reason } of answers) {
    if (at < since || reason === undefined || at - lostAt < SWEEP_MS) continue;
    lost++;
    lostAt = at;
  }
  return lost;
}

test.each(['killed', 'stopped in order'] as const)(
  'the node in use is %s: one sweep is lost at most',
  async (how) => {
    const [first] = nodes;
    const witnesses = [
      watch('amqp', 'classic-2'),
      watch('amqp', 'classic-3'),
      watch('http', 'classic-2'),
      watch('http', 'classic-3'),
    ];
    await settle(witnesses, 60_000);
    const failedAt = performance.now();
    await (how === 'killed' ? first.kill() : first.stop());
    await delay(8_000);
    const settled = witnesses.map((witness) => witness.settled(SETTLED_MS));
    await Promise.all(witnesses.map((witness) => witness.stop()));
    await first.start();

    console.log(`${how}:\n${tallyTable(witnesses)}`);
    expect.soft(settled, 'told rightly again').toEqual(witnesses.map(() => true));
    for (const witness of witnesses) {
      const { zero, above, below, inactive, slow } = witness.tally();
      expect
        .soft({ zero, above, below, inactive, slow }, witness.name)
        .toEqual({ zero: 0, above: 0, below: 0, inactive: 0, slow: 0 });
      expect.soft(sweepsLost(witness, failedAt), `${witness.name}: ${reasons(witness)}`).toBeLessThanOrEqual(1);
    }
  },
  180_000,
);

test('a node of three that hangs delays no answer about the queues of the others', async () => {
  const [, , third] = nodes;
  const sick = [watch('amqp', 'classic-3'), watch('http', 'classic-3')];
  const well = [watch('amqp', 'classic-1'), watch('amqp', 'classic-2')];
  // By HTTP alone the broker itself answers nothing until it has given the node up.
  const byHttp = watch('http', 'classic-1');
  const all = [...sick, ...well, byHttp];
  await settle(all, 60_000);
  const hungAt = performance.now();
  third.pause();
  try {
    await delay(HANG_MS);
  } finally {
    third.resume();
  }
  const resumedAt = performance.now();
  await settle(all, 60_000);
  await Promise.all(all.map((witness) => witness.stop()));

  console.log(tallyTable(all));
  for (const witness of well) {
    const during = witness.answers.filter(({ at }) => at > hungAt && at < resumedAt);
    expect.soft(during.length, witness.name).toBeGreaterThan(10);
    expect
      .soft(
        during.filter(({ value, active }) => value !== DEPTH || active !== true),
        witness.name,
      )
      .toEqual([]);
  }
  for (const witness of all) {
    const { zero, above, below, inactive } = witness.tally();
    expect.soft({ zero, above, below, inactive }, witness.name).toEqual({ zero: 0, above: 0, below: 0, inactive: 0 });
    expect.soft(Math.max(...witness.answers.map(({ tookMs }) => tookMs)), witness.name).toBeLessThan(SLOW_MS);
  }
  for (const witness of sick) expect.soft(witness.tally().unknown, witness.name).toBeGreaterThan(0);
}, 240_000);

function reasons({ answers }: Witness): string {
  return [...new Set(answers.flatMap(({ reason }) => reason ?? []))].join('; ').slice(0, 600);
}
