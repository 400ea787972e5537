/**
 * A scaler whose broker is a map in this process, for tests of the server alone: what brokers really do is tested with real ones.
 */
import { BrokerError, type QueueScalerError } from '../../src/errors.ts';
import { Secret } from '../../src/auth/secret.ts';
import { endpoint, key } from '../../src/scalers/metadata.ts';
import { unknown, type Known, type Reading } from '../../src/scalers/reading.ts';
import { defineScaler, type Question, type Scaler, type Watcher } from '../../src/scalers/contract.ts';
import { decimal, text } from '../../src/scalers/values.ts';

type Measures = Readonly<{ ready: number }>;

export interface MemoryBroker {
  readonly scaler: Scaler;
  /** Sets a queue's depth and tells whoever watches it. */
  set(queue: string, depth: number): void;
  /** Makes every answer an unknown with this error; undefined mends it. */
  fail(error: QueueScalerError | undefined): void;
  /** Makes every answer wait until this is called with false. */
  hang(hanging: boolean): void;
  /** Clients opened so far. */
  readonly opened: number;
  /** How often that queue was read by batches so far. */
  readCount(queue: string): number;
  readonly watched: number;
}

export function createMemoryBroker(): MemoryBroker {
  const depths = new Map<string, number>();
  const watchers = new Map<string, Set<Watcher>>();
  let failure: QueueScalerError | undefined;
  let hanging: Promise<void> | undefined;
  let release: () => void = () => undefined;
  let opened = 0;
  const reads = new Map<string, number>();

  const answer = (queue: string): Reading => {
    if (failure !== undefined) return unknown(failure);
    const ready = depths.get(queue) ?? 0;
    return { known: true, at: performance.now(), reader: 'memory', measures: { ready }, queues: [] };
  };

  const scaler = defineScaler({
    type: 'memory',
    doc: 'Reads a queue in memory.',
    keys: {
      queueName: key('Name of the queue.', text(), { required: true }),
      host: key('URL of the broker.', endpoint(text()), { secret: true, places: ['metadata', 'environment', 'authentication'] }),
      value: key('Target a replica.', decimal({ above: 0 }), { default: '20' }),
      activationValue: key('Active above this.', decimal({ min: 0 }), { default: '0' }),
    },
    rules({ host }, fault) {
      if (host !== undefined && !URL.canParse(host)) fault('host', 'must be a URL');
    },
    spec: ({ queueName, value }) => ({ name: `memory-${queueName}`, target: value }),
    connection: ({ host }) => ({ host: host === undefined ? undefined : new Secret(host) }),
    question: ({ queueName }): Question => ({ key: queueName, subject: `queue ${queueName}`, staleAfterMs: 0 }),
    decide:
      ({ activationValue }) =>
      ({ measures }: Known<Measures>) => {
        const value = measures.ready;
        return { value, active: value > activationValue, because: [`${value} ready`] };
      },
    backlog: ({ ready }: Measures) => ({ waiting: ready, held: undefined }),
    broker: {
      name: 'memory',
      label: () => 'memory://',
      open: () => {
        opened++;
        return {
          async readBatch(questions, report) {
            for (const { key: queue } of questions) reads.set(queue, (reads.get(queue) ?? 0) + 1);
            await hanging;
            for (const { key: queue } of questions) report(queue, answer(queue));
          },
          watch({ key: queue }, watcher) {
            const set = watchers.get(queue) ?? new Set();
            watchers.set(queue, set.add(watcher));
            queueMicrotask(() => {
              if (set.has(watcher)) watcher.report(answer(queue));
            });
            return () => void set.delete(watcher);
          },
          // What is set is told to every watch.
          isCurrent: () => failure === undefined,
          close: () => Promise.resolve(),
        };
      },
    },
  });

  const tellAll = (): void => {
    for (const [queue, set] of watchers) for (const watcher of set) watcher.report(answer(queue));
  };

  return {
    scaler,
    set(queue, depth) {
      depths.set(queue, depth);
      for (const watcher of watchers.get(queue) ?? []) watcher.report(answer(queue));
    },
    fail(error) {
      failure = error;
      tellAll();
    },
    hang(on) {
      release();
      hanging = on
        ? new Promise((resolve) => {
            release = resolve;
          })
        : undefined;
    },
    get opened() {
      return opened;
    },
    readCount: (queue) => reads.get(queue) ?? 0,
    get watched() {
      return [...watchers.values()].reduce((sum, set) => sum + set.size, 0);
    },
  };
}

export const UNREACHABLE = new BrokerError('BROKER_UNREACHABLE', 'memory:// takes no connection');
