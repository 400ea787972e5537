/**
 * What 1000 and 5000 RabbitMQ triggers cost their broker, and how soon a sleeping one is woken: against a scaler that makes a
 * management request, or an AMQP connection, for each trigger, in the same run.
 */
import { setMaxListeners } from 'node:events';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type ConfirmChannel } from 'amqplib';
import { noCredentialSource } from '../src/auth/credentials.ts';
import { noEvents } from '../src/scalers/brokerEvents.ts';
import { createBrokerPool } from '../src/scalers/brokerPool.ts';
import { createTriggers } from '../src/scalers/triggers.ts';
import { bundle } from '../test/bed/bundle.ts';
import { startRabbit, type RabbitNode } from '../test/bed/rabbitmq.ts';
import { startScalerProcess } from '../test/bed/scaler.ts';
import { until } from '../test/bed/until.ts';
import { createKedaClient, type PushStream } from '../test/keda/client.ts';
import { median, quantile, type Benchmark, type Report } from './report.ts';

const SMALL = 1000;
const LARGE = 5000;
/** Of five rounds the medians of two whole runs differed by up to a fifth. */
const ROUNDS = 9;
const IN_FLIGHT = 16;
/** Long enough for the broker’s statistics to settle, and for what it does with 2 s of CPU some 15 s after thousands of declares. */
const SETTLE_MS = 25_000;
/** The broker tells its own statistics so often. */
const PERIOD_MS = 5_000;
/** A burst that is due may begin so much sooner or later. */
const DRIFT_MS = 500;
/** A run that lasts longer meets the broker's own work in any case. */
const CALM_MS = 2_000;
const BUSY_SHARE = 0.1;
const POLL_MS = 50;
const IDLE_MS = 10_000;
/** So long that the broker's own bursts come as often as while it idles. */
const ASLEEP_MS = 30_000;
/** Triggers that are read under one deadline. */
const SHARING = 100;
const ROUND_DEADLINE_MS = 20_000;
const FEW = 10;
/** So many that the p99 is not the slowest. */
const FEW_ROUNDS = 20;
const MANY_WAKES = 200;

const bench: Benchmark = async (report) => {
  const main = await bundle();
  const node = await startRabbit();
  const connection = await connect(node.amqpUrl(), { noDelay: true });
  try {
    const channel = await connection.createConfirmChannel();
    for (let index = 0; index < FEW; index++) await channel.assertQueue(queueName(index), { durable: true });
    await sleep(SETTLE_MS);
    await wakesOfFew(main, node, channel, report);
    await sweeps(node, channel, report);
    for (let index = 0; index < SMALL; index++) await channel.purgeQueue(queueName(index));
    await sleep(SETTLE_MS);
    await wakesOfMany(main, node, channel, report);
  } finally {
    await connection.close();
    await node.close();
  }
};
export default bench;

const queueName = (index: number): string => `queue-${index}`;

/** Declares the queues from the one index to before the other, with one message each. */
async function fill(channel: ConfirmChannel, from: number, to: number): Promise<void> {
  for (let index = from; index < to; index++) {
    await channel.assertQueue(queueName(index), { durable: true });
    channel.sendToQueue(queueName(index), Buffer.from('work'));
  }
  await channel.waitForConfirms();
  await sleep(SETTLE_MS);
}

async function sweeps(node: RabbitNode, channel: ConfirmChannel, report: Report): Promise<void> {
  await fill(channel, 0, SMALL);
  const baselines = [() => each(SMALL, (index) => get(node, index)), () => each(SMALL, (index) => declare(node, index))];
  const [plugin = NaN, totals = NaN, gets = NaN, declares = NaN] = await costsOf(node, SMALL, baselines, report);
  report.ratio('1000 queues with the Prometheus plugin, against 1000 management GETs', plugin, gets, 'ms CPU', 1 / 50);
  report.ratio('… against 1000 AMQP connect + declare + close', plugin, declares, 'ms CPU', 1 / 200);
  report.ratio('1000 queues without it, against 1000 management GETs', totals, gets, 'ms CPU', 1 / 10);
  report.ratio('… against 1000 AMQP connect + declare + close', totals, declares, 'ms CPU', 1 / 40);

  await fill(channel, SMALL, LARGE);
  const [largePlugin = NaN, largeTotals = NaN] = await costsOf(node, LARGE, [], report);
  // Their statistics would be told each 5 s, and disturb what is timed next.
  for (let index = SMALL; index < LARGE; index++) await channel.deleteQueue(queueName(index));
  report.ratio('5000 queues against 1000, with the plugin', largePlugin, plugin, 'ms CPU', 6);
  report.ratio('5000 queues against 1000, without it', largeTotals, totals, 'ms CPU', 6);
  report.note(
    `Classic queues of one message, all queues of the broker; medians of ${ROUNDS} rounds of each in turn, begun when the broker ` +
      `is to do no work of its own for longest; its idle CPU is taken off what lasts longer than ${CALM_MS / 1000} s.`,
  );
}

