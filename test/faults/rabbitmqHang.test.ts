/** A broker that takes connections and answers nothing is the trouble of its own triggers and of nobody else's. */
import { connect } from 'amqplib';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startRabbit, type RabbitNode } from '../bed/rabbitmq.ts';
import { startScaler, type TestScaler } from '../bed/scaler.ts';
import { until } from '../bed/until.ts';
import { SLOW_MS, tallyTable, watchTrigger, type Witness } from './recorder.ts';

const DEPTH = 3;
const HANG_MS = 25_000;
const SETTLED_MS = 2000;

let hanging: RabbitNode;
let healthy: RabbitNode;
let scaler: TestScaler;

beforeAll(async () => {
  [hanging, healthy, scaler] = await Promise.all([startRabbit(), startRabbit(), startScaler()]);
  await Promise.all(
    [hanging, healthy].map(async (node) => {
      const connection = await connect(node.amqpUrl(), { noDelay: true });
      const channel = await connection.createConfirmChannel();
      for (const type of ['classic', 'quorum']) {
        await channel.assertQueue(type, { durable: true, arguments: { 'x-queue-type': type } });
        for (let index = 0; index < DEPTH; index++) channel.sendToQueue(type, Buffer.from('waiting'), { persistent: true });
      }
      await channel.waitForConfirms();
      await connection.close();
    }),
  );
});

afterAll(async () => {
  await Promise.all([scaler.close(), hanging.close(), healthy.close()]);
});

function watchNode(name: string, node: RabbitNode): Witness[] {
  const sources = {
    management: node.httpUrl().replace('guest:guest@', ''),
    prometheus: `http://127.0.0.1:${node.prometheusPort}`,
  };
  const roads = {
    amqp: { host: node.amqpUrl('/'), ...sources },
    http: { host: node.httpUrl('/'), prometheus: sources.prometheus },
  };
  return Object.entries(roads).flatMap(([road, metadata]) =>
    ['classic', 'quorum'].map((queueName) =>
      watchTrigger(
        `${queueName} of the ${name} broker, ${road}`,
        scaler.client,
        { metadata: { scaler: 'rabbitmq', mode: 'QueueLength', value: '1', queueName, ...metadata } },
        DEPTH,
      ),
    ),
  );
}

test('a hung broker delays no answer about another, and its own are errors in time, never a zero', async () => {
  const sick = watchNode('hung', hanging);
  const well = watchNode('healthy', healthy);
  const all = [...sick, ...well];
  await until('every queue is told rightly', () => all.every((witness) => witness.settled(SETTLED_MS)), {
    deadlineMs: 60_000,
    everyMs: 200,
  });
  const hungAt = performance.now();
  hanging.pause();
  await delay(HANG_MS);
  hanging.resume();
  await until('the hung broker is told rightly again', () => all.every((witness) => witness.settled(SETTLED_MS)), {
    deadlineMs: 30_000,
    everyMs: 200,
  });
  await Promise.all(all.map((witness) => witness.stop()));

  console.log(tallyTable(all));
  for (const witness of well) {
    const during = witness.answers.filter(({ at }) => at > hungAt);
    expect(during.length, witness.name).toBeGreaterThan(10);
    expect(
      during.filter(({ value, active }) => value !== DEPTH || active !== true),
      witness.name,
    ).toEqual([]);
  }
  for (const witness of sick) {
    const { unknown, zero, above, below, inactive } = witness.tally();
    expect({ zero, above, below, inactive }, witness.name).toEqual({ zero: 0, above: 0, below: 0, inactive: 0 });
    // The last known reading stands in for a while only.
    expect(unknown, witness.name).toBeGreaterThan(0);
  }
  for (const witness of all) expect(Math.max(...witness.answers.map(({ tookMs }) => tookMs)), witness.name).toBeLessThan(SLOW_MS);
}, 200_000);
