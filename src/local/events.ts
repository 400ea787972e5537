/**
 * What `local` tells while it runs, one object an event; this is the format of `--json`, so a field may be added but not change.
 */
import type { MetricTargetType } from './hpa/hpaMetrics.ts';
import type { PodEvent } from './workers/pod.ts';

/** A workload's replicas. */
export interface Replicas {
  /** As asked for. */
  readonly replicas: number;
  /** Running now; those being stopped do not count. */
  readonly ready: number;
  /** Told to end, and not ended yet. */
  readonly stopping: number;
}

/** One metric of a trigger as the scaler answered, or why it did not. */
export interface MetricReport {
  /** With KEDA's prefix: `s<index of the trigger>-<name>`. */
  readonly metric: string;
  readonly target: number;
  readonly targetType: MetricTargetType;
  readonly value?: number;
  readonly active?: boolean;
  readonly error?: string;
  /** True where the error is KEDA's own, of a cache of scalers closed meanwhile, and counts as an inactive trigger. */
  readonly cacheClosed?: true;
  /** True where the value is KEDA's fallback and not the scaler's. */
  readonly fallback?: true;
}

export type LoopEvent =
  /** KEDA asked the scaler: the readings of all triggers, and what KEDA makes of them. */
  | ({
      readonly event: 'poll';
      readonly metrics: readonly MetricReport[];
      readonly active: boolean;
      readonly failing: boolean;
      readonly reason: string;
    } & Replicas)
  /** The scaler pushed: only `true` has an effect. */
  | ({ readonly event: 'push'; readonly trigger: number; readonly active: boolean; readonly reason: string } & Replicas)
  /** The HPA computed: `recommended` is what the metrics ask for, `desired` what windows, policies and bounds leave of it. */
  | ({
      readonly event: 'hpa';
      readonly metrics: readonly MetricReport[];
      readonly recommended?: number;
      readonly desired: number;
      readonly reason: string;
    } & Replicas)
  /** The wanted number of replicas changed. */
  | ({
      readonly event: 'scale';
      readonly by: Scaler;
      readonly from: number;
      readonly desired: number;
      readonly reason: string;
    } & Replicas)
  /** Something that a person must know, such as a field of a manifest that has no effect here. */
  | { readonly event: 'notice'; readonly level: 'info' | 'warning' | 'error'; readonly message: string };

/** Who changes a replica count. */
export type Scaler = 'keda' | 'hpa';

/** What happens to one replica: see `PodEvent`. */
export type WorkerEvent = { readonly event: 'worker'; readonly pod: string } & PodEvent & Replicas;

/** When, and which ScaledObject (`namespace/name`; absent where it concerns all). */
interface Stamp {
  /** ISO 8601, UTC, with milliseconds. */
  readonly time: string;
  readonly object?: string;
}

export type LocalEvent = Stamp &
  (
    | LoopEvent
    | WorkerEvent
    /** The first event: the scaler serves there. */
    | { readonly event: 'serving'; readonly grpc: string; readonly http?: string; readonly objects: readonly string[] }
    /** The last event of a run that ended in order. */
    | { readonly event: 'end'; readonly reason: string }
  );
