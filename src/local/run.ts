/**
 * A whole run on this machine: the scaler in this process, a loop and a replica set for each ScaledObject, and an orderly end. The
 * loops reach the scaler through gRPC only; whatever ends the run, no worker may be left.
 */
import { credentials } from '@grpc/grpc-js';
import { onAbort } from '../abort.ts';
import type { Manifests } from '../auth/files.ts';
import { createResolver } from '../auth/resolver.ts';
import { endpointKeysOf } from '../scalers/registry.ts';
import type { Logger } from '../logger.ts';
import type { Scaler } from '../scalers/contract.ts';
import { ExternalScalerClient } from '../server/grpc/gen/externalscaler.ts';
import { startServer } from '../server/server.ts';
import type { LocalEvent, LoopEvent, Replicas } from './events.ts';
import { idleWatch, type IdleWatch } from './idle.ts';
import { createCronTrigger } from './keda/cron.ts';
import { runLoop } from './keda/loop.ts';
import { createTriggerClient } from './keda/triggerClient.ts';
import type { Plan, Workload } from './plan.ts';
import { createLifeline, type Lifeline } from './workers/lifeline.ts';
import { createReplicaSet, type ReplicaSet } from './workers/replicaSet.ts';

const LOOPBACK_ANY_PORT = '127.0.0.1:0';
/** What the guard allows beyond the workers' own grace period. */
const GUARD_SLACK_SECONDS = 2;

export interface RunOptions {
  readonly manifests: Manifests;
  readonly plan: Plan;
  readonly logger: Logger;
  readonly tell: (event: LocalEvent) => void;
  workerOutput(line: {
    readonly object: string;
    readonly pod: string;
    readonly stream: 'stdout' | 'stderr';
    readonly line: string;
  }): void;
  /** The scalers there are, if not all. */
  readonly scalers?: readonly Scaler[];
  /** Serves metrics and status there, if set: `HOST:PORT`. */
  readonly httpAddress?: string;
  /** End once all ScaledObjects have been active and are at rest again. */
  readonly untilIdle: boolean;
  /** End after so long at the latest. */
  readonly durationMs?: number;
  /** Ends the run in order. */
  readonly stop: AbortSignal;
  /** Ends all workers at once, without their grace period. */
  readonly kill: AbortSignal;
}

/** Why a run ended. */
export type RunEnd = 'idle' | 'duration over' | 'stopped' | 'refused';

interface Running {
  readonly workload: Workload;
  readonly replicas: ReplicaSet;
}

export async function run(options: RunOptions): Promise<RunEnd> {
  const { plan, manifests, logger, tell, stop, kill } = options;
  const server = await startServer({
    grpcAddress: LOOPBACK_ANY_PORT,
    ...(options.httpAddress === undefined ? {} : { httpAddress: options.httpAddress, page: true }),
    credentials: createResolver({ reader: manifests.reader, endpointKeysOf }),
    logger,
    ...(options.scalers === undefined ? {} : { scalers: options.scalers }),
  });
  const client = new ExternalScalerClient(server.grpcAddress, credentials.createInsecure());
  const graceSeconds = Math.ceil(Math.max(0, ...plan.workloads.map(({ graceMs }) => graceMs)) / 1000);
  const lifeline = createLifeline(graceSeconds + GUARD_SLACK_SECONDS);
  const ending = new AbortController();
  let end: RunEnd = 'stopped';
  const finish = (why: RunEnd): void => {
    if (ending.signal.aborted) return;
    end = why;
    ending.abort();
  };
  const timer = options.durationMs === undefined ? undefined : setTimeout(finish, options.durationMs, 'duration over');
  const idle = idleWatch(plan.workloads.length, () => {
    if (options.untilIdle) finish('idle');
  });
  const stamp = (object?: string): { time: string; object?: string } => ({
    time: new Date().toISOString(),
    ...(object === undefined ? {} : { object }),
  });
  const sets: ReplicaSet[] = [];
  const killAll = (): void => {
    for (const set of sets) set.kill();
  };
  const forgetStop = onAbort(stop, () => {
    finish('stopped');
  });
  let forgetKill = (): void => undefined;

  try {
    tell({
      ...stamp(),
      event: 'serving',
      grpc: server.grpcAddress,
      ...(server.httpAddress === undefined ? {} : { http: server.httpAddress }),
      objects: plan.workloads.map(({ namespace, name }) => `${namespace}/${name}`),
    });
    for (const { object, message } of plan.notices) tell({ ...stamp(object), event: 'notice', level: 'warning', message });

    const running = plan.workloads.map((workload) => startWorkload(workload, lifeline, options, stamp, idle));
    sets.push(...running.map(({ replicas }) => replicas));
    forgetKill = onAbort(kill, killAll);
    await Promise.all(
      running.map(async ({ workload, replicas }) => {
        const refused = await loopOf(workload, replicas, client, ending.signal, (event) => {
          const object = `${workload.namespace}/${workload.name}`;
          tell({ ...stamp(object), ...event });
          idle.heard(object, event, replicas, restOf(workload));
        });
        if (refused !== undefined) finish('refused');
      }),
    );
  } finally {
    clearTimeout(timer);
    forgetStop();
    ending.abort();
    if (kill.aborted) killAll();
    await Promise.all(sets.map((set) => set.close()));
    forgetKill();
    await lifeline.close();
    client.close();
    await server.close();
  }
  tell({ ...stamp(), event: 'end', reason: end });
  return end;
}

/** The replicas of a workload that has nothing to do. */
function restOf({ loop }: Workload): number {
  return loop.bounds.idleReplicas ?? loop.bounds.minReplicas;
}

function startWorkload(
  workload: Workload,
  lifeline: Lifeline,
  options: RunOptions,
  stamp: (object: string) => { time: string; object?: string },
  idle: IdleWatch,
): Running {
  const object = `${workload.namespace}/${workload.name}`;
  const replicas = createReplicaSet(workload.deployment, workload.template, lifeline, {
    pod(pod, event) {
      options.tell({ ...stamp(object), event: 'worker', pod, ...event, ...countsOf(replicas) });
      idle.changed(object, replicas, restOf(workload));
    },
    output(pod, stream, line) {
      options.workerOutput({ object, pod, stream, line });
    },
  });
  replicas.scale(workload.initialReplicas);
  return { workload, replicas };
}

/** Resolves when the run ends; earlier, with the reason, where the scaler refuses all triggers. */
async function loopOf(
  workload: Workload,
  target: ReplicaSet,
  client: ExternalScalerClient,
  signal: AbortSignal,
  tell: (event: LoopEvent) => void,
): Promise<string | undefined> {
  if (workload.paused) {
    tell({ event: 'notice', level: 'info', message: `paused by annotation at ${target.wanted} replicas` });
    await new Promise<void>((resolve) => {
      onAbort(signal, resolve);
    });
    return undefined;
  }
  const triggers = workload.triggers.map((trigger) => {
    if (trigger.type === 'cron') return createCronTrigger(trigger);
    const { metadata, ...rest } = trigger;
    const reference = { name: workload.name, namespace: workload.namespace, scalerMetadata: metadata };
    return createTriggerClient({ client, reference, ...rest });
  });
  return runLoop({ spec: workload.loop, triggers, target, tell, now: () => performance.now() }, signal);
}

function countsOf({ wanted, ready, stopping }: ReplicaSet): Replicas {
  return { replicas: wanted, ready, stopping };
}
