/**
 * A load balancer between the scaler and its broker resets, falls silent, answers for itself, or moves to another node: one sweep is
 * lost at most.
 */
import { createServer, connect as connectTcp, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { QueueScalerError } from '../../src/errors.ts';
import { noEvents } from '../../src/scalers/brokerEvents.ts';
import type { Reading } from '../../src/scalers/reading.ts';
import { rabbitmq } from '../../src/scalers/rabbitmq/index.ts';
import { createBrokerPool, type BrokerPool } from '../../src/scalers/brokerPool.ts';
import { startRabbitCluster, type RabbitCluster, type RabbitNode } from '../bed/rabbitmq.ts';
import { until } from '../bed/until.ts';
import { connectQueues } from '../scalers/rabbitmq/queues.ts';

const DEPTH = 5;
/** A sweep's own time limit, and the trigger's timeout. */
const TIMEOUT_MS = 500;

/** A load balancer over TCP, as it is told: to a node's port, or into trouble. */
interface Balancer {
  readonly port: number;
  /** Connections taken so far. */
  readonly taken: number;
  /** What becomes of each new connection. */
  to: (client: Socket) => void;
  /** Cuts all that are open. */
  reset(): void;
  /** Keeps all that are open, and passes nothing on any more. */
  silence(): void;
  close(): Promise<void>;
}

async function startBalancer(): Promise<Balancer> {
  const sockets = new Set<Socket>();
  let taken = 0;
  const server: Server = createServer((client) => {
    taken++;
    sockets.add(client);
    client.on('error', () => undefined).on('close', () => sockets.delete(client));
    balancer.to(client);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const balancer: Balancer = {
    port: (server.address() as AddressInfo).port,
    get taken() {
      return taken;
    },
    to: (client) => client.destroy(),
    reset() {
      for (const socket of sockets) socket.resetAndDestroy();
    },
    silence() {
      for (const socket of sockets) {
        socket.unpipe();
        socket.pause();
        for (const upstream of upstreams.get(socket) ?? []) upstream.unpipe();
      }
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return balancer;
}

const upstreams = new WeakMap<Socket, Socket[]>();

function pass(port: number): (client: Socket) => void {
  return (client) => {
    const upstream = connectTcp({ port, host: '127.0.0.1', noDelay: true });
    client.setNoDelay(true);
    upstreams.set(client, [upstream]);
    upstream.on('error', () => undefined).on('close', () => client.destroy());
    client.on('close', () => upstream.destroy());
    client.pipe(upstream, { end: false });
    upstream.pipe(client, { end: false });
  };
}

const reset = (client: Socket): void => void client.resetAndDestroy();
const swallow = (client: Socket): void => void client.resume();
/** What a load balancer without a backend answers to whatever it is sent. */
function page(status: string): (client: Socket) => void {
  const body = '<html><body>Bad Gateway</body></html>';
  return (client) => {
    client.once('data', () => {
      client.end(`HTTP/1.1 ${status}\r\nContent-Type: text/html\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    });
  };
}

let cluster: RabbitCluster;
let nodes: readonly [RabbitNode, RabbitNode];
let amqp: Balancer;
let http: Balancer;
let brokers: BrokerPool;

beforeAll(async () => {
  cluster = await startRabbitCluster(2);
  nodes = cluster.nodes as readonly [RabbitNode, RabbitNode] & readonly RabbitNode[];
  const queues = await connectQueues(nodes[0].amqpUrl());
  await queues.declare('q');
  await queues.put('q', DEPTH);
  await queues.close();
}, 120_000);
afterAll(async () => {
  await cluster.close();
});
beforeEach(async () => {
  [amqp, http] = await Promise.all([startBalancer(), startBalancer()]);
  toNode(0);
  brokers = createBrokerPool(noEvents);
});
afterEach(async () => {
  await brokers.close();
  await Promise.all([amqp.close(), http.close()]);
});

function toNode(index: 0 | 1): void {
  amqp.to = pass(nodes[index].amqpPort);
  http.to = pass(nodes[index].managementPort);
}

/** A trigger read anew at each call; its last known reading never stands in. */
function reader(road: 'amqp' | 'http', more: Readonly<Record<string, string>> = {}): () => Promise<number | QueueScalerError> {
  const management = `http://127.0.0.1:${http.port}`;
  const host = road === 'amqp' ? `amqp://guest:guest@127.0.0.1:${amqp.port}` : management.replace('://', '://guest:guest@');
  const bound = rabbitmq.bind(
    {
      ...{ scaler: 'rabbitmq', queueName: 'q', host, prometheus: 'off', staleAfter: '0', timeout: `${TIMEOUT_MS}` },
      ...(road === 'amqp' ? { management: 'off', excludeUnacknowledged: 'true' } : {}),
      ...more,
    },
    {},
  );
  let last: Reading | undefined;
  return async () => {
    const reading = await until('a reading of its own', async () => {
      const latest = await brokers.of(bound).read(bound.question, AbortSignal.timeout(5_000));
      return latest.at !== last?.at && latest;
    });
    last = reading;
    return reading.known ? (reading.measures['messages'] ?? reading.measures['ready'] ?? NaN) : reading.error;
  };
}

/** How many sweeps in a row were lost; no sweep may tell anything but the truth or an error. */
async function lost(read: () => Promise<number | QueueScalerError>): Promise<number> {
  for (let sweeps = 0; sweeps < 20; sweeps++) {
    const found = await read();
    if (found === DEPTH) return sweeps;
    expect(found).toBeInstanceOf(Error);
  }
  return Infinity;
}

it('while AMQP is in trouble the management API tells', async () => {
  const read = reader('amqp', { management: `http://127.0.0.1:${http.port}` });
  for (const trouble of [reset, swallow, page('502 Bad Gateway')]) {
    amqp.to = trouble;
    amqp.reset();
    expect(await read()).toBe(DEPTH);
  }
});

describe.each(['amqp', 'http'] as const)('behind a load balancer, by %s', (road) => {
  const balancer = (): Balancer => (road === 'amqp' ? amqp : http);

  it('connections that are reset cost nothing', async () => {
    const read = reader(road);
    expect(await read()).toBe(DEPTH);
    for (let time = 0; time < 3; time++) {
      balancer().reset();
      expect(await lost(read)).toBe(0);
    }
  });

  it('connections that fall silent cost one sweep at most', async () => {
    const read = reader(road);
    expect(await read()).toBe(DEPTH);
    balancer().silence();
    expect(await lost(read)).toBeLessThanOrEqual(1);
  });

  it('another node behind the same address costs one sweep at most', async () => {
    const read = reader(road);
    expect(await read()).toBe(DEPTH);
    toNode(1);
    balancer().reset();
    expect(await lost(read)).toBeLessThanOrEqual(1);
    toNode(0);
  });

  it.each([
    ['reset at once', reset, /BROKER_UNREACHABLE/],
    ['taken and left silent', swallow, /BROKER_TIMEOUT/],
    ['answered by an HTML page', page('200 OK'), /BROKER_REPLY_INVALID/],
    ['answered by a 502', page('502 Bad Gateway'), /BROKER_BUSY|BROKER_REPLY_INVALID/],
  ])('new connections that are %s are errors in time, and told rightly soon after', async (_, trouble, code) => {
    const read = reader(road);
    expect(await read()).toBe(DEPTH);
    balancer().to = trouble;
    balancer().reset();
    const startedAt = performance.now();
    const found = await read();
    expect(found).toMatchObject({ code: expect.stringMatching(code) as string });
    expect(performance.now() - startedAt).toBeLessThan(4_000);
    toNode(0);
    const backAt = performance.now();
    expect(await lost(read)).toBeLessThanOrEqual(2);
    expect(performance.now() - backAt).toBeLessThan(6_000);
  });
});
