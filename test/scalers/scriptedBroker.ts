/**
 * A broker client that answers what a test wants, for the unit tests of what stands above the contract; no broker's scaler is
 * ever tested with it.
 */
import type { BrokerError, QueueError } from '../../src/errors.ts';
import { noEvents } from '../../src/scalers/brokerEvents.ts';
import { unknown, type Known, type Reading } from '../../src/scalers/reading.ts';
import { createReadingCache, type ReadingCache } from '../../src/scalers/readingCache.ts';
import type { BrokerClient, Question, Report, Watcher } from '../../src/scalers/contract.ts';

export interface Sweep {
  readonly keys: readonly string[];
  readonly report: Report;
  readonly signal: AbortSignal;
  readonly end: () => void;
  readonly fail: (error: Error) => void;
}

export interface Script {
  readonly cache: ReadingCache;
  readonly sweeps: Sweep[];
  readonly watchers: Map<string, Watcher>;
  /** Whether the broker vouches for what its watches told last. */
  vouches: boolean;
  opened: number;
  closed: number;
}

export function question(key: string, staleAfterMs = 0): Question {
  return { key, subject: `queue ${key}`, staleAfterMs };
}

export function ready(count: number, at = performance.now()): Known {
  return { known: true, at, reader: 'script', measures: { ready: count }, queues: [] };
}

export function failed(error: QueueError | BrokerError): Reading {
  return unknown(error);
}

export function script(): Script {
  const client: BrokerClient<Question> = {
    readBatch: (questions, report, signal) =>
      new Promise((resolve, reject) => {
        state.sweeps.push({ keys: questions.map(({ key }) => key), report, signal, end: resolve, fail: reject });
      }),
    watch(asked, watcher) {
      state.watchers.set(asked.key, watcher);
      return () => state.watchers.delete(asked.key);
    },
    isCurrent: () => state.vouches,
    close() {
      state.closed++;
      return Promise.resolve();
    },
  };
  const open = (): BrokerClient<Question> => {
    state.opened++;
    return client;
  };
  const state: Script = {
    cache: createReadingCache({ key: 'broker', label: 'script://broker' }, open, noEvents),
    sweeps: [],
    watchers: new Map(),
    vouches: false,
    opened: 0,
    closed: 0,
  };
  return state;
}
