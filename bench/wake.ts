/**
 * How soon, and how surely, a trigger is woken whose queue was drained and is filled again: by AMQP, by Redis and by HTTP alone, with
 * KEDA's polls between and without any, against the polls of the same run. A fill that is not told is a defect, however rare.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'amqplib';
import { Redis } from 'ioredis';
import { bundle } from '../test/bed/bundle.ts';
import { startRabbit } from '../test/bed/rabbitmq.ts';
import { startRedis } from '../test/bed/redis.ts';
import { listBacklog, queueBacklog, refill, type Backlog } from '../test/bed/refills.ts';
import { startScalerProcess } from '../test/bed/scaler.ts';
import { createKedaClient, type KedaTrigger } from '../test/keda/client.ts';
import { median, quantile, type Benchmark, type Report } from './report.ts';

const QUEUES = 10;
const FILLS = 20;
/** From the moment when a queue is empty to its next message. */
const PAUSE_MS = { least: 1_000, most: 20_000 };
const POLL_MS = 5_000;
/** A fill that is told later counts as not told. */
const LOST_MS = 20_000;
const LATE_MS = 200;

interface Group {
  readonly name: string;
  readonly polled: boolean;
  readonly backlog: (index: number) => Promise<Backlog>;
  readonly metadata: (index: number) => Readonly<Record<string, string>>;
  /** Largest figures in ms, beside which no fill may be lost; without them nothing is aimed at. */
  readonly goals?: { readonly p50: number; readonly p99: number; readonly most: number };
}

const GOALS = { p50: 15, p99: 60, most: LATE_MS };
const HTTP_GOALS = { p50: 1_000, p99: 1_000, most: 2_000 };

const bench: Benchmark = async (report) => {
  const main = await bundle();
  const [rabbit, redis] = await Promise.all([startRabbit(), startRedis()]);
  const connection = await connect(rabbit.amqpUrl(), { noDelay: true });
  const client = new Redis(redis.url, { protocol: 2 });
  const queues = (
    prefix: string,
    type: string,
    reach: Readonly<Record<string, string>>,
  ): Pick<Group, 'backlog' | 'metadata'> => ({
    backlog: (index) => queueBacklog(connection, `${prefix}-${index}`, type),
    metadata: (index) => ({ scaler: 'rabbitmq', queueName: `${prefix}-${index}`, ...reach }),
  });
  const lists = (prefix: string): Pick<Group, 'backlog' | 'metadata'> => ({
    backlog: (index) => Promise.resolve(listBacklog(client, `${prefix}-${index}`)),
    metadata: (index) => ({ scaler: 'redis', address: `127.0.0.1:${redis.port}`, listName: `${prefix}-${index}` }),
  });
  const http = { host: `http://${rabbit.user}:${rabbit.password}@127.0.0.1:${rabbit.managementPort}/` };
  const amqp = { host: rabbit.amqpUrl(), management: `http://127.0.0.1:${rabbit.managementPort}` };
  const groups: readonly Group[] = [
    { name: 'AMQP, polled', polled: true, goals: GOALS, ...queues('polled', 'classic', amqp) },
    { name: 'AMQP, not polled', polled: false, goals: GOALS, ...queues('left', 'classic', amqp) },
    { name: 'AMQP, quorum queues, not polled', polled: false, goals: GOALS, ...queues('quorum', 'quorum', amqp) },
    { name: 'Redis, polled', polled: true, goals: GOALS, ...lists('polled') },
    { name: 'Redis, not polled', polled: false, goals: GOALS, ...lists('left') },
    { name: 'HTTP alone, not polled', polled: false, goals: HTTP_GOALS, ...queues('http', 'classic', http) },
    { name: 'HTTP alone, quorum queues, polled', polled: true, ...queues('http-quorum', 'quorum', http) },
  ];
  try {
    for (const result of await Promise.all(groups.map((group) => run(main, group)))) tell(report, result);
    report.note(
      `Each of ${QUEUES} queues filled ${FILLS} times, ${PAUSE_MS.least / 1000} to ${PAUSE_MS.most / 1000} s after a worker had taken ` +
        `all there was; from before the publish to the \`true\` at the gRPC client. All groups at once, each with a scaler of its own.`,
    );
  } finally {
    client.disconnect();
    await connection.close();
    await Promise.all([rabbit.close(), redis.close()]);
  }
};
export default bench;

