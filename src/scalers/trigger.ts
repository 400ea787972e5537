/**
 * One trigger: bound to its credentials, read through its broker's reading cache and decided. What is known is told at once, and
 * credentials are renewed behind that.
 */
import type { CredentialSource, TriggerReference } from '../auth/credentials.ts';
import { toQueueScalerError, type QueueScalerError } from '../errors.ts';
import type { BrokerPool } from './brokerPool.ts';
import type { Bound, Decision, MetricSpec, Scaler } from './contract.ts';
import type { Known, Reading } from './reading.ts';

/** Credentials older than this are asked for again. */
const REBIND_MS = 5_000;
/** How long a call waits for credentials that could not be had before, or in place of refused ones. */
const BIND_AGAIN_MS = 200;

/** A reading with what it means for one trigger. */
export interface Sample {
  readonly reading: Known;
  readonly decision: Decision;
}

/** What a watched trigger is told. */
export interface TriggerWatcher {
  /** `afresh`: see {@link Watcher.report}. */
  sample(sample: Sample, afresh?: boolean): void;
  /** The state has become unknown; told for every unknown reading. */
  trouble(error: QueueScalerError): void;
}

export interface Told {
  readonly active: boolean;
  /** In ms of `performance.now()`. */
  readonly at: number;
}

export interface Trigger {
  readonly reference: TriggerReference;
  readonly scaler: Scaler;
  /** From metadata alone. */
  readonly spec: MetricSpec;
  /**
   * What is known, at once: undefined before the first answer. Throws a {@link QueueScalerError} where it is known why the state is
   * unknown.
   */
  latest(): Sample | undefined;
  /** What a call last told KEDA of the activity; streams have their own account. */
  told: Told | undefined;
  /** The same, or the first answer; ends with the signal at the latest. */
  read(signal: AbortSignal): Promise<Sample>;
  /**
   * Tells the watcher every sample until the returned function is called. Credentials that cannot be had are told as trouble and
   * tried again.
   */
  watch(watcher: TriggerWatcher): () => void;
}

/** Hears what each trigger says, whoever asked; must not throw. */
export interface TriggerObserver {
  sample(trigger: Trigger, sample: Sample): void;
  trouble(trigger: Trigger, error: QueueScalerError): void;
}