/** CPU of the broker in ms: of a sweep with the plugin, one without it, and of each baseline. */
async function costsOf(
  node: RabbitNode,
  queues: number,
  baselines: readonly (() => Promise<void>)[],
  report: Report,
): Promise<number[]> {
  const idle = await cpuPerMs(node, IDLE_MS);
  const rounds = [createRound(node, queues, {}), createRound(node, queues, { prometheus: 'off' })];
  const runs = [...rounds.map((round) => () => round.run()), ...baselines];
  const costs: number[][] = runs.map(() => []);
  try {
    // The first round connects, and on a busy machine takes longer than an answer may.
    for (const round of rounds) await until('a first round', () => round.run().then(() => true), { deadlineMs: 60_000 });
    report.figure(`connections of ${queues} triggers`, connectionsOf(node) / rounds.length, '', 4);
    for (let turn = 0; turn < ROUNDS; turn++) {
      for (const [index, run] of runs.entries()) {
        // The waits of a turn are longer together than any list answers again.
        await longestCalm(node);
        costs[index]?.push(await cpuOf(node, idle, run));
      }
    }
  } finally {
    await Promise.all(rounds.map(({ close }) => close()));
  }
  return costs.map(median);
}

/** Reads the triggers of so many queues once, over a reading cache that lives through all rounds. */
function createRound(node: RabbitNode, queues: number, more: Readonly<Record<string, string>>) {
  const brokers = createBrokerPool(noEvents);
  const triggers = createTriggers(noCredentialSource, brokers);
  const all = Array.from({ length: queues }, (_, index) =>
    triggers.find({ namespace: 'bench', name: `worker-${index}`, metadata: metadataOf(node, index, more) }),
  );
  return {
    async run() {
      // Signals for many each: thousands would be collected, on both cores, while the broker works, and listeners are sought one by one.
      let deadline = AbortSignal.timeout(ROUND_DEADLINE_MS);
      const reads = all.map((trigger, index) => {
        if (index % SHARING === 0) setMaxListeners(SHARING, (deadline = AbortSignal.timeout(ROUND_DEADLINE_MS)));
        return trigger.read(deadline);
      });
      const samples = await Promise.all(reads);
      const wrong = samples.filter(({ decision }) => decision.value !== 1).length;
      if (wrong > 0) throw new Error(`${wrong} of ${queues} were not read as one message`);
    },
    close: () => brokers.close(),
  };
}

function metadataOf(node: RabbitNode, index: number, more: Readonly<Record<string, string>> = {}): Record<string, string> {
  const management = `http://127.0.0.1:${node.managementPort}`;
  return { scaler: 'rabbitmq', host: node.amqpUrl(), management, queueName: queueName(index), ...more };
}

async function wakesOfFew(main: string, node: RabbitNode, channel: ConfirmChannel, report: Report): Promise<void> {
  const bed = await startPushes(main, node, FEW);
  const times: number[] = [];
  try {
    for (let turn = 0; turn < FEW_ROUNDS; turn++) {
      for (const [index, push] of bed.pushes.entries()) times.push(await wake(channel, index, push));
      for (const [index] of bed.pushes.entries()) await channel.purgeQueue(queueName(index));
      await Promise.all(bed.pushes.map((push) => push.next(false, 20_000)));
    }
  } finally {
    await bed.close();
  }
  report.figure(`wake, ${FEW} sleeping queues, publish to true: p50 of ${times.length}`, quantile(times, 0.5), 'ms', 15);
  report.figure('… p99', quantile(times, 0.99), 'ms', 30);
}

async function wakesOfMany(main: string, node: RabbitNode, channel: ConfirmChannel, report: Report): Promise<void> {
  const idle = await cpuPerMs(node, ASLEEP_MS);
  const bed = await startPushes(main, node, SMALL);
  const times: number[] = [];
  let share = NaN;
  try {
    share = (await cpuPerMs(node, ASLEEP_MS)) - idle;
    for (const [index, push] of bed.pushes.slice(0, MANY_WAKES).entries()) times.push(await wake(channel, index, push));
  } finally {
    await bed.close();
  }
  report.figure(`wake, ${SMALL} sleeping queues, publish to true: p50 of ${times.length}`, quantile(times, 0.5), 'ms');
  report.figure('… p99', quantile(times, 0.99), 'ms', 1_500);
  report.figure('broker CPU while they sleep, share of a core', share * 100, '%', 9);
}

