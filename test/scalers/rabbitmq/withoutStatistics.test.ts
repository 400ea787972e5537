import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Sample } from '../../../src/scalers/trigger.ts';
import { startRabbit, type RabbitNode } from '../../bed/rabbitmq.ts';
import { until } from '../../bed/until.ts';
import { createAsker, type Asker } from '../redis/ask.ts';
import { connectQueues, type Queues } from './queues.ts';

/** A broker that collects no statistics for its management API, as newer ones will by default. */
let node: RabbitNode;
let queues: Queues;
let asker: Asker;
/** The Prometheus plugin has counters by queue. */
let countsByQueue: boolean;

type Metadata = Readonly<Record<string, string>>;
const TYPES = ['classic', 'quorum', 'stream'] as const;

beforeAll(async () => {
  node = await startRabbit({ config: { 'management_agent.disable_metrics_collector': 'true' } });
  asker = createAsker();
  queues = await connectQueues(node.amqpUrl());
  const { product_version: version } = (await node.api('GET', '/overview')) as { readonly product_version: string };
  countsByQueue = Number.parseInt(version, 10) >= 4;
  for (const type of TYPES) {
    for (const name of [`${type}.empty`, `${type}.full`])
      await queues.declare(name, { durable: true, arguments: { 'x-queue-type': type } });
    await queues.put(`${type}.full`, 3);
  }
  await queues.hold('classic.full', 1);
  await queues.hold('quorum.full', 1);
});
afterAll(async () => {
  await Promise.all([asker.close(), queues.close()]);
  await node.close();
});

const off = { prometheus: 'off' };
const metrics = (): Metadata => ({ prometheus: `http://127.0.0.1:${node.prometheusPort}` });
const amqp = (): Metadata => ({ host: node.amqpUrl(), management: `http://127.0.0.1:${node.managementPort}` });
const http = (): Metadata => ({ host: node.httpUrl() });

/** Whether a stream's length can be told, and rates. */
const ROADS: readonly (readonly [string, () => Metadata, { readonly streams: boolean; readonly metrics: boolean }])[] = [
  ['AMQP alone', () => ({ host: node.amqpUrl(), management: 'off' }), { streams: true, metrics: false }],
  ['AMQP and the management API', () => ({ ...amqp(), ...off }), { streams: true, metrics: false }],
  ['AMQP, the management API and metrics', () => ({ ...amqp(), ...metrics() }), { streams: true, metrics: true }],
  ['HTTP alone', () => ({ ...http(), ...off }), { streams: false, metrics: false }],
  ['HTTP and metrics', () => ({ ...http(), ...metrics() }), { streams: true, metrics: true }],
];

/** Asks again until the answer is known. */
async function known(road: Metadata, more: Metadata): Promise<Sample> {
  const trigger = asker.trigger({ scaler: 'rabbitmq', ...road, confirmZero: '3s', staleAfter: '0', ...more });
  return until(JSON.stringify(more), () => trigger.read(AbortSignal.timeout(2_000)).catch(() => undefined), {
    deadlineMs: 30_000,
    everyMs: 250,
  });
}

describe.each(ROADS)('without statistics, by %s,', (name, road, can) => {
  it.each(TYPES.filter((type) => can.streams || type !== 'stream'))(
    'a %s queue is told, full and empty',
    async (type) => {
      const [full, empty] = await Promise.all([
        known(road(), { queueName: `${type}.full` }),
        known(road(), { queueName: `${type}.empty` }),
      ]);
      // Nobody but a list tells what consumers hold.
      const least = name === 'AMQP alone' && type !== 'stream' ? 2 : 3;
      expect(full.decision).toMatchObject({ value: least, active: true });
      expect(empty.decision).toMatchObject({ value: 0, active: false });
    },
    35_000,
  );

  it.runIf(name !== 'AMQP alone')(
    'patterns are told, whichever of their queues are empty',
    async () => {
      const types = can.streams ? TYPES : TYPES.slice(0, 2);
      const pattern = (end: string): Metadata => ({ useRegex: 'true', queueName: `^(${types.join('|')})\\.${end}$` });
      const [some, none] = await Promise.all([known(road(), pattern('(empty|full)')), known(road(), pattern('empty'))]);
      expect(some.decision).toMatchObject({ value: 3 * types.length, active: true });
      expect(some.reading.queues).toHaveLength(2 * types.length);
      expect(none.decision).toMatchObject({ value: 0, active: false });
    },
    35_000,
  );

  it.runIf(!can.streams)('a stream is unknown, and the setting is named that hides it', async () => {
    const error = await asker.refusal({ scaler: 'rabbitmq', ...road(), queueName: 'stream.full', staleAfter: '0' });
    expect(error).toMatchObject({ code: 'FIELD_MISSING' });
    expect(error.message).toContain('management_agent.disable_metrics_collector');
  });

  it.runIf(name !== 'AMQP alone')(
    'rates are taken from the metrics, or the setting is named that hides them',
    async () => {
      const queue = `rated by ${name}`;
      await queues.declare(queue);
      const { consumerTag } = await queues.channel.consume(queue, (message) => {
        if (message !== null) queues.channel.ack(message);
      });
      const publishing = setInterval(() => void queues.put(queue, 4), 200);
      try {
        const rated = { queueName: queue, value: '5', rateWindow: '10s', staleAfter: '0' };
        if (!(can.metrics && countsByQueue)) {
          for (const mode of ['MessageRate', 'DeliverGetRate', 'PublishedToDeliveredRatio', 'ExpectedQueueConsumptionTime']) {
            const error = await asker.refusal({ scaler: 'rabbitmq', ...road(), ...rated, mode });
            expect(error).toMatchObject({ code: 'FIELD_MISSING' });
            expect(error.message).toContain('management_agent.disable_metrics_collector');
          }
          return;
        }
        const told = async (mode: string, isRight: (value: number) => boolean): Promise<void> => {
          const trigger = asker.trigger({ scaler: 'rabbitmq', ...road(), ...rated, mode });
          await until(
            `${mode} is right`,
            async () => {
              const sample = await trigger.read(AbortSignal.timeout(2_000)).catch(() => undefined);
              return sample !== undefined && isRight(sample.decision.value);
            },
            { deadlineMs: 30_000, everyMs: 500 },
          );
        };
        await Promise.all([
          told('MessageRate', (rate) => rate > 14 && rate < 26),
          told('DeliverGetRate', (rate) => rate > 14 && rate < 26),
          told('PublishedToDeliveredRatio', (ratio) => ratio > 0.7 && ratio < 1.4),
          // Nothing waits, or a handful that was just published.
          told('ExpectedQueueConsumptionTime', (seconds) => seconds < 2),
        ]);
      } finally {
        clearInterval(publishing);
        await queues.channel.cancel(consumerTag);
      }
    },
    40_000,
  );
});
