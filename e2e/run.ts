/**
 * `npm run e2e`: the whole path in a cluster that has KEDA and that KUBECONFIG points to. It says loudly when there is none. The
 * scaler and the brokers run here, and so do the workers: no pod has to run, so a control plane without kubelets will do.
 */
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { startScalerProcess, type ScalerProcess } from '../test/bed/scaler.ts';
import { until } from '../test/bed/until.ts';
import { connectCluster, type Cluster } from './cluster.ts';
import { rabbitQueue, redisQueue, type Queue } from './queues.ts';

const KEDA = '/apis/keda.sh/v1alpha1';
const MESSAGES = 40;
const MAX_REPLICAS = 4;
const POLL_S = 5;
const COOLDOWN_S = 10;
/** KEDA's polls, an HPA sync of 15 s, and what a slow machine adds. */
const STEP_MS = 180_000;
const HELD_MS = 60_000;

const { values: flags } = parseArgs({
  options: {
    'scaler-address': { type: 'string', default: `${hostname()}:6000` },
    'broker-address': { type: 'string', default: '127.0.0.1' },
  },
});
const say = (line: string): void => void process.stdout.write(`${line}\n`);

if ((process.env['KUBECONFIG'] ?? '') === '') {
  say('\n=== SKIPPED: npm run e2e needs KUBECONFIG to point to a cluster with KEDA. NOTHING WAS TESTED. ===\n');
  process.exit(0);
}
process.exit(await run());

