/**
 * The triggers that KEDA has asked about, each checked when first seen and remembered. One trigger's fault reaches no other.
 */
import { LRUCache } from 'lru-cache';
import type { CredentialSource, TriggerReference } from '../auth/credentials.ts';
import { TriggerError } from '../errors.ts';
import { SCALERS, scalerOf } from './registry.ts';
import { invalidTrigger, type Scaler } from './contract.ts';
import { createTrigger, type Trigger, type TriggerObserver } from './trigger.ts';
import type { BrokerPool } from './brokerPool.ts';

/** More metadata than this is refused unread: a trigger has a few hundred bytes. */
export const MAX_METADATA_BYTES = 262_144;
/** All triggers remembered as parsed, together; one that was dropped is simply parsed again. Enough for all that may have two streams each. */
const MAX_REMEMBERED_BYTES = 134_217_728;
/** What a trigger that has been watched holds beside its metadata: measured with 20 000, of which 1.8 KB before the first reading. */
const TRIGGER_BYTES = 4_500;

const noObserver: TriggerObserver = { sample: () => undefined, trouble: () => undefined };

export interface Triggers {
  /** Throws a {@link TriggerError} that lists every fault of the metadata. */
  find(reference: TriggerReference): Trigger;
  /** The triggers remembered, latest used first. */
  all(): readonly Trigger[];
}

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
