/**
 * The triggers that KEDA has asked about: each checked when first seen, bound to its credentials, read through its broker's reading
 * cache and decided. `spec` needs no I/O, and one trigger's fault reaches no other.
 */
import { LRUCache } from 'lru-cache';
import type { CredentialSource, TriggerReference } from '../auth/credentials.ts';
import { toQueueScalerError, TriggerError, type QueueScalerError } from '../errors.ts';
import type { Known, Reading } from './reading.ts';
import { SCALERS, scalerOf } from './registry.ts';
import { invalidTrigger, type Bound, type Decision, type MetricSpec, type Scaler } from './contract.ts';
import type { BrokerPool } from './brokerPool.ts';

/** More metadata than this is refused unread: a trigger has a few hundred bytes. */
export const MAX_METADATA_BYTES = 262_144;
/** All triggers remembered as parsed, together; one that was dropped is simply parsed again. Enough for all that may have two streams each. */
const MAX_REMEMBERED_BYTES = 134_217_728;
/** What a trigger that has been watched holds beside its metadata: measured with 20 000, of which 1.8 KB before the first reading. */
const TRIGGER_BYTES = 4_500;

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

const noObserver: TriggerObserver = { sample: () => undefined, trouble: () => undefined };

export interface Triggers {
  /** Throws a {@link TriggerError} that lists every fault of the metadata. */
  find(reference: TriggerReference): Trigger;
  /** The triggers remembered, latest used first. */
  all(): readonly Trigger[];
}

/** Credentials older than this are asked for again. */
const REBIND_MS = 5_000;
/** How long a call waits for credentials that could not be had before, or in place of refused ones. */
const BIND_AGAIN_MS = 200;

/** `scalers` are the registry’s unless a test has its own. */
export function createTriggers(
  credentials: CredentialSource,
  brokers: BrokerPool,
  scalers: readonly Scaler[] = SCALERS,
  observer: TriggerObserver = noObserver,
): Triggers {
  const triggers = new LRUCache<string, { readonly trigger: Trigger } | { readonly error: TriggerError }>({
    maxSize: MAX_REMEMBERED_BYTES,
  });

  function parse(reference: TriggerReference): Trigger {
    const scaler = scalerOf(reference.metadata, scalers);
    const spec = scaler.spec(reference.metadata, credentials.available ? 'later' : 'none');
    return createTrigger(reference, scaler, spec, credentials, brokers, observer);
  }

  return {
    find(reference) {
      const key = identityOf(reference);
      // A character takes three bytes at most, and what is remembered was counted then.
      if (key.length * 3 > MAX_METADATA_BYTES) metadataBytes(reference);
      let found = triggers.get(key);
      if (found === undefined) {
        // Once in the reference and once in its identity.
        const size = TRIGGER_BYTES + 2 * metadataBytes(reference);
        try {
          found = { trigger: parse(reference) };
        } catch (thrown) {
          if (!(thrown instanceof TriggerError)) throw thrown;
          found = { error: thrown };
        }
        triggers.set(key, found, { size });
      }
      if ('error' in found) throw found.error;
      return found.trigger;
    },
    all: () => [...triggers.values()].flatMap((found) => ('trigger' in found ? [found.trigger] : [])),
  };
}

/** One text for one reference: lengths keep parts apart, and the order of the metadata, which is a map on the wire, has no part in it. */
function identityOf({ namespace, name, metadata }: TriggerReference): string {
  const parts: (string | number)[] = [namespace.length, namespace, name.length, name];
  for (const key of Object.keys(metadata).sort()) {
    const value = metadata[key] ?? '';
    parts.push(key.length, key, value.length, value);
  }
  // Joined, it is one flat string: added up, it would stay a tree of many, for as long as the trigger is remembered.
  return parts.join(' ');
}

/** Throws if it is too much. */
function metadataBytes({ metadata }: TriggerReference): number {
  let bytes = 0;
  let largest = { key: '', bytes: 0 };
  for (const [key, value] of Object.entries(metadata)) {
    const size = Buffer.byteLength(key) + Buffer.byteLength(value);
    bytes += size;
    if (size > largest.bytes) largest = { key, bytes: size };
  }
  if (bytes <= MAX_METADATA_BYTES) return bytes;
  const message = `has ${largest.bytes} bytes of the metadata's ${bytes}; at most ${MAX_METADATA_BYTES} are allowed in all`;
  throw invalidTrigger(metadata['scaler']?.slice(0, 60) ?? '(none)', [{ key: largest.key.slice(0, 60), message }]);
}

function createTrigger(
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
    bound = { ...(await resolve(signal)), since: performance.now() };
    return bound.bound;
  }

  /** Looks for other credentials while what is known is still told; those are taken when their first answer is there. */
  async function rebind(): Promise<void> {
    rebinding = true;
    const signal = AbortSignal.timeout(REBIND_MS);
    try {
      const renewed = await resolve(signal);
      if (renewed.bound !== bound?.bound) await brokers.of(renewed.bound).read(renewed.bound.question, signal);
      bound = { ...renewed, since: performance.now() };
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
