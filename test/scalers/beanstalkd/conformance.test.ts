import { beanstalkd } from '../../../examples/beanstalkd/index.ts';
import { connectBeanstalkd, startBeanstalkd } from '../../bed/beanstalkd.ts';
import { freePort } from '../../bed/ports.ts';
import { conformance } from '../conformance.ts';

const unused = await freePort();

conformance({
  scaler: 'beanstalkd',
  scalers: [beanstalkd],
  keys: { target: 'value', activation: 'activationValue' },
  secrets: [],
  maxConnections: 1,
  wakeMs: 500,
  async start() {
    const server = await startBeanstalkd();
    let client = await connectBeanstalkd(server.port);
    return {
      trigger: (queue) => ({ scaler: 'beanstalkd', server: `127.0.0.1:${server.port}`, tube: queue, value: '5' }),
      put: (queue, messages) => client.put(queue, messages),
      drain: (queue) => client.drain(queue),
      hold: (queue, messages) => client.reserve(queue, messages),
      finish: (queue) => client.finish(queue),
      kill: () => server.kill(),
      async restart() {
        await server.start();
        client = await connectBeanstalkd(server.port);
      },
      connections: () => client.connections(),
      async close() {
        client.close();
        await server.close();
      },
    };
  },
  wrong: {
    port: (trigger) => ({ ...trigger, server: `127.0.0.1:${unused}` }),
    tls: (trigger) => ({ ...trigger, tls: 'enable' }),
  },
});
