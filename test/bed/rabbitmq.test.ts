import { connect } from 'amqplib';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { afterAll, describe, expect, test } from 'vitest';
import { makeCertificates } from './certificates.ts';
import { processExists } from './process.ts';
import { startRabbit, type RabbitNode } from './rabbitmq.ts';
import { until } from './until.ts';

/** Opens a connection, does one thing on a channel, and closes it. */
async function onChannel<T>(
  node: RabbitNode,
  act: (channel: Awaited<ReturnType<Awaited<ReturnType<typeof connect>>['createConfirmChannel']>>) => Promise<T>,
): Promise<T> {
  const connection = await connect(node.amqpUrl(), { noDelay: true });
  try {
    return await act(await connection.createConfirmChannel());
  } finally {
    await connection.close();
  }
}

/** The folder that holds all of the node's files, as its process sees it. */
function homeOf(node: RabbitNode): string {
  const environment = readFileSync(`/proc/${node.pid}/environ`, 'utf8').split('\0');
  return environment.find((line) => line.startsWith('HOME='))?.slice('HOME='.length) ?? '';
}

describe('a private RabbitMQ', () => {
  const certificates = mkdtempSync(join(tmpdir(), 'queue-scaler-certificates-'));
  const made = makeCertificates(certificates);
  const nodes: RabbitNode[] = [];
  const bothStarted = Promise.all([
    startRabbit({ tls: { ca: made.ca, cert: made.server.cert, key: made.server.key } }),
    startRabbit(),
  ]).then(([first, second]) => {
    nodes.push(first, second);
    return { first, second };
  });

  afterAll(async () => {
    await Promise.all(nodes.map((node) => node.close()));
    rmSync(certificates, { recursive: true });
  });

  test('runs beside another one, each with queues of its own', async () => {
    const { first, second } = await bothStarted;
    await onChannel(first, (channel) => channel.assertQueue('mine'));
    expect(await first.api('GET', '/queues?disable_stats=true')).toHaveLength(1);
    expect(await second.api('GET', '/queues?disable_stats=true')).toHaveLength(0);
  }, 60_000);

  test('keeps a durable message over a kill, on the same ports', async () => {
    const { first } = await bothStarted;
    await onChannel(first, async (channel) => {
      await channel.assertQueue('durable');
      channel.sendToQueue('durable', Buffer.from('kept'), { persistent: true });
      await channel.waitForConfirms();
    });
    const before = { pid: first.pid, port: first.amqpPort };
    await first.flush();
    await first.kill();
    expect(processExists(before.pid)).toBe(false);
    await expect(connect(first.amqpUrl())).rejects.toThrow('ECONNREFUSED');

    await first.start();

    expect(first.pid).not.toBe(before.pid);
    expect(first.amqpPort).toBe(before.port);
    const message = await onChannel(first, (channel) => channel.get('durable'));
    expect(message && message.content.toString()).toBe('kept');
  }, 60_000);

  test('answers nothing while paused, and everything when resumed', async () => {
    const { second } = await bothStarted;
    second.pause();
    let answered = false;
    const answer = second.api('GET', '/overview?columns=node').then((overview) => {
      answered = true;
      return overview;
    });
    // The kernel takes the connection, the paused node never reads from it.
    await until('the node is stopped', () => readFileSync(`/proc/${second.pid}/stat`, 'utf8').includes(') T '));
    expect(answered).toBe(false);
    second.resume();
    expect(await answer).toEqual({ node: 'r1@localhost' });
  }, 60_000);

  test('speaks TLS with the certificates it was given', async () => {
    const { first } = await bothStarted;
    for (const port of [first.amqpsPort, first.httpsPort]) {
      const socket = connectTls({ host: '127.0.0.1', port, ca: readFileSync(made.ca) });
      await until('the TLS session is authorized', () => socket.authorized);
      socket.destroy();
    }
  }, 60_000);

  test('spends CPU time that can be told', async () => {
    const { second } = await bothStarted;
    const before = second.cpuMs();
    await second.api('GET', '/overview');
    expect(before).toBeGreaterThan(100);
    expect(second.cpuMs()).toBeGreaterThan(before);
  }, 60_000);

  test('shuts down in good order', async () => {
    const { first } = await bothStarted;
    const { pid } = first;
    await first.stop();
    expect(processExists(pid)).toBe(false);
    expect(first.running()).toBe(false);
  }, 60_000);

  test('leaves no process and no folder when closed, even paused, and may be closed twice', async () => {
    const { second } = await bothStarted;
    const home = homeOf(second);
    const epmd = Number(readFileSync(join(home, 'epmd.pid'), 'utf8'));
    expect(existsSync(home) && processExists(epmd)).toBe(true);
    second.pause();

    await second.close();
    await second.close();

    expect(processExists(second.pid)).toBe(false);
    expect(processExists(epmd)).toBe(false);
    expect(existsSync(home)).toBe(false);
    expect(existsSync(dirname(home))).toBe(true);
  }, 60_000);
});