async function run(): Promise<number> {
  const cluster = connectCluster();
  if ((await cluster.get(KEDA)) === undefined) {
    say(
      `FAILED: the cluster at ${cluster.server} has no KEDA (${KEDA} is not served). Install it: https://keda.sh/docs/latest/deploy/`,
    );
    return 1;
  }
  const namespace = `queue-scaler-e2e-${Date.now().toString(36)}`;
  const port = flags['scaler-address'].slice(flags['scaler-address'].lastIndexOf(':') + 1);
  const serve = (): Promise<ScalerProcess> =>
    startScalerProcess(['--grpc-address', `0.0.0.0:${port}`, '--cluster-object-namespace', namespace]);
  let scaler = await serve();
  const queues: Queue[] = [];
  try {
    await cluster.create('/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
    queues.push(await rabbitQueue(flags['broker-address']), await redisQueue(flags['broker-address']));
    for (const queue of queues) {
      for (const type of ['external', 'external-push']) {
        const name = `${queue.scaler}-${type}`;
        say(`\n## ${name}`);
        const target = await createTarget(cluster, namespace, name, type, queue);
        await upAndDown(target, queue);
        // Both would scale on the one queue.
        if (type === 'external') await cluster.remove(`${KEDA}/namespaces/${namespace}/scaledobjects/${name}`);
      }
      const target = targetOf(cluster, namespace, `${queue.scaler}-external-push`);
      await queue.rotate();
      await target.putSecret(queue.secret());
      await step('a rotated Secret is picked up: 0 → 1', async () => {
        await queue.publish(1);
        await target.replicasAre((replicas) => replicas >= 1);
      });
      await drain(target, queue);
      await scaler.stop();
      scaler = await serve();
      await step('a scaler that has restarted goes on: 0 → N', async () => {
        await queue.publish(MESSAGES);
        await target.replicasAre((replicas) => replicas > 1);
      });
      const before = await target.replicas();
      queue.pause();
      await step(
        `a broker that hangs for ${HELD_MS / 1000} s moves no replica below ${before}, and the events say why`,
        async () => {
          const endAt = performance.now() + HELD_MS;
          while (performance.now() < endAt) {
            await sleep(2_000);
            const now = await target.replicas();
            if (now < before) throw new Error(`${now} replicas while the broker was away`);
          }
          if (!(await target.events()).includes('KEDAScalerFailed')) throw new Error('no event KEDAScalerFailed');
        },
      );
      queue.resume();
      await drain(target, queue);
    }
    say('\nPASSED');
    return 0;
  } catch (error) {
    say(`\nFAILED: ${error instanceof Error ? error.message : String(error)}\n${scaler.log.slice(-30).join('\n')}`);
    return 1;
  } finally {
    await cluster.remove(`/api/v1/namespaces/${namespace}`).catch(() => undefined);
    await scaler.close();
    for (const queue of queues) await queue.close();
  }
}

async function upAndDown(target: Target, queue: Queue): Promise<void> {
  await step('no message, no replica', () => target.replicasAre((replicas) => replicas === 0));
  await step('the HPA shows one external metric with target 5', async () => {
    await until('the HPA', async () => (await target.hpa()) === '5', { deadlineMs: STEP_MS, everyMs: 1_000 });
  });
  await step(`${MESSAGES} messages: 0 → N`, async () => {
    await queue.publish(MESSAGES);
    await target.replicasAre((replicas) => replicas > 1 && replicas <= MAX_REPLICAS);
  });
  await drain(target, queue);
}

/** Takes messages at the pace of the replicas there are, one a second each, until all are gone and no replica is left. */
async function drain(target: Target, queue: Queue): Promise<void> {
  await step('workers take all: N → 0', async () => {
    const endAt = performance.now() + STEP_MS * 2;
    let empty = false;
    while (!empty || (await target.replicas()) > 0) {
      if (performance.now() > endAt) throw new Error('replicas are left');
      const replicas = await target.replicas();
      empty = replicas > 0 ? (await queue.take(replicas)) === 0 : empty;
      await sleep(1_000);
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

type Target = ReturnType<typeof targetOf>;

function targetOf(cluster: Cluster, namespace: string, name: string) {
  const deployment = `/apis/apps/v1/namespaces/${namespace}/deployments/${name}`;
  const replicas = async (): Promise<number> =>
    z.object({ spec: z.object({ replicas: z.number() }) }).parse(await cluster.get(deployment)).spec.replicas;
  return {
    replicas,
    replicasAre: (wanted: (replicas: number) => boolean) =>
      until('the replicas', async () => wanted(await replicas()), { deadlineMs: STEP_MS, everyMs: 500 }),
    /** The target that `kubectl get hpa` shows, without its unit. */
    async hpa(): Promise<string | undefined> {
      const found = await cluster.get(`/apis/autoscaling/v2/namespaces/${namespace}/horizontalpodautoscalers/keda-hpa-${name}`);
      const metric = z.object({ external: z.object({ target: z.object({ averageValue: z.string() }) }) });
      return z.object({ spec: z.object({ metrics: z.array(metric).length(1) }) }).safeParse(found).data?.spec.metrics[0]?.external
        .target.averageValue;
    },
    async events(): Promise<string> {
      return JSON.stringify(await cluster.get(`/api/v1/namespaces/${namespace}/events`));
    },
    putSecret: (values: Readonly<Record<string, string>>) =>
      cluster.patch(`/api/v1/namespaces/${namespace}/secrets/${name}`, { stringData: values }),
  };
}

async function createTarget(cluster: Cluster, namespace: string, name: string, type: string, queue: Queue): Promise<Target> {
  const keda = { apiVersion: 'keda.sh/v1alpha1', metadata: { name, namespace } };
  const secret = queue.secret();
  const labels = { app: name };
  await cluster.create(`/api/v1/namespaces/${namespace}/secrets`, {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name, namespace },
    stringData: secret,
  });
  await cluster.create(`${KEDA}/namespaces/${namespace}/triggerauthentications`, {
    ...keda,
    kind: 'TriggerAuthentication',
    spec: { secretTargetRef: Object.keys(secret).map((key) => ({ parameter: key, name, key })) },
  });
  await cluster.create(`/apis/apps/v1/namespaces/${namespace}/deployments`, {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace },
    spec: {
      replicas: 0,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { containers: [{ name: 'worker', image: 'registry.k8s.io/pause:3.10' }] } },
    },
  });
  await cluster.create(`${KEDA}/namespaces/${namespace}/scaledobjects`, {
    ...keda,
    kind: 'ScaledObject',
    spec: {
      scaleTargetRef: { name },
      pollingInterval: POLL_S,
      cooldownPeriod: COOLDOWN_S,
      maxReplicaCount: MAX_REPLICAS,
      advanced: { horizontalPodAutoscalerConfig: { behavior: { scaleDown: { stabilizationWindowSeconds: 0 } } } },
      triggers: [
        {
          type,
          metadata: { scalerAddress: flags['scaler-address'], scaler: queue.scaler, ...queue.metadata },
          authenticationRef: { name },
        },
      ],
    },
  });
  return targetOf(cluster, namespace, name);
}