/** A scaler as its own process with a stream for each of the first queues, all told that they are inactive. */
async function startPushes(
  main: string,
  node: RabbitNode,
  count: number,
): Promise<{ readonly pushes: readonly PushStream[]; close(): Promise<void> }> {
  const scaler = await startScalerProcess([], {}, main);
  const client = createKedaClient(scaler.grpc);
  const pushes = Array.from({ length: count }, (_, index) =>
    client.trigger({ type: 'external-push', name: `worker-${index}`, metadata: metadataOf(node, index) }).push(),
  );
  await Promise.all(pushes.map((push) => push.next(false, 60_000)));
  return {
    pushes,
    async close() {
      for (const push of pushes) push.close();
      client.close();
      await scaler.stop();
    },
  };
}

async function wake(channel: ConfirmChannel, index: number, push: PushStream): Promise<number> {
  // At no fixed phase of the scaler's own rhythm.
  await sleep(Math.random() * 50);
  const at = performance.now();
  channel.sendToQueue(queueName(index), Buffer.from('work'));
  await push.next(true);
  return performance.now() - at;
}

/** CPU of the broker over a time in which nothing else is done, in ms per ms. */
async function cpuPerMs(node: RabbitNode, overMs: number): Promise<number> {
  const [cpu, at] = [node.cpuMs(), performance.now()];
  await sleep(overMs);
  return (node.cpuMs() - cpu) / (performance.now() - at);
}

/**
 * Waits until the longest time begins in which the broker is to do no work of its own. It tells statistics in several bursts of up to
 * 250 ms of CPU with 5000 queues, more than most of what is measured, and uses next to nothing between them. Each burst is due again
 * {@link PERIOD_MS} after it has ended, so that the one before the longest calm is waited for and not reckoned.
 */
async function longestCalm(node: RabbitNode): Promise<void> {
  const startedAt = performance.now();
  let last = node.cpuMs();
  const isBusy = async (): Promise<boolean> => {
    await sleep(POLL_MS);
    const cpu = node.cpuMs();
    const busy = cpu - last > BUSY_SHARE * POLL_MS;
    last = cpu;
    return busy;
  };
  const elapsed = (): number => performance.now() - startedAt;
  // The second time over, what was seen is due again: a calm may go on from the one period into the next.
  const busy: number[] = [];
  while (elapsed() < PERIOD_MS) if (await isBusy()) busy.push(elapsed());
  let [calmFrom, begin, longest] = [0, 0, 0];
  for (const at of [...busy, ...busy.map((each) => each + PERIOD_MS)]) {
    if (at - calmFrom > longest) [begin, longest] = [calmFrom, at - calmFrom];
    calmFrom = at;
  }
  const due = (begin % PERIOD_MS) + PERIOD_MS;
  await sleep(Math.max(0, due - DRIFT_MS - elapsed()));
  last = node.cpuMs();
  let sawBurst = false;
  while (elapsed() < due + DRIFT_MS) {
    const now = await isBusy();
    if (sawBurst && !now) return;
    sawBurst = now;
  }
}

async function cpuOf(node: RabbitNode, idle: number, run: () => Promise<void>): Promise<number> {
  const [cpu, at] = [node.cpuMs(), performance.now()];
  await run();
  const ms = performance.now() - at;
  return node.cpuMs() - cpu - (ms > CALM_MS ? idle * ms : 0);
}

/** TCP connections established to the broker's ports, but for the bench's own. */
function connectionsOf({ amqpPort, managementPort, prometheusPort }: RabbitNode): number {
  const ports = new Set([amqpPort, managementPort, prometheusPort]);
  const ESTABLISHED = '01';
  const OWN = 1;
  const lines = readFileSync('/proc/net/tcp', 'utf8').split('\n').slice(1);
  const open = lines
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , remote, state]) => state === ESTABLISHED && ports.has(Number.parseInt(remote?.split(':')[1] ?? '', 16)));
  return open.length - OWN;
}

async function each(count: number, run: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) await run(next++);
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
}

/** A management request on a connection of its own. */
function get({ host, managementPort, user, password }: RabbitNode, index: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const path = `/api/queues/%2F/${queueName(index)}`;
    request({ host, port: managementPort, path, auth: `${user}:${password}`, agent: false }, (response) => {
      response.resume().on('end', resolve);
    })
      .on('error', reject)
      .end();
  });
}

/** A passive declare on a connection of its own. */
async function declare(node: RabbitNode, index: number): Promise<void> {
  const connection = await connect(node.amqpUrl());
  await (await connection.createChannel()).checkQueue(queueName(index));
  await connection.close();
}
