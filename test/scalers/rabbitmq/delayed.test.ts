import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startRabbit, type RabbitNode } from '../../bed/rabbitmq.ts';
import { until } from '../../bed/until.ts';
import { rabbitTraits } from '../../bed/versions/chosen.ts';
import { createAsker, type Asker } from '../redis/ask.ts';
import { connectQueues, type Queues } from './queues.ts';

const [major = 0, minor = 0] = rabbitTraits().version.split('.').map(Number);
/** Longer than the test. */
const LONG_MS = 600_000;

describe.runIf(major > 4 || (major === 4 && minor >= 3))('a quorum queue’s delayed retries', () => {
  let node: RabbitNode;
  let queues: Queues;
  let asker: Asker;

  beforeAll(async () => {
    node = await startRabbit();
    asker = createAsker();
    queues = await connectQueues(node.amqpUrl());
    for (const [queue, waiting, delayMs] of [
      ['later', 0, LONG_MS],
      ['mixed', 2, LONG_MS],
      ['soon', 0, 3_000],
    ] as const) {
      const delay = { 'x-delayed-retry-type': 'all', 'x-delayed-retry-min': delayMs, 'x-delayed-retry-max': delayMs };
      await queues.declare(queue, { durable: true, arguments: { 'x-queue-type': 'quorum', ...delay } });
      await queues.put(queue, 5);
      await queues.hold(queue, 5);
      await queues.release(queue);
      await queues.put(queue, waiting);
    }
  });
  afterAll(async () => {
    await Promise.all([asker.close(), queues.close()]);
    await node.close();
  });

  const management = (): string => `http://127.0.0.1:${node.managementPort}`;
  const metrics = (): string => `http://127.0.0.1:${node.prometheusPort}`;

  it.each([
    ['AMQP alone', () => ({ host: node.amqpUrl(), management: 'off' })],
    ['AMQP and the management API', () => ({ host: node.amqpUrl(), management: management(), prometheus: 'off' })],
    ['HTTP alone', () => ({ host: node.httpUrl(), prometheus: 'off' })],
    ['HTTP and metrics', () => ({ host: node.httpUrl(), prometheus: metrics() })],
    ['the statistics', () => ({ host: node.httpUrl(), prometheus: 'off', mode: 'MessageRate', value: '5' })],
  ])(
    'are no work before they are due, by %s',
    async (_, road) => {
      const read = (queueName: string) => {
        const trigger = asker.trigger({ scaler: 'rabbitmq', confirmZero: '3s', staleAfter: '0', queueName, ...road() });
        return () => trigger.read(AbortSignal.timeout(2_000)).catch(() => undefined);
      };
      const [later, mixed] = ['later', 'mixed'].map(read);
      const count = (sample: Awaited<ReturnType<NonNullable<typeof later>>>): number | undefined => {
        return sample?.reading.measures['messages'] ?? sample?.reading.measures['ready'];
      };
      const wait = { deadlineMs: 30_000, everyMs: 250 };
      const waiting = await until(
        'two are seen',
        async () => {
          const sample = await mixed?.();
          if (sample === undefined || count(sample) !== 2) return false;
          // A list may be some seconds old, and a declare does not know of them.
          return (sample.reading.reader === 'passive declare' || sample.reading.notes !== undefined) && sample;
        },
        wait,
      );
      expect(waiting.decision.active).toBe(true);
      const idle = await until('none is seen', later ?? (() => undefined), wait);
      expect(count(idle)).toBe(0);
      expect(idle.decision.active).toBe(false);
      if (waiting.reading.reader !== 'passive declare')
        expect(waiting.reading.notes).toContain('queue mixed: 5 delayed, which do not count before they are due');
    },
    40_000,
  );

  it('are work once they are due, without a consumer', async () => {
    await expect
      .poll(
        async () =>
          (await asker.ask({ scaler: 'rabbitmq', host: node.httpUrl(), queueName: 'soon' }).catch(() => undefined))?.decision
            .value,
        {
          timeout: 20_000,
        },
      )
      .toBe(5);
  }, 25_000);
});
