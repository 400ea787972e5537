/**
 * KEDA's operator and the HPA controller on the API server double: what `npm run e2e` needs of a cluster, without one. Loop and HPA
 * are those of `queue-scaler local`, whose own tests hold them to KEDA; here they drive a scaler over gRPC and write what a cluster
 * would show. No pod ever runs: replicas are counted, as on a control plane without kubelets.
 */
import { credentials } from '@grpc/grpc-js';
import { ExternalScalerClient } from '../../src/server/grpc/gen/externalscaler.ts';
import { WRITTEN, type ScaledObject } from '../../src/auth/objects.ts';
import type { LoopEvent, MetricReport } from '../../src/local/events.ts';
import { runLoop, type ScaleTarget } from '../../src/local/keda/loop.ts';
import { createTriggerClient } from '../../src/local/keda/triggerClient.ts';
import { loopSpec } from '../../src/local/loopSettings.ts';
import type { ApiServer, KubernetesObject } from './apiServer.ts';
import { stored } from './manifests.ts';

export interface ControlPlane {
  /** Ends all loops. */
  close(): Promise<void>;
}

export interface ControlPlaneOptions {
  /** Time between two syncs of the HPA, in ms; 15 s in a cluster. */
  readonly hpaSyncMs: number;
}

const BOOKMARK_MS = 30_000;

/** Scales whatever ScaledObjects there are, and come to be, until it is closed. */
export function runControlPlane(api: ApiServer, options: ControlPlaneOptions): ControlPlane {
  const loops = new Map<string, { readonly stop: AbortController; readonly done: Promise<unknown> }>();
  const unlisten = api.store.listen(({ type, resource, object }) => {
    if (resource !== 'scaledobjects') return;
    const key = `${object.metadata.namespace ?? ''}/${object.metadata.name}`;
    loops.get(key)?.stop.abort();
    if (type === 'DELETED') {
      api.store.delete('horizontalpodautoscalers', object.metadata.namespace, `keda-hpa-${object.metadata.name}`);
      return;
    }
    const stop = new AbortController();
    loops.set(key, { stop, done: scale(api, WRITTEN.ScaledObject.parse(object), options, stop.signal) });
  });
  // As an API server does about once a minute; without them a quiet watch is taken for dead.
  const bookmarks = setInterval(() => {
    api.bookmark();
  }, BOOKMARK_MS);
  return {
    async close() {
      clearInterval(bookmarks);
      unlisten();
      for (const { stop } of loops.values()) stop.abort();
      await Promise.all([...loops.values()].map(({ done }) => done));
    },
  };
}

