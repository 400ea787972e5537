import { startRabbit } from '../../bed/rabbitmq.ts';
import { conformance, WRONG_PASSWORD } from '../conformance.ts';
import { freePort } from '../../bed/ports.ts';
import { connectQueues } from './queues.ts';

const unused = await freePort();

conformance({
  scaler: 'rabbitmq',
  keys: { target: 'value', activation: 'activationValue' },
  defaultTarget: 20,
  secrets: ['guest:guest'],
  maxConnections: 4,
  wakeMs: 2_000,
  async start() {
    const node = await startRabbit();
    let queues = await connectQueues(node.amqpUrl());
    return {
      async trigger(queue) {
        await queues.declare(queue);
        return {
          scaler: 'rabbitmq',
          host: node.amqpUrl(),
          management: `http://127.0.0.1:${node.managementPort}`,
          queueName: queue,
        };
      },
      put: (queue, messages) => queues.put(queue, messages),
      drain: (queue) => queues.drain(queue),
      hold: (queue, messages) => queues.hold(queue, messages),
      finish: (queue) => queues.finish(queue),
      async kill() {
        await node.flush();
        await node.kill();
      },
      async restart() {
        await node.start();
        await queues.close();
        queues = await connectQueues(node.amqpUrl());
      },
      async connections() {
        // The bed's own connection to AMQP is not the scaler's.
        const all = (await node.api('GET', '/connections')) as readonly {
          readonly client_properties: { readonly product: string };
        }[];
        return all.filter(({ client_properties: { product } }) => product === 'keda-queue-scaler').length;
      },
      async close() {
        await queues.close();
        await node.close();
      },
    };
  },
  wrong: {
    password: (trigger) => ({ ...trigger, host: trigger['host']?.replace('guest:guest', `guest:${WRONG_PASSWORD}`) ?? '' }),
    port: (trigger) => ({ ...trigger, host: `amqp://guest:guest@127.0.0.1:${unused}`, management: 'off' }),
    tls: (trigger) => ({ ...trigger, host: trigger['host']?.replace('amqp:', 'amqps:') ?? '', management: 'off' }),
  },
});