export function createTrigger(
  reference: TriggerReference,
  scaler: Scaler,
  spec: MetricSpec,
  credentials: CredentialSource,
  brokers: BrokerPool,
  observer: TriggerObserver,
): Trigger {
  let bound: { readonly version: string; readonly bound: Bound; readonly since: number } | undefined;
  /** Why credentials could not be had when they were last looked for. */
  let unbound: unknown;
  let rebinding = false;
  let last: (Sample & { readonly by: Bound }) | undefined;
  /** The reading after whose refusal the source of credentials was asked anew. */
  let refused: Reading | undefined;

  async function resolve(signal: AbortSignal): Promise<{ readonly version: string; readonly bound: Bound }> {
    try {
      const { parameters, version } = await credentials.resolve(reference, signal);
      unbound = undefined;
      if (bound?.version === version) return bound;
      return { version, bound: brokers.shared(scaler.bind(reference.metadata, parameters)) };
    } catch (thrown) {
      if (!signal.aborted) {
        unbound = thrown;
        bound = undefined;
      }
      throw thrown;
    }
  }

  async function bind(signal: AbortSignal): Promise<Bound> {
    const { version, bound: resolved } = await resolve(signal);
    bound = { version, bound: resolved, since: performance.now() };
    return resolved;
  }

  /** Looks for other credentials while what is known is still told; those are taken when their first answer is there. */
  async function rebind(): Promise<void> {
    rebinding = true;
    const signal = AbortSignal.timeout(REBIND_MS);
    try {
      const renewed = await resolve(signal);
      if (renewed.bound !== bound?.bound) await brokers.of(renewed.bound).read(renewed.bound.question, signal);
      bound = { version: renewed.version, bound: renewed.bound, since: performance.now() };
    } catch {
      // The next call is told why.
    } finally {
      rebinding = false;
    }
  }

  function decided(reading: Known, by: Bound): Sample {
    if (last?.reading === reading && last.by === by) return last;
    // Most readings say what the last one said.
    const before = last?.by === by && last.reading.measures === reading.measures ? last : undefined;
    last = { reading, decision: before?.decision ?? by.decide(reading), by };
    observer.sample(trigger, last);
    return last;
  }

  /** Throws where the reading is unknown. */
  function judged(reading: Reading, by: Bound): Sample {
    if (reading.known) return decided(reading, by);
    throw reading.error;
  }

  /** Undefined if that takes longer than a moment, which is all the time there is where it is known what may be wrong. */
  async function bindSoon(signal: AbortSignal): Promise<Bound | undefined> {
    const patience = AbortSignal.timeout(BIND_AGAIN_MS);
    try {
      return await bind(AbortSignal.any([signal, patience]));
    } catch (thrown) {
      if (patience.aborted) return undefined;
      throw thrown;
    }
  }

  async function readNow(signal: AbortSignal): Promise<Sample> {
    const failed = unbound;
    const current = bound?.bound ?? (await (failed === undefined ? bind(signal) : bindSoon(signal)));
    if (current === undefined) throw failed;
    const reading = await brokers.of(current).read(current.question, signal);
    if (!credentials.available || reading === refused || !isRefusal(reading)) return judged(reading, current);
    // The secret may have been rotated: where it was, the new one is asked with at once.
    refused = reading;
    credentials.refused(reference);
    const renewed = (await bindSoon(signal)) ?? current;
    return judged(renewed === current ? reading : await brokers.of(renewed).read(renewed.question, signal), renewed);
  }

  const trigger: Trigger = {
    reference,
    scaler,
    spec,
    told: undefined,

    latest() {
      if (bound === undefined) return undefined;
      const { bound: by, since } = bound;
      if (credentials.available && !rebinding && performance.now() - since > REBIND_MS) void rebind();
      const reading = brokers.of(by).latest(by.question);
      // Other credentials may be there: that is worth a moment.
      if (reading === undefined || (credentials.available && reading !== refused && isRefusal(reading))) return undefined;
      try {
        return judged(reading, by);
      } catch (thrown) {
        observer.trouble(trigger, toQueueScalerError(thrown));
        throw thrown;
      }
    },

    async read(signal) {
      const known = trigger.latest();
      if (known !== undefined) return known;
      try {
        return await readNow(signal);
      } catch (thrown) {
        if (!signal.aborted) observer.trouble(trigger, toQueueScalerError(thrown));
        throw thrown;
      }
    },

    watch(watcher) {
      let sleeping = true;
      let unwatch: (() => void) | undefined;
      let following: Bound | undefined;
      let timer: NodeJS.Timeout | undefined;
      let binding: AbortController | undefined;
      let stopped = false;

      const tell = (error: QueueScalerError): void => {
        observer.trouble(trigger, error);
        watcher.trouble(error);
      };

      const hear = (reading: Reading, afresh: boolean, current: Bound): void => {
        if (stopped || current !== following) return;
        if (!reading.known) {
          if (credentials.available && isRefusal(reading)) credentials.refused(reference);
          tell(reading.error);
          return;
        }
        try {
          const sample = decided(reading, current);
          sleeping = !sample.decision.active;
          watcher.sample(sample, afresh);
        } catch (thrown) {
          tell(toQueueScalerError(thrown));
        }
      };

      const follow = async (): Promise<void> => {
        try {
          binding = new AbortController();
          const current = await bind(binding.signal);
          if (stopped) return;
          if (current !== following) {
            unwatch?.();
            following = current;
            unwatch = brokers.of(current).watch(current.question, {
              sleeping: () => sleeping,
              report: (reading, afresh = false) => {
                hear(reading, afresh, current);
              },
            });
          }
        } catch (thrown) {
          if (!stopped) tell(toQueueScalerError(thrown));
        }
        binding = undefined;
        // Only credentials from elsewhere can change under a watch.
        if (credentials.available && !stopped) timer = setTimeout(() => void follow(), REBIND_MS);
      };

      void follow();
      return () => {
        stopped = true;
        clearTimeout(timer);
        binding?.abort();
        unwatch?.();
      };
    },
  };
  return trigger;
}

function isRefusal(reading: Reading): boolean {
  const error = reading.known ? reading.since : reading.error;
  return error?.spec.retry === 'credentials';
}