async function scale(
  api: ApiServer,
  object: ScaledObject,
  { hpaSyncMs }: ControlPlaneOptions,
  signal: AbortSignal,
): Promise<void> {
  const { name, namespace = '' } = object.metadata;
  const deployment = object.spec.scaleTargetRef.name;
  const clients: ExternalScalerClient[] = [];
  const triggers = object.spec.triggers.map(({ type, metadata }, index) => {
    const client = new ExternalScalerClient(metadata['scalerAddress'] ?? '', credentials.createInsecure());
    clients.push(client);
    return createTriggerClient({
      client,
      reference: { name, namespace, scalerMetadata: { ...metadata } },
      index,
      type: type === 'external-push' ? type : 'external',
      targetType: 'AverageValue',
      useCachedMetrics: false,
    });
  });
  const spec = loopSpec(object, { syncPeriodMs: hpaSyncMs, tolerance: 0.1, kedaVersion: '2.20' }, (path, message) => {
    throw new Error(`${path.join('.')} ${message}`);
  });
  const replicas = (): number => {
    const found = api.store.get('deployments', namespace, deployment) as
      { readonly spec?: { readonly replicas?: number } } | undefined;
    return found?.spec?.replicas ?? 0;
  };
  const target: ScaleTarget = {
    get wanted() {
      return replicas();
    },
    get existing() {
      return replicas();
    },
    ready: 0,
    stopping: 0,
    scale(wanted) {
      const found = api.store.get('deployments', namespace, deployment);
      if (found === undefined) return;
      api.put({ ...found, spec: { ...(found['spec'] as object), replicas: wanted }, status: { replicas: wanted } });
    },
  };
  const event = (kind: string, about: string, type: 'Normal' | 'Warning', reason: string, message: string): void => {
    const involvedObject = { kind, namespace, name: about };
    const metadata = { name: '', generateName: `${about}.` };
    api.put(stored({ apiVersion: 'v1', kind: 'Event', metadata, involvedObject, type, reason, message }, namespace));
  };
  const hpa = `keda-hpa-${name}`;
  const showHpa = (metrics: readonly MetricReport[], desired: number): void => {
    if (signal.aborted || metrics.every(({ target: wanted }) => wanted === 0)) return;
    api.put(hpaObject({ namespace, name, deployment }, spec.hpa, metrics, replicas(), desired));
  };
  const tell = (told: LoopEvent): void => {
    if (told.event === 'poll' || told.event === 'hpa') {
      const failures = told.metrics.flatMap(({ error }) => error ?? []);
      for (const failure of failures) {
        if (told.event === 'poll') event('ScaledObject', name, 'Warning', 'KEDAScalerFailed', failure);
        else event('HorizontalPodAutoscaler', hpa, 'Warning', 'FailedGetExternalMetric', failure);
      }
    }
    // A poll tells what there is to measure; only a sync gives the HPA a value.
    if (told.event === 'poll' && api.store.get('horizontalpodautoscalers', namespace, hpa) === undefined)
      showHpa(
        told.metrics.map(({ metric, target: wanted, targetType }) => ({ metric, target: wanted, targetType })),
        0,
      );
    if (told.event === 'hpa') showHpa(told.metrics, told.desired);
    if (told.event !== 'scale') return;
    const change = `Scaled apps/v1.Deployment ${namespace}/${deployment} from ${told.from} to ${told.desired}`;
    if (told.by === 'hpa') event('HorizontalPodAutoscaler', hpa, 'Normal', 'SuccessfulRescale', `New size: ${told.desired}`);
    else if (told.from === 0) event('ScaledObject', name, 'Normal', 'KEDAScaleTargetActivated', change);
    else if (told.desired === 0) event('ScaledObject', name, 'Normal', 'KEDAScaleTargetDeactivated', change);
  };
  try {
    await runLoop({ spec, triggers, target, tell, now: () => performance.now() }, signal);
  } finally {
    for (const client of clients) client.close();
  }
}

function hpaObject(
  { namespace, name, deployment }: { readonly namespace: string; readonly name: string; readonly deployment: string },
  bounds: { readonly minReplicas: number; readonly maxReplicas: number },
  metrics: readonly MetricReport[],
  replicas: number,
  desired: number,
): KubernetesObject {
  const identified = (metric: string): object => ({
    name: metric,
    selector: { matchLabels: { 'scaledobject.keda.sh/name': name } },
  });
  const current = metrics.flatMap(({ metric, value }) => {
    if (value === undefined || replicas === 0) return [];
    return [
      { type: 'External', external: { metric: identified(metric), current: { averageValue: quantity(value / replicas) } } },
    ];
  });
  return {
    apiVersion: 'autoscaling/v2',
    kind: 'HorizontalPodAutoscaler',
    metadata: { name: `keda-hpa-${name}`, namespace },
    spec: {
      scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: deployment },
      minReplicas: bounds.minReplicas,
      maxReplicas: bounds.maxReplicas,
      metrics: metrics.map(({ metric, target }) => ({
        type: 'External',
        external: { metric: identified(metric), target: { type: 'AverageValue', averageValue: quantity(target) } },
      })),
    },
    status: {
      currentReplicas: replicas,
      desiredReplicas: desired,
      ...(current.length === 0 ? {} : { currentMetrics: current }),
    },
  };
}

/** As Kubernetes writes a number: whole, or in thousandths. */
function quantity(value: number): string {
  const thousandths = Math.ceil(value * 1000);
  return thousandths % 1000 === 0 ? String(thousandths / 1000) : `${thousandths}m`;
}
