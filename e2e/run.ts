/**
 * `npm run e2e`: the whole path in a cluster that has KEDA and that KUBECONFIG points to. It says loudly when there is none. The
 * scaler and the brokers run here, and so do the workers: no pod has to run, so a control plane without kubelets will do.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { bundle } from '../test/bed/bundle.ts';
import { startScalerProcess, type ScalerProcess } from '../test/bed/scaler.ts';
import { until } from '../test/bed/until.ts';
import { connectCluster } from './cluster.ts';
import { rabbitQueue, redisQueue, type Queue } from './queues.ts';
import { createScalerAccount, type ScalerAccount } from './serviceAccount.ts';
import { createTarget, KEDA, MAX_REPLICAS, STEP_MS, type Target } from './target.ts';

const MESSAGES = 40;
/** Of the trigger: what one replica is to have. */
const TARGET_EACH = 5;

const { values: flags } = parseArgs({
  options: {
    'scaler-address': { type: 'string', default: `${hostname()}:6000` },
    'broker-address': { type: 'string', default: '127.0.0.1' },
    // For a control plane whose HPA syncs more often than every 15 s.
    speed: { type: 'string', default: '1' },
  },
});
const speed = Math.max(1, Number(flags.speed));
const pollingIntervalS = Math.max(1, Math.round(5 / speed));
const cooldownS = Math.max(1, Math.round(10 / speed));
const workerPaceMs = 1_000 / speed;
/** Longer than the last known reading stands in, and than a poll takes to fail. */
const outageMs = Math.max(12_000, 60_000 / speed);
/**
 * From 2.20 on, KEDA takes an error in the wrong moment for an inactive trigger, and goes to zero after `cooldownPeriod`: no scaler can
 * rule that out, and one longer than the outage, and than what comes after it, can.
 */
const outageCooldownS = Math.ceil(outageMs / 1_000) + 60;

const say = (line: string): void => void process.stdout.write(`${line}\n`);

if ((process.env['KUBECONFIG'] ?? '') === '') {
  say('\n=== SKIPPED: npm run e2e needs KUBECONFIG to point to a cluster with KEDA. NOTHING WAS TESTED. ===\n');
  process.exit(0);
}
process.exit(await run());

async function run(): Promise<number> {
  const cluster = await connectCluster();
  if ((await cluster.get(KEDA)) === undefined) {
    say(
      `FAILED: the cluster at ${cluster.server} has no KEDA (${KEDA} is not served). Install it: https://keda.sh/docs/latest/deploy/`,
    );
    return 1;
  }
  const namespace = `queue-scaler-e2e-${Date.now().toString(36)}`;
  const queues: Queue[] = [];
  const folder = await mkdtemp(join(tmpdir(), 'queue-scaler-e2e-'));
  let account: ScalerAccount | undefined;
  let scaler: ScalerProcess | undefined;
  let cleaned: Promise<void> | undefined;
  const clean = (): Promise<void> =>
    (cleaned ??= (async () => {
      await cluster.remove(`/api/v1/namespaces/${namespace}`).catch(() => undefined);
      await account?.remove().catch(() => undefined);
      await scaler?.close();
      for (const queue of queues) await queue.close();
      await cluster.close();
      await rm(folder, { recursive: true, force: true });
    })());
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void clean().finally(() => process.exit(130)));
  }
  try {
    await cluster.create('/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
    account = await createScalerAccount(cluster, namespace);
    const { kubeconfig } = account;
    const main = await bundle(folder);
    const serve = (): Promise<ScalerProcess> => serveFor(namespace, kubeconfig, main);
    scaler = await serve();
    queues.push(await rabbitQueue(flags['broker-address']), await redisQueue(flags['broker-address']));
    for (const queue of queues) {
      for (const type of ['external', 'external-push'] as const) {
        const name = `${queue.scaler}-${type}`;
        say(`\n## ${name}`);
        const target = await createTarget(cluster, queue, {
          namespace,
          name,
          type,
          scalerAddress: flags['scaler-address'],
          pollingIntervalS,
          cooldownS,
        });
        await upAndDown(target, queue, name);
        await rotation(target, queue);
        await scaler.stop();
        scaler = await serve();
        await outageAfterRestart(target, queue);
        // The next one scales on the same queue.
        await target.remove();
      }
    }
    say('\nPASSED');
    return 0;
  } catch (error) {
    say(`\nFAILED: ${error instanceof Error ? error.message : String(error)}\n${scaler?.log.slice(-30).join('\n') ?? ''}`);
    return 1;
  } finally {
    await clean();
  }
}

