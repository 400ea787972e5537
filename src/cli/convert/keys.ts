/**
 * How one trigger's keys change between KEDA's own scaler and this one: a few are called otherwise, as KEDA reads those names of an
 * external trigger for itself, and what KEDA ignored in silence is set aside.
 */
import type { KeyChange } from '../../scalers/advice.ts';
import { metadataNames } from '../../scalers/metadata.ts';
import { isBuiltInKey, type KnownScaler } from '../knownScalers.ts';

/** What becomes of one entry of the metadata. */
export type EntryChange =
  { readonly kind: 'keep' } | ({ readonly kind: 'change' } & KeyChange) | { readonly kind: 'aside'; readonly why: string };

/** From KEDA's own scaler to ours of the same name. */
export function toExternal({ scaler, advice }: KnownScaler, key: string, value: string): EntryChange {
  const change = advice.toExternal?.(key, value);
  if (change !== undefined) return { kind: 'change', ...change };
  if (metadataNames(scaler.keys).includes(key)) return { kind: 'keep' };
  return { kind: 'aside', why: `KEDA’s ${scaler.type} scaler ignored ${key}` };
}

/** The way back. */
export function toBuiltIn({ scaler, advice }: KnownScaler, key: string, value: string): EntryChange {
  if (key === 'scaler' || key === 'scalerAddress') return { kind: 'aside', why: '' };
  const change = advice.toBuiltIn?.(key, value);
  if (change !== undefined) return { kind: 'change', ...change };
  if (isBuiltInKey(advice, key)) return { kind: 'keep' };
  return { kind: 'aside', why: `KEDA’s ${scaler.type} scaler has no key ${key}` };
}
