/**
 * What one full round of KEDA's questions for many triggers costs one RabbitMQ, against a naive scaler that makes a management
 * request on a fresh connection for each: the broker's CPU time and connections, both in the same run.
 */
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'amqplib';
import { startRabbit, type RabbitNode } from '../test/bed/rabbitmq.ts';
import { startScaler } from '../test/bed/scaler.ts';
import { median, type Benchmark, type Report } from './report.ts';

const QUEUES = 1000;
const ROUNDS = 5;
const GOAL = 1 / 10;
const MAX_CONNECTIONS = 4;
/** Long enough for the broker's own statistics to settle and for an average of its idle CPU. */
const IDLE_MS = 10_000;
const NAIVE_IN_FLIGHT = 16;

/** How a trigger may reach the broker. On its usual port the management API is found without being named. */
const WAYS = {
  'with the management API': ({ managementPort }: RabbitNode) => ({ management: `http://127.0.0.1:${managementPort}` }),
  'by AMQP alone': () => ({ management: 'off' }),
};

const bench: Benchmark = async (report) => {
  const rabbit = await startRabbit();
  try {
    await declareQueues(rabbit);
    await sleep(IDLE_MS);
    const idlePerMs = await idleCpu(rabbit);
    for (const [way, keys] of Object.entries(WAYS)) await measure(report, rabbit, idlePerMs, way, keys(rabbit));
    report.note(
      `${QUEUES} classic queues of one message, ${ROUNDS} rounds of each in turn, medians. The broker's idle CPU of ` +
        `${(idlePerMs * 1000).toFixed(0)} ms/s is taken off both figures.`,
    );
  } finally {
    await rabbit.close();
  }
};

async function measure(
  report: Report,
  rabbit: RabbitNode,
  idlePerMs: number,
  way: string,
  keys: Readonly<Record<string, string>>,
): Promise<void> {
  const scaler = await startScaler();
  try {
    const triggers = Array.from({ length: QUEUES }, (_, index) =>
      scaler.client.trigger({
        name: `worker-${index}`,
        metadata: {
          scaler: 'rabbitmq',
          host: rabbit.amqpUrl(),
          ...keys,
          queueName: queueName(index),
          mode: 'QueueLength',
          value: '20',
        },
      }),
    );
    const round = async (): Promise<void> => {
      const polls = await Promise.all(triggers.map((trigger) => trigger.poll()));
      const wrong = polls.filter(({ metrics, active }) => metrics[0]?.value !== 1 || !active).length;
      if (wrong > 0) throw new Error(`${wrong} of ${QUEUES} triggers were not told as 1 message and active`);
    };

    const first = await cpuOf(rabbit, idlePerMs, round);
    report.figure(`connections after a round of ${QUEUES} triggers, ${way}`, connections(rabbit), '', MAX_CONNECTIONS);
    const ours: number[] = [];
    const theirs: number[] = [];
    for (let turn = 0; turn < ROUNDS; turn++) {
      // Older than a reading that would answer again.
      await sleep(2_000);
      ours.push(await cpuOf(rabbit, idlePerMs, round));
      theirs.push(await cpuOf(rabbit, idlePerMs, () => naiveRound(rabbit)));
    }
    report.ratio(`broker CPU of a full round, ${way}`, median(ours), median(theirs), 'ms', GOAL);
    report.ratio(`the very first round, connecting included, ${way}`, first, median(theirs), 'ms');
  } finally {
    await scaler.close();
  }
}
export default bench;

function queueName(index: number): string {
  return `round-${index}`;
}

async function declareQueues(rabbit: RabbitNode): Promise<void> {
  const connection = await connect(rabbit.amqpUrl(), { noDelay: true });
  const channel = await connection.createConfirmChannel();
  for (let index = 0; index < QUEUES; index++) {
    await channel.assertQueue(queueName(index), { durable: true });
    channel.sendToQueue(queueName(index), Buffer.from('work'));
  }
  await channel.waitForConfirms();
  await connection.close();
}

/** CPU of the idle broker in ms per ms. */
async function idleCpu(rabbit: RabbitNode): Promise<number> {
  const [cpu, at] = [rabbit.cpuMs(), performance.now()];
  await sleep(IDLE_MS);
  return (rabbit.cpuMs() - cpu) / (performance.now() - at);
}

async function cpuOf(rabbit: RabbitNode, idlePerMs: number, work: () => Promise<void>): Promise<number> {
  const [cpu, at] = [rabbit.cpuMs(), performance.now()];
  await work();
  return rabbit.cpuMs() - cpu - idlePerMs * (performance.now() - at);
}

/** TCP connections that the kernel has established to the broker's ports, of whatever protocol. */
function connections({ amqpPort, managementPort, prometheusPort }: RabbitNode): number {
  const ports = new Set([amqpPort, managementPort, prometheusPort]);
  const ESTABLISHED = '01';
  return readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , remote, state]) => state === ESTABLISHED && ports.has(Number.parseInt(remote?.split(':')[1] ?? '', 16))).length;
}

/** One management GET a queue, each on a connection of its own, as a scaler without an agent does. */
async function naiveRound(rabbit: RabbitNode): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < QUEUES) await naiveGet(rabbit, queueName(next++));
  };
  await Promise.all(Array.from({ length: NAIVE_IN_FLIGHT }, worker));
}

function naiveGet({ host, managementPort, user, password }: RabbitNode, queue: string): Promise<void> {
  return new Promise((resolve, reject) => {
    request(
      { host, port: managementPort, path: `/api/queues/%2F/${queue}`, auth: `${user}:${password}`, agent: false },
      (response) => {
        response.resume().on('end', resolve);
      },
    )
      .on('error', reject)
      .end();
  });
}