function serveFor(namespace: string, kubeconfig: string, main: string): Promise<ScalerProcess> {
  const port = flags['scaler-address'].slice(flags['scaler-address'].lastIndexOf(':') + 1);
  const args = ['--grpc-address', `0.0.0.0:${port}`, '--cluster-object-namespace', namespace];
  return startScalerProcess(args, { KUBECONFIG: kubeconfig }, main);
}

async function upAndDown(target: Target, queue: Queue, name: string): Promise<void> {
  await step('no message, no replica', () => target.replicasAre((replicas) => replicas === 0));
  await step('kubectl get hpa shows one metric with its target, from 1 to the most replicas', () =>
    hpaShows(target, {
      Reference: new RegExp(`^Deployment/${name}$`),
      Targets: new RegExp(`^(?:<unknown>|\\d+m?)/${TARGET_EACH} \\(avg\\)$`),
      MinPods: /^1$/,
      MaxPods: new RegExp(`^${MAX_REPLICAS}$`),
    }),
  );
  await step(`${MESSAGES} messages: 0 → N`, async () => {
    await queue.publish(MESSAGES);
    await target.replicasAre((replicas) => replicas > 1 && replicas <= MAX_REPLICAS);
  });
  await step('kubectl get hpa shows the value measured and more than one replica', () =>
    hpaShows(target, { Targets: new RegExp(`^\\d+m?/${TARGET_EACH} \\(avg\\)$`), Replicas: /^[2-4]$/ }),
  );
  await step('events tell that KEDA activated the workload and that the HPA rescaled it', async () => {
    await target.happened('KEDAScaleTargetActivated');
    await target.happened('SuccessfulRescale');
  });
  await drain(target, queue);
  await step('an event tells that KEDA deactivated the workload', () => target.happened('KEDAScaleTargetDeactivated'));
}

async function rotation(target: Target, queue: Queue): Promise<void> {
  await queue.rotate();
  await target.putSecret(queue.secret());
  await step('a rotated Secret is picked up without a restart: 0 → 1', async () => {
    await queue.publish(1);
    await target.replicasAre((replicas) => replicas >= 1);
  });
  await drain(target, queue);
}

async function outageAfterRestart(target: Target, queue: Queue): Promise<void> {
  await target.putCooldown(outageCooldownS);
  await step('a scaler that has restarted goes on: 0 → N', async () => {
    await queue.publish(MESSAGES);
    await target.replicasAre((replicas) => replicas > 1);
  });
  const before = await target.replicas();
  queue.pause();
  try {
    await step(
      `a broker that hangs for ${outageMs / 1000} s moves no replica below ${before}, and an event says why`,
      async () => {
        const endAt = performance.now() + outageMs;
        while (performance.now() < endAt) {
          await sleep(500);
          const now = await target.replicas();
          if (now < before) throw new Error(`${now} replicas while the broker was away`);
        }
        await target.happened('KEDAScalerFailed');
      },
    );
  } finally {
    queue.resume();
  }
  await target.putCooldown(cooldownS);
  await drain(target, queue);
}

/** Waits until each column has what is expected. */
async function hpaShows(target: Target, expected: Readonly<Record<string, RegExp>>): Promise<void> {
  let row: Readonly<Record<string, string>> | undefined;
  const shows = async (): Promise<boolean> => {
    row = await target.hpa();
    return Object.entries(expected).every(([column, text]) => text.test(row?.[column] ?? ''));
  };
  await until('the row', shows, { deadlineMs: STEP_MS, everyMs: 200 }).catch((error: unknown) => {
    throw new Error(`kubectl get hpa shows ${JSON.stringify(row)}`, { cause: error });
  });
}

/** Takes messages at the pace of the replicas there are, until all are gone and no replica is left. */
async function drain(target: Target, queue: Queue): Promise<void> {
  await step('workers take all: N → 0', async () => {
    const endAt = performance.now() + STEP_MS * 2;
    for (;;) {
      const replicas = await target.replicas();
      if (queue.waiting() === 0 && replicas === 0) return;
      if (performance.now() > endAt) throw new Error(`${queue.waiting()} messages and ${replicas} replicas are left`);
      if (queue.waiting() > 0 && replicas > 0) await queue.take(replicas);
      await sleep(workerPaceMs);
    }
  });
}

async function step(what: string, run: () => Promise<unknown>): Promise<void> {
  const startedAt = performance.now();
  try {
    await run();
  } catch (error) {
    throw new Error(`${what}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
  say(`ok  ${what} (${((performance.now() - startedAt) / 1000).toFixed(1)} s)`);
}
