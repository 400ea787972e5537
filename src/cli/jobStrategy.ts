/**
 * How many jobs KEDA 2.20 makes for a ScaledJob at one poll, by its `scalingStrategy`, and what a metric must count for that to be right.
 * https://keda.sh/docs/latest/reference/scaledjob-spec/#scalingstrategy
 */
import type { InProgress } from '../scalers/inProgress.ts';

export type JobStrategy =
  | { readonly name: 'default' | 'accurate' | 'eager' }
  | { readonly name: 'custom'; readonly deduction: number; readonly runningShare: number };

/** As KEDA takes it: `default` for whatever it does not know, and for `custom` without a share that is a number. */
export function strategyOf(written: Readonly<Record<string, unknown>>): JobStrategy {
  const { strategy, customScalingQueueLengthDeduction: deduction, customScalingRunningJobPercentage: share } = written;
  if (strategy === 'accurate' || strategy === 'eager') return { name: strategy };
  const runningShare = typeof share === 'string' && share !== '' ? Number(share) : Number.NaN;
  if (strategy !== 'custom' || Number.isNaN(runningShare)) return { name: 'default' };
  return { name: 'custom', deduction: typeof deduction === 'number' ? deduction : 0, runningShare };
}

export interface JobState {
  readonly value: number;
  /** Of the metric, for each job. */
  readonly target: number;
  readonly active: boolean;
  /** Jobs that have not ended, those without a running pod included. */
  readonly running: number;
  /** Of these, the jobs whose pod does not run yet. */
  readonly pending: number;
  readonly minReplicas: number;
  readonly maxReplicas: number;
}

export function jobsToCreate(strategy: JobStrategy, state: JobState): number {
  const { value, target, active, running, pending, minReplicas, maxReplicas } = state;
  if (running < minReplicas) return minReplicas - running;
  if (!active) return 0;
  const wanted = Math.ceil(Math.min(value / target, maxReplicas));
  const beside = running - minReplicas;
  const room = maxReplicas - beside;
  // KEDA makes no more jobs than the metric itself says, but where the strategy is eager.
  const length = Math.ceil(value);
  const most = (): number => {
    switch (strategy.name) {
      case 'default':
        return Math.min(wanted - beside, length);
      case 'custom':
        return Math.min(wanted - strategy.deduction - Math.trunc(beside * strategy.runningShare), maxReplicas, length);
      case 'accurate':
        return Math.min(wanted > room ? room : wanted - pending, length);
      case 'eager':
        return Math.min(room - pending, wanted);
    }
  };
  return Math.max(0, most());
}

/**
 * How a queue must count what jobs hold: they are subtracted from the metric as jobs that run, or they are not and must not be in it. A
 * strategy that subtracts a part of them fits neither.
 */
export function inProgressFor(strategy: JobStrategy): Exclude<InProgress, 'ignore'> | 'neither' {
  if (strategy.name === 'default') return 'count';
  if (strategy.name !== 'custom' || strategy.runningShare === 0) return 'active';
  return strategy.runningShare === 1 ? 'count' : 'neither';
}
