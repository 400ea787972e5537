/**
 * What scaling on many queues of one RabbitMQ broker costs all together: CPU of the scaler and of the broker a minute, with KEDA's polls, the
 * HPA's questions and a stream for each trigger, against a scaler that asks the broker for each trigger as KEDA's own does. The caller is
 * a process of its own. All queues have a message, so that all triggers are active.
 */
import { spawn } from 'node:child_process';
import { connect, createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectAmqp } from 'amqplib';
import { bundle } from '../test/bed/bundle.ts';
import { cpuMsOf } from '../test/bed/process.ts';
import { startRabbit, type RabbitNode } from '../test/bed/rabbitmq.ts';
import { startKedaProcess } from './callers/kedaProcess.ts';
import { startProcess } from './grpc.ts';
import { quantile, type Benchmark, type Report } from './report.ts';

const SIZES = [100, 1_000];
const POLLS_MS = [5_000, 30_000];
const HPA_MS = 15_000;
/** The compiler's turn, which takes long at so few calls, and the time in which the scaler learns how often it is asked. */
const WARM_UP_MS = 45_000;
const SETTLE_MS = 5_000;
/** Two of the HPA's turns. */
const MEASURED_MS = 30_000;
const BASELINE_MS = 15_000;
const IDLE_MS = 8_000;
/** CPU of the scaler, in s a minute, at polls of 5 s. */
const CPU_GOALS: Readonly<Record<number, number>> = { 100: 2, 1_000: 8 };
const WAIT_GOAL_MS = 5;

const bench: Benchmark = async (report) => {
  const main = await bundle();
  const rabbit = await startRabbit();
  const counted = await startCounter(rabbit.managementPort);
  try {
    let declared = 0;
    for (const size of SIZES) {
      await grpcAlone(report, size);
      await declare(rabbit, declared, size);
      declared = size;
      await measure(report, main, rabbit, counted, size);
    }
    report.note(
      `CPU in s a minute, over windows of ${MEASURED_MS / 1000} s after ${WARM_UP_MS / 1000} s for warming up; the broker's idle CPU is taken off. ` +
        'All queues are classic and hold one message. Waits are the caller’s, with gRPC and the way there and back.',
    );
  } finally {
    await counted.close();
    await rabbit.close();
  }
};
export default bench;

/** What nobody can save: the same calls and streams, answered by constants. */
async function grpcAlone(report: Report, size: number): Promise<void> {
  const pollMs = POLLS_MS[0] ?? 0;
  const server = await startProcess(['--import', 'tsx', join(import.meta.dirname, 'servers/empty.ts')]);
  const keda = await startKedaProcess(server.grpc, triggersOf(size, {}));
  try {
    await keda.run(WARM_UP_MS, pollMs);
    const before = cpuMsOf(server.pid);
    const { seconds } = await keda.run(BASELINE_MS, pollMs);
    const cost = perMinute(cpuMsOf(server.pid) - before, seconds) / 1000;
    report.figure(`${size} triggers, polls of ${pollMs / 1000} s: grpc-js alone, with empty handlers`, cost, 's/min');
  } finally {
    keda.close();
    await server.stop();
  }
}

