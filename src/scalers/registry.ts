/**
 * The scalers there are, by the name in `metadata.scaler`; adding one is one line here.
 */
import { invalidTrigger, type Scaler } from './scaler.ts';
import { nearestName, SCALER_KEY } from './metadata.ts';

export const SCALERS: readonly Scaler[] = [];

const byType = new Map(SCALERS.map((scaler) => [scaler.type, scaler]));

/** The scaler that the metadata names. Throws a {@link TriggerError} that lists the names there are. */
export function scalerOf(metadata: Readonly<Record<string, string>>): Scaler {
  const type = metadata[SCALER_KEY]?.trim() ?? '';
  const scaler = byType.get(type);
  if (scaler !== undefined) return scaler;
  const types = [...byType.keys()].join(', ');
  const nearest = nearestName(type, [...byType.keys()]);
  const message =
    type === ''
      ? `is required in metadata: one of ${types}`
      : `must be one of ${types}, not ${JSON.stringify(type.slice(0, 60))}${nearest === undefined ? '' : `; did you mean ${nearest}?`}`;
  throw invalidTrigger(type === '' ? '(none)' : type.slice(0, 60), [{ key: SCALER_KEY, message }]);
}
