/**
 * Which replicas a ReplicaSet gives up first, as a pure order.
 *
 * Source: https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#scaling-a-replicaset; of replicas that are equal in
 * all other ways a ReplicaSet picks by age in powers of two at random, here it is always the youngest.
 */

export interface Candidate {
  readonly name: string;
  readonly ready: boolean;
  /** When it became ready, in ms; undefined if it is not. */
  readonly readyAt: number | undefined;
  readonly restarts: number;
  readonly createdAt: number;
}

/** The replicas to stop, first to go first: not ready, then ready for the shortest time, then most often restarted, then youngest. */
export function chooseVictims<C extends Candidate>(candidates: readonly C[], count: number): readonly C[] {
  return [...candidates].sort(byExpendability).slice(0, Math.max(0, count));
}

function byExpendability(left: Candidate, right: Candidate): number {
  if (left.ready !== right.ready) return left.ready ? 1 : -1;
  return (
    (right.readyAt ?? 0) - (left.readyAt ?? 0) ||
    right.restarts - left.restarts ||
    right.createdAt - left.createdAt ||
    (left.name < right.name ? -1 : 1)
  );
}
