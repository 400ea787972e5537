/**
 * Brokers set up as those that clouds host: TLS only, one password, no CONFIG, one name for a whole cluster, an API behind its own port,
 * a user who may see his own vhost only. Each is read, and wakes its sleeping trigger.
 */
import { connect } from 'amqplib';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { scalerOf } from '../../src/scalers/registry.ts';
import { noEvents } from '../../src/scalers/brokerEvents.ts';
import { createBrokerPool } from '../../src/scalers/brokerPool.ts';
import type { Bound } from '../../src/scalers/contract.ts';
import type { Reading } from '../../src/scalers/reading.ts';
import { LOCALHOST_EXTENSIONS, makeCertificates, type Certificates } from '../bed/certificates.ts';
import { startRabbit } from '../bed/rabbitmq.ts';
import { startRedis, type RedisServer, type RedisTls } from '../bed/redis.ts';
import { startRedisCluster } from '../bed/redisCluster.ts';
import { slotOf } from '../../src/scalers/redis/topology/slots.ts';
import { until } from '../bed/until.ts';

type Texts = Readonly<Record<string, string>>;

const folder = mkdtempSync(join(tmpdir(), 'queue-scaler-hosted-'));
const PASSWORD = 'pass';
let certificates: Certificates;
let ca: string;

beforeAll(() => {
  certificates = makeCertificates(folder);
  ca = readFileSync(certificates.ca, 'utf8');
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const tls = (): RedisTls => ({ ...certificates.server, ca: certificates.ca });

/** Takes from the only user what its host takes from its customers. */
async function forbid(server: RedisServer, ...commands: readonly string[]): Promise<void> {
  await server.call('ACL', 'SETUSER', 'default', ...commands.map((command) => `-${command}`));
}

interface Watched {
  /** Every reading so far, oldest first. */
  readonly readings: readonly Reading[];
  /** The figure of the latest reading; undefined while it is unknown. */
  value(): number | undefined;
  close(): Promise<void>;
}

/** Watches the trigger while it sleeps. */
function watch(metadata: Texts, authentication: Texts): Watched {
  const brokers = createBrokerPool(noEvents);
  const bound: Bound = scalerOf(metadata).bind(metadata, authentication);
  const readings: Reading[] = [];
  const stop = brokers.of(bound).watch(bound.question, { sleeping: () => true, report: (reading) => readings.push(reading) });
  return {
    readings,
    value() {
      const latest = readings.at(-1);
      return latest?.known === true ? bound.decide(latest).value : undefined;
    },
    async close() {
      stop();
      await brokers.close();
    },
  };
}

async function isReadAndWoken(metadata: Texts, authentication: Texts, put: () => Promise<unknown>): Promise<readonly Reading[]> {
  const watched = watch(metadata, authentication);
  try {
    // A zero of RabbitMQ takes its time where only time confirms it.
    await until('the empty queue is read', () => watched.value() === 0, { deadlineMs: 20_000 });
    await put();
    await until('the message is noticed', () => watched.value() === 1);
    return watched.readings;
  } finally {
    await watched.close();
  }
}

it('a Redis over TLS with one password and without CONFIG is read, and pushes', async () => {
  const server = await startRedis({ tls: tls(), password: PASSWORD });
  try {
    await forbid(server, 'config', 'acl', 'debug', 'shutdown', 'cluster');
    const readings = await isReadAndWoken(
      { scaler: 'redis', listName: 'q', address: `rediss://localhost:${server.port}` },
      { ca, password: PASSWORD },
      () => server.call('RPUSH', 'q', 'job'),
    );
    expect(readings.at(-1)).toMatchObject({ known: true });
    expect(readings.at(-1)).not.toHaveProperty('notes');
    await server.call('XADD', 's', '*', 'field', 'value');
    await server.call('XGROUP', 'CREATE', 's', 'g', '$');
    await isReadAndWoken(
      { scaler: 'redis-streams', stream: 's', consumerGroup: 'g', lagCount: '1', address: `rediss://localhost:${server.port}` },
      { ca, password: PASSWORD },
      () => server.call('XADD', 's', '*', 'field', 'value'),
    );
  } finally {
    await server.close();
  }
});

it('a Redis that announces no changes is read, and polled while it sleeps, which is said', async () => {
  const server = await startRedis({ tls: tls(), password: PASSWORD });
  try {
    await forbid(server, 'config', 'acl', 'client|tracking');
    const readings = await isReadAndWoken(
      { scaler: 'redis', listName: 'q', address: `rediss://localhost:${server.port}` },
      { ca, password: PASSWORD },
      () => server.call('RPUSH', 'q', 'job'),
    );
    expect(readings.at(-1)).toHaveProperty('notes');
  } finally {
    await server.close();
  }
});

it('a Redis Cluster behind one name, over TLS with one password and without CONFIG, is read on every node', async () => {
  // Its servers are each other's clients.
  const member = certificates.issue('member', 'localhost', `${LOCALHOST_EXTENSIONS.trim()},clientAuth\n`);
  const cluster = await startRedisCluster({
    tls: { ...member, ca: certificates.ca },
    password: PASSWORD,
    config: { 'cluster-announce-hostname': 'localhost' },
  });
  try {
    for (const node of cluster.nodes) await forbid(node, 'config', 'acl', 'debug', 'shutdown');
    const [first] = cluster.nodes;
    if (first === undefined) throw new Error('the cluster has no node');
    // Each in another third of the slots.
    for (const key of ['b', 'c', 'd']) {
      const owner = await cluster.ownerOf(slotOf(key));
      await isReadAndWoken(
        { scaler: 'redis-cluster', listName: key, addresses: `localhost:${first.port}`, tls: 'enable' },
        { ca, password: PASSWORD },
        () => owner.call('RPUSH', key, 'job'),
      );
    }
  } finally {
    await cluster.close();
  }
});

it('a RabbitMQ over TLS whose user sees its own vhost only is read, and wakes', async () => {
  const node = await startRabbit({ tls: { ...certificates.server, ca: certificates.ca } });
  try {
    await node.api('PUT', '/vhosts/tenant', {});
    await node.api('PUT', '/users/tenant', { password: PASSWORD, tags: 'management' });
    await node.api('PUT', '/permissions/tenant/tenant', { configure: '.*', write: '.*', read: '.*' });
    const connection = await connect(node.amqpUrl('tenant'));
    const channel = await connection.createConfirmChannel();
    await channel.assertQueue('q', { durable: true });
    const host = `amqps://localhost:${node.amqpsPort}/tenant`;
    await isReadAndWoken(
      { scaler: 'rabbitmq', queueName: 'q', host, management: `https://localhost:${node.httpsPort}` },
      { ca, username: 'tenant', password: PASSWORD },
      async () => {
        channel.sendToQueue('q', Buffer.from('job'), { persistent: true });
        await channel.waitForConfirms();
      },
    );
    await connection.close();
  } finally {
    await node.close();
  }
});
