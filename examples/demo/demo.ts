/**
 * From messages to replicas and back on one machine: private RabbitMQ and Redis, `queue-scaler local` on the two manifests of this
 * folder, real workers. Exits 0 only if no message was lost and no worker is left.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { stringify } from 'yaml';
import { until } from '../../test/bed/until.ts';
import { openRabbitmq, openRedis, type Broker } from './brokers.ts';
import { createChart, type Sample } from './chart.ts';
import { runLocal, type LocalRun } from './localRun.ts';
import { account, readRecord } from './record.ts';
import { succeeded, summaryTable, type Summary } from './summary.ts';

/** All in all; what is not done by then is told as lost. */
const DEADLINE_MS = 85_000;
const READY_DEADLINE_MS = 30_000;
const SAMPLE_EVERY_MS = 250;
/** Kubernetes' HPA looks each 15 s, which is long in a demo of one minute. */
const HPA_SYNC_PERIOD_S = 2;

const { values: options } = parseArgs({
  options: {
    /** Messages for each broker. */
    messages: { type: 'string', default: '1000' },
    /** How long a message keeps its worker busy. */
    'work-ms': { type: 'string', default: '100' },
    /** The summary as a line of JSON at the end. */
    json: { type: 'boolean', default: false },
  },
});
const messageCount = Number(options.messages);
const workMs = Number(options['work-ms']);

async function demo(signal: AbortSignal): Promise<Summary> {
  const deadline = performance.now() + DEADLINE_MS;
  const folder = mkdtempSync(join(tmpdir(), 'queue-scaler-demo-'));
  const brokers: Broker[] = [];
  let local: LocalRun | undefined;
  try {
    say('starting a private RabbitMQ and a private Redis');
    const opened = await Promise.allSettled([openRabbitmq(), openRedis()]);
    for (const outcome of opened) {
      if (outcome.status === 'fulfilled') brokers.push(outcome.value);
    }
    for (const outcome of opened) {
      if (outcome.status === 'rejected') throw outcome.reason;
    }
    const names = brokers.map(({ name }) => name);
    const recordOf = (name: string): string => join(folder, `${name}.record`);
    for (const name of names) writeFileSync(recordOf(name), '');
    writeFileSync(join(folder, 'settings.yaml'), settingsManifest(brokers, recordOf));

    say('starting queue-scaler local');
    const latestDepth = new Map<string, number>();
    const stoppedBusy = new Map<string, number>();
    local = runLocal(
      [manifestFile('rabbitmq.yaml'), manifestFile('redis.yaml'), join(folder, 'settings.yaml')],
      names,
      ['--hpa-sync-period', `${HPA_SYNC_PERIOD_S}s`],
      (object) => {
        if ((latestDepth.get(object) ?? 0) > 0) stoppedBusy.set(object, (stoppedBusy.get(object) ?? 0) + 1);
      },
    );
    const run = local;
    await until('queue-scaler local has polled both triggers', () => run.ready() || run.ended() !== undefined, {
      deadlineMs: READY_DEADLINE_MS,
    });
    if (!run.ready()) throw new Error(`queue-scaler local did not start: ${run.ended() ?? ''}\n${run.trouble()}`);
    signal.throwIfAborted();

    say(`publishing ${messageCount} messages to each, of ${workMs} ms work`);
    const ids = Array.from({ length: messageCount }, (_, index) => String(index));
    const messages = ids.map((id) => JSON.stringify({ id, workMs }));
    const startedAt = Date.now();
    await Promise.all(brokers.map((broker) => broker.publish(messages)));

    const chart = createChart(process.stdout);
    const history = new Map(names.map((name) => [name, [] as Sample[]]));
    const isDone = (name: string): boolean => account(ids, readRecord(recordOf(name))).lost === 0;
    for (;;) {
      await Promise.all(
        brokers.map(async (broker) => {
          const depth = await broker.depth();
          latestDepth.set(broker.name, depth);
          const replicas = run.workers(broker.name).running();
          history.get(broker.name)?.push({ atS: (Date.now() - startedAt) / 1000, depth, replicas });
        }),
      );
      chart.update(history);
      if (names.every((name) => run.workers(name).running() === 0 && isDone(name))) break;
      if (run.ended() !== undefined) throw new Error(`queue-scaler local ended early: ${run.ended() ?? ''}\n${run.trouble()}`);
      if (performance.now() > deadline) {
        say(`not finished in time\n${run.trouble()}`);
        break;
      }
      await delay(SAMPLE_EVERY_MS, undefined, { signal });
    }

    const summary = Object.fromEntries(
      names.map((name) => {
        const workers = run.workers(name);
        const firstAt = workers.firstAt();
        return [
          name,
          {
            published: messageCount,
            ...account(ids, readRecord(recordOf(name))),
            peakReplicas: workers.peak(),
            finalReplicas: workers.running(),
            firstWorkerMs: firstAt === undefined ? null : firstAt - startedAt,
          },
        ];
      }),
    );
    say(`\n${summaryTable(summary, stoppedBusy)}`);
    return summary;
  } finally {
    // First the workers, so that none meets a broker that is gone.
    await local?.stop();
    await Promise.all(brokers.map((broker) => broker.close()));
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What differs from run to run: where the brokers are, and where the workers keep their records. */
function settingsManifest(brokers: readonly Broker[], recordOf: (name: string) => string): string {
  const manifests = [
    {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'demo-brokers' },
      stringData: Object.assign({}, ...brokers.map(({ secret }) => secret)) as Record<string, string>,
    },
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'demo-records' },
      data: Object.fromEntries(brokers.map(({ name }) => [name, recordOf(name)])),
    },
  ];
  return manifests.map((manifest) => stringify(manifest)).join('---\n');
}

function manifestFile(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

const interrupted = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.once(name, () => {
    interrupted.abort(new Error(`ended by ${name}`));
  });
}
try {
  const summary = await demo(interrupted.signal);
  if (options.json) say(JSON.stringify(summary));
  process.exitCode = succeeded(summary) ? 0 : 1;
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