async function measure(report: Report, main: string, rabbit: RabbitNode, counted: Counter, size: number): Promise<void> {
  const idlePerMs = await idleCpu(rabbit);
  const brokerCpu = async <T>(work: () => Promise<T>): Promise<{ readonly result: T; readonly brokerS: number }> => {
    const [cpu, at] = [rabbit.cpuMs(), performance.now()];
    const result = await work();
    const ms = performance.now() - at;
    return { result, brokerS: perMinute(rabbit.cpuMs() - cpu - idlePerMs * ms, ms / 1000) / 1000 };
  };

  const scaler = await startProcess([main, 'serve']);
  const management = `http://127.0.0.1:${counted.port}`;
  const keda = await startKedaProcess(scaler.grpc, triggersOf(size, { host: rabbit.amqpUrl(), management }));
  try {
    for (const [index, pollMs] of POLLS_MS.entries()) {
      await keda.run(index === 0 ? WARM_UP_MS : SETTLE_MS, pollMs);
      counted.reset();
      const cpu = cpuMsOf(scaler.pid);
      const { result, brokerS } = await brokerCpu(() => keda.run(MEASURED_MS, pollMs));
      const { seconds, metricsLatencies: waits, latencies, failed, pushed } = result;
      const of = `${size} triggers, polls of ${pollMs / 1000} s`;
      const cpuS = perMinute(cpuMsOf(scaler.pid) - cpu, seconds) / 1000;
      report.figure(`${of}: CPU of the scaler`, cpuS, 's/min', index === 0 ? CPU_GOALS[size] : undefined);
      report.figure('… CPU of the broker', brokerS, 's/min');
      report.figure('… calls', perMinute(latencies.length, seconds), '/min');
      report.figure('… calls that failed', failed, '', 0);
      report.figure('… requests to the management API', perMinute(counted.requests(), seconds), '/min');
      report.figure('… bytes of its answers', perMinute(counted.bytes(), seconds) / 1e6, 'MB/min');
      report.figure('… GetMetrics’ wait: mean', waits.reduce((sum, ms) => sum + ms, 0) / waits.length, 'ms');
      report.figure('… p99', quantile(waits, 0.99), 'ms');
      report.figure('… p99.9', quantile(waits, 0.999), 'ms', WAIT_GOAL_MS);
      report.figure('… longest', quantile(waits, 1), 'ms');
      report.figure('… `true` on streams', perMinute(pushed, seconds), '/min');
    }
  } finally {
    keda.close();
    await scaler.stop();
  }

  for (const pollMs of POLLS_MS) {
    const args = [rabbit.managementPort, size, pollMs, HPA_MS].map(String);
    const asker = spawn(process.execPath, ['--import', 'tsx', join(import.meta.dirname, 'servers/perTrigger.ts'), ...args], {
      stdio: 'inherit',
    });
    try {
      await sleep(SETTLE_MS);
      const cpu = cpuMsOf(asker.pid ?? 0);
      const { brokerS } = await brokerCpu(() => sleep(BASELINE_MS));
      if (asker.exitCode !== null) throw new Error('the scaler that asks for each trigger has ended');
      const cpuS = perMinute(cpuMsOf(asker.pid ?? 0) - cpu, BASELINE_MS / 1000) / 1000;
      report.figure(`${size} triggers, polls of ${pollMs / 1000} s: CPU of a scaler that asks for each`, cpuS, 's/min');
      report.figure('… CPU of the broker', brokerS, 's/min');
    } finally {
      asker.kill();
    }
  }
}

function triggersOf(size: number, metadata: Readonly<Record<string, string>>) {
  return Array.from({ length: size }, (_, index) => ({
    name: `worker-${index}`,
    metadata: { scaler: 'rabbitmq', queueName: `cost-${index}`, mode: 'QueueLength', value: '20', ...metadata },
  }));
}

async function declare(rabbit: RabbitNode, from: number, to: number): Promise<void> {
  const connection = await connectAmqp(rabbit.amqpUrl(), { noDelay: true });
  const channel = await connection.createConfirmChannel();
  for (let index = from; index < to; index++) {
    await channel.assertQueue(`cost-${index}`, { durable: true });
    channel.sendToQueue(`cost-${index}`, Buffer.from('work'));
  }
  await channel.waitForConfirms();
  await connection.close();
  // The broker's statistics settle.
  await sleep(SETTLE_MS);
}

/** CPU of the idle broker in ms per ms. */
async function idleCpu(rabbit: RabbitNode): Promise<number> {
  const [cpu, at] = [rabbit.cpuMs(), performance.now()];
  await sleep(IDLE_MS);
  return (rabbit.cpuMs() - cpu) / (performance.now() - at);
}

function perMinute(amount: number, seconds: number): number {
  return (amount * 60) / seconds;
}

interface Counter {
  readonly port: number;
  requests(): number;
  bytes(): number;
  reset(): void;
  close(): Promise<void>;
}

/** Stands before the management API and counts. */
async function startCounter(toPort: number): Promise<Counter> {
  let requests = 0;
  let bytes = 0;
  const server = createServer((near) => {
    const far = connect({ host: '127.0.0.1', port: toPort });
    near.on('data', (chunk) => (requests += chunk.toString('latin1').split('GET /api/').length - 1));
    far.on('data', (chunk) => (bytes += chunk.length));
    for (const socket of [near, far]) socket.on('error', () => undefined);
    near.on('close', () => far.destroy());
    far.on('close', () => near.destroy());
    near.pipe(far).pipe(near);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    requests: () => requests,
    bytes: () => bytes,
    reset: () => {
      requests = bytes = 0;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
      }),
  };
}
