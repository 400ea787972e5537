/** A trigger's first call decides whether KEDA calls it ready, and may take two seconds. */
import { connect } from 'amqplib';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { SETTLED_MS } from '../../../src/scalers/rabbitmq/management/clusterState.ts';
import { startRabbit, type RabbitNode } from '../../bed/rabbitmq.ts';
import { until } from '../../bed/until.ts';
import { createAsker } from '../redis/ask.ts';

let node: RabbitNode;

beforeAll(async () => {
  node = await startRabbit();
  const connection = await connect(node.amqpUrl(), { noDelay: true });
  const channel = await connection.createChannel();
  await channel.assertQueue('empty', { durable: true, arguments: { 'x-queue-type': 'quorum' } });
  await connection.close();
  await until(
    'the node has been up for long',
    async () => {
      const [found] = (await node.api('GET', '/nodes?columns=uptime')) as { uptime?: number }[];
      return (found?.uptime ?? 0) > SETTLED_MS;
    },
    { deadlineMs: 2 * SETTLED_MS, everyMs: 500 },
  );
}, 120_000);

afterAll(() => node.close());

it('an empty quorum queue is told at the first call, where the broker is well', async () => {
  const asker = createAsker();
  try {
    const management = node.httpUrl().replace('guest:guest@', '');
    const { decision } = await asker.ask({ scaler: 'rabbitmq', host: node.amqpUrl('/'), management, queueName: 'empty' });
    expect(decision).toMatchObject({ value: 0, active: false });
  } finally {
    await asker.close();
  }
});
