import { expect, it } from 'vitest';
import type { HttpClient } from '../../../src/scalers/rabbitmq/management/http.ts';
import { createManagement } from '../../../src/scalers/rabbitmq/management/api.ts';
import { createEndpoints } from '../../../src/scalers/net/failover.ts';
import { BrokerError } from '../../../src/errors.ts';

const ENDPOINT = { scheme: 'http', host: 'broker', port: 15672, path: '' } as const;
const LISTENER = { protocol: 'http/prometheus', node: 'r1@one', port: 9000 };

/** What the overview says, and the paths that were asked for, where that port is listened at. */
async function overviewOf(answer: Readonly<Record<string, unknown>>, listensAt: number) {
  const paths: string[] = [];
  const http: HttpClient = {
    get: (_, path) => {
      paths.push(path);
      const [, port] = /port-listener\/(\d+)/.exec(path) ?? [];
      if (port !== undefined && Number(port) !== listensAt) return Promise.reject(new BrokerError('BROKER_BUSY', 'answered 503'));
      return Promise.resolve({ status: 200, body: JSON.stringify(answer), at: 0 });
    },
    close: () => Promise.resolve(),
  };
  const pool = { http, endpoints: createEndpoints([ENDPOINT]) };
  const management = createManagement(pool, pool);
  const overview = await management.overview(AbortSignal.timeout(1_000));
  // A port without a listener is no trouble of the API's.
  await management.overview(AbortSignal.timeout(1_000));
  return { overview, paths: paths.slice(0, paths.length / 2) };
}

it('the overview of a broker with statistics names the listeners, and no port is tried', async () => {
  const { overview, paths } = await overviewOf({ listeners: [LISTENER], disable_stats: false, rates_mode: 'basic' }, 15_692);
  expect(overview).toMatchObject({ statisticsOff: false, usualPrometheus: false, prometheus: [{ node: 'r1@one', port: 9000 }] });
  expect(paths).toHaveLength(1);
});

it.each([
  ['has', 15_692, true],
  ['has not', 9_000, false],
])('the overview of a broker without statistics %s the metrics at their usual port', async (_, port, usualPrometheus) => {
  const { overview } = await overviewOf({ disable_stats: true, rates_mode: 'basic' }, port);
  expect(overview).toMatchObject({ statisticsOff: true, usualPrometheus, prometheus: [] });
});
