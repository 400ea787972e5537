/** What the Redis scalers make of keys alone, without a server. */
import { TriggerError } from '../../../src/errors.ts';
import { scalerOf } from '../../../src/scalers/registry.ts';
import type { Bound } from '../../../src/scalers/contract.ts';

export type Words = Record<string, string>;

/** What a trigger of that type needs beside its address. */
export function minimal(scaler: string): Words {
  return {
    scaler,
    ...(scaler.endsWith('streams') ? { stream: 's' } : { listName: 'q' }),
    ...(scaler.includes('sentinel') ? { sentinelMaster: 'mymaster' } : {}),
  };
}

export function bind(metadata: Words, authentication: Words = {}): Bound {
  return scalerOf(metadata).bind(metadata, authentication);
}

/** The keys that are at fault; none where the trigger is valid. */
export function faults(metadata: Words, authentication: Words = {}): string[] {
  try {
    bind(metadata, authentication);
  } catch (thrown) {
    if (thrown instanceof TriggerError) return thrown.faults.map(({ key }) => key);
    throw thrown;
  }
  return [];
}