interface Result {
  readonly group: Group;
  /** From publish to `true`, in ms; Infinity for a fill that was not told. */
  readonly times: readonly number[];
  /** From publish to the next poll, in ms: what a trigger waits that is polled alone. */
  readonly pollTimes: readonly number[];
}

async function run(main: string, group: Group): Promise<Result> {
  const scaler = await startScalerProcess([], {}, main);
  const keda = createKedaClient(scaler.grpc);
  const times: number[] = [];
  const pollTimes: number[] = [];
  const follow = async (index: number): Promise<void> => {
    const backlog = await group.backlog(index);
    const trigger = keda.trigger({ type: 'external-push', name: `worker-${index}`, metadata: group.metadata(index) });
    const push = trigger.push();
    const poller = group.polled ? startPolls(trigger) : undefined;
    const filled: number[] = [];
    await push.next(false, 60_000);
    for (const pauseMs of pauses()) {
      await sleep(pauseMs);
      const { filledAt, toldMs } = await refill(backlog, push, LOST_MS);
      times.push(toldMs);
      filled.push(filledAt);
      if (group.goals === undefined || toldMs <= group.goals.most) continue;
      process.stderr.write(`${group.name}: ${toldMs.toFixed(0)} ms, filled ${pauseMs.toFixed(0)} ms after the drain\n`);
    }
    poller?.stop();
    push.close();
    for (const at of filled) {
      const poll = poller?.begun.find((each) => each >= at);
      if (poll !== undefined) pollTimes.push(poll - at);
    }
  };
  try {
    await Promise.all(Array.from({ length: QUEUES }, (_, index) => follow(index)));
  } finally {
    keda.close();
    await scaler.close();
  }
  return { group, times, pollTimes };
}

/** One of each part of the range, in random order: all queues take equally long, and short ones are there for certain. */
function pauses(): number[] {
  const part = (PAUSE_MS.most - PAUSE_MS.least) / FILLS;
  return Array.from({ length: FILLS }, (_, index) => PAUSE_MS.least + (index + Math.random()) * part)
    .map((pauseMs) => ({ pauseMs, order: Math.random() }))
    .sort((left, right) => left.order - right.order)
    .map(({ pauseMs }) => pauseMs);
}

/** Polls as KEDA does, from a random time on. */
function startPolls(trigger: KedaTrigger) {
  const begun: number[] = [];
  let stopped = false;
  const loop = async (): Promise<void> => {
    await sleep(Math.random() * POLL_MS);
    while (!stopped) {
      begun.push(performance.now());
      await trigger.poll().catch(() => undefined);
      await sleep(POLL_MS);
    }
  };
  void loop();
  return {
    begun,
    stop: () => {
      stopped = true;
    },
  };
}

function tell(report: Report, { group, times, pollTimes }: Result): void {
  const { name, goals } = group;
  const told = times.filter(Number.isFinite);
  report.figure(`${name}: fills that were not told, of ${times.length}`, times.length - told.length, '', goals && 0);
  report.figure(`${name}: p50`, quantile(told, 0.5), 'ms', goals?.p50);
  report.figure(`${name}: p99`, quantile(told, 0.99), 'ms', goals?.p99);
  report.figure(`${name}: longest`, Math.max(...told), 'ms', goals?.most);
  if (pollTimes.length > 0) report.figure(`${name}: to the next poll, p50`, median(pollTimes), 'ms');
}
