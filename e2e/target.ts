/**
 * One scaled workload of the end-to-end test in the cluster: what is made of it, and what the cluster shows of it, as kubectl would.
 */
import { z } from 'zod';
import { until } from '../test/bed/until.ts';
import type { Cluster } from './cluster.ts';
import type { Queue } from './queues.ts';

export const KEDA = '/apis/keda.sh/v1alpha1';
export const MAX_REPLICAS = 4;
/** KEDA's polls, an HPA sync of 15 s, and what a slow machine adds. */
export const STEP_MS = 180_000;

export interface TargetOptions {
  readonly namespace: string;
  readonly name: string;
  readonly type: 'external' | 'external-push';
  readonly scalerAddress: string;
  readonly pollingIntervalS: number;
  readonly cooldownS: number;
}

export interface Target {
  replicas(): Promise<number>;
  replicasAre(wanted: (replicas: number) => boolean): Promise<unknown>;
  /** The row that `kubectl get hpa` prints, by column; undefined while there is no HPA. */
  hpa(): Promise<Readonly<Record<string, string>> | undefined>;
  /** Waits for an event of that reason, of the ScaledObject or its HPA. */
  happened(reason: string): Promise<unknown>;
  /** Changes `cooldownPeriod`. */
  putCooldown(seconds: number): Promise<void>;
  putSecret(values: Readonly<Record<string, string>>): Promise<void>;
  remove(): Promise<void>;
}

const deploymentShape = z.object({ spec: z.object({ replicas: z.number() }) });
const tableShape = z.object({
  columnDefinitions: z.array(z.object({ name: z.string() })),
  rows: z.array(z.object({ cells: z.array(z.unknown()) })).length(1),
});
const eventsShape = z.object({
  items: z.array(z.object({ reason: z.string().optional(), involvedObject: z.object({ name: z.string().optional() }) })),
});

/** Makes Secret, TriggerAuthentication, Deployment and ScaledObject of that name. */
export async function createTarget(cluster: Cluster, queue: Queue, options: TargetOptions): Promise<Target> {
  const { namespace, name, type, scalerAddress, pollingIntervalS, cooldownS } = options;
  const core = `/api/v1/namespaces/${namespace}`;
  const apps = `/apis/apps/v1/namespaces/${namespace}`;
  const keda = `${KEDA}/namespaces/${namespace}`;
  const hpaName = `keda-hpa-${name}`;
  const metadata = { name, namespace };
  const labels = { app: name };
  const secret = queue.secret();
  await cluster.create(`${core}/secrets`, { apiVersion: 'v1', kind: 'Secret', metadata, stringData: secret });
  await cluster.create(`${keda}/triggerauthentications`, {
    apiVersion: 'keda.sh/v1alpha1',
    kind: 'TriggerAuthentication',
    metadata,
    spec: { secretTargetRef: Object.keys(secret).map((key) => ({ parameter: key, name, key })) },
  });
  await cluster.create(`${apps}/deployments`, {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata,
    spec: {
      replicas: 0,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { containers: [{ name: 'worker', image: 'registry.k8s.io/pause:3.10' }] } },
    },
  });
  await cluster.create(`${keda}/scaledobjects`, {
    apiVersion: 'keda.sh/v1alpha1',
    kind: 'ScaledObject',
    metadata,
    spec: {
      scaleTargetRef: { name },
      pollingInterval: pollingIntervalS,
      cooldownPeriod: cooldownS,
      maxReplicaCount: MAX_REPLICAS,
      advanced: { horizontalPodAutoscalerConfig: { behavior: { scaleDown: { stabilizationWindowSeconds: 0 } } } },
      triggers: [{ type, metadata: { scalerAddress, scaler: queue.scaler, ...queue.metadata }, authenticationRef: { name } }],
    },
  });

  const replicas = async (): Promise<number> =>
    deploymentShape.parse(await cluster.get(`${apps}/deployments/${name}`)).spec.replicas;
  async function hpa(): Promise<Readonly<Record<string, string>> | undefined> {
    const path = `/apis/autoscaling/v2/namespaces/${namespace}/horizontalpodautoscalers/${hpaName}`;
    const found = tableShape.safeParse(await cluster.table(path));
    if (!found.success) return undefined;
    const cells = found.data.rows[0]?.cells ?? [];
    return Object.fromEntries(found.data.columnDefinitions.map((column, index) => [column.name, String(cells[index])]));
  }

  const within = { deadlineMs: STEP_MS, everyMs: 500 };
  return {
    replicas,
    replicasAre: (wanted) => until('the replicas', async () => wanted(await replicas()), within),
    hpa,
    happened: (reason) =>
      until(
        `an event ${reason}`,
        async () => {
          const { items } = eventsShape.parse(await cluster.get(`${core}/events`));
          return items.some(
            ({ reason: given, involvedObject }) =>
              given === reason && (involvedObject.name === name || involvedObject.name === hpaName),
          );
        },
        within,
      ),
    putCooldown: (seconds) => cluster.patch(`${keda}/scaledobjects/${name}`, { spec: { cooldownPeriod: seconds } }),
    putSecret: (values) => cluster.patch(`${core}/secrets/${name}`, { stringData: values }),
    async remove() {
      await cluster.remove(`${keda}/scaledobjects/${name}`);
      await until('the end of the HPA', async () => (await hpa()) === undefined, within);
    },
  };
}
