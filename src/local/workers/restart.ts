/**
 * How long a worker that ended by itself waits for its next start, as a kubelet does it. Pure.
 *
 * Source: "How Pods handle problems with containers" of https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
 */

const FIRST_RESTART_DELAY_MS = 10_000;
const LAST_RESTART_DELAY_MS = 300_000;
/** A run of this length makes the next end count as the first one. */
export const RESTART_RESET_MS = 600_000;

/** The first restart is at once; each further one waits, doubling from 10 s up to 300 s. `restarts` counts from 0. */
export function restartDelayMs(restarts: number): number {
  return restarts === 0 ? 0 : Math.min(LAST_RESTART_DELAY_MS, FIRST_RESTART_DELAY_MS * 2 ** (restarts - 1));
}
