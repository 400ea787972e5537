/**
 * Keeps the latest snapshot of a topology for many who need one: requests for a newer one share the fetch that is under way.
 */
import { toQueueScalerError, type BrokerError, type QueueScalerError } from '../../../errors.ts';
import type { Topology, TopologySnapshot } from './topology.ts';

/** How long after a failure the deployment is not asked again, in ms. */
const FAILED_PAUSE_MS = 50;

export interface Refresher extends Pick<Topology, 'snapshot' | 'snapshotSince'> {
  latest(): TopologySnapshot | undefined;
}

/** `ask` gets who serves what now; it rejects with a {@link BrokerError}. */
export function createRefresher(ask: (at: number) => Promise<TopologySnapshot>): Refresher {
  let latest: TopologySnapshot | undefined;
  let asking: { readonly at: number; readonly snapshot: Promise<TopologySnapshot> } | undefined;
  let failed: { readonly at: number; readonly error: QueueScalerError } | undefined;

  function snapshotSince(since: number): Promise<TopologySnapshot> {
    if (latest !== undefined && latest.at >= since) return Promise.resolve(latest);
    if (asking !== undefined && asking.at >= since) return asking.snapshot;
    const at = performance.now();
    if (failed !== undefined && at - failed.at < FAILED_PAUSE_MS) return Promise.reject(failed.error);
    const snapshot = ask(at).then(
      (answered) => {
        if (latest === undefined || answered.at > latest.at) latest = answered;
        failed = undefined;
        return answered;
      },
      (thrown: unknown) => {
        failed = { at: performance.now(), error: toQueueScalerError(thrown) };
        throw thrown;
      },
    );
    const own = { at, snapshot };
    asking = own;
    const done = (): void => {
      if (asking === own) asking = undefined;
    };
    snapshot.then(done, done);
    return snapshot;
  }

  return {
    snapshot: () => (latest === undefined ? snapshotSince(-Infinity) : Promise.resolve(latest)),
    snapshotSince,
    latest: () => latest,
  };
}

/**
 * The first results that are enough and those that come within the grace time after them, or all there are when every promise has
 * settled; rejects with the last reason only if none was had. The others are ignored.
 */
export function firstResults<T>(
  promises: readonly Promise<T>[],
  enough: (results: readonly T[]) => boolean,
  graceMs: number,
): Promise<readonly T[]> {
  return new Promise((resolve, reject) => {
    const results: T[] = [];
    let left = promises.length;
    let grace: NodeJS.Timeout | undefined;
    const end = (): void => {
      clearTimeout(grace);
      resolve([...results]);
    };
    const settle = (reason: BrokerError | undefined): void => {
      left--;
      if (left === 0 && results.length === 0) reject(reason ?? new Error('nobody was asked'));
      else if (left === 0 || (graceMs === 0 && enough(results))) end();
      else if (enough(results)) grace ??= setTimeout(end, graceMs);
    };
    for (const promise of promises) {
      promise.then(
        (result) => {
          results.push(result);
          settle(undefined);
        },
        (thrown: unknown) => {
          settle(thrown as BrokerError);
        },
      );
    }
  });
}
