/**
 * Triggers of KEDA's own scalers that this program can stand in for, checked as KEDA 2.20 reads them: it ignores what it does not
 * know, so that nothing else would report a misspelt key. https://keda.sh/docs/latest/scalers/
 */
import { FROM_ENV } from '../../keda.ts';
import { nearestName } from '../../scalers/metadata.ts';
import { isBuiltInKey, type KnownScaler } from '../knownScalers.ts';
import { scaledBy } from '../scaledBy.ts';
import { authenticationOf } from './authentication.ts';
import { otherNameOfKey } from './otherNames.ts';
import { didYouMean } from './structure.ts';
import { keyPath, reportKeysOf, type TriggerLocation } from './triggerLocation.ts';

/** Keys that KEDA reads of every trigger, whatever its type. */
const COMMON_KEYS: ReadonlySet<string> = new Set(['triggerIndex']);

export function checkBuiltIn(location: TriggerLocation, { advice }: KnownScaler): void {
  const { type, metadata, report, path } = location;
  const keys = advice.builtInKeys;
  report('built-in-trigger', [...path, 'type'], `KEDA’s own ${type} scaler reads this trigger`, {
    fix: 'queue-scaler convert makes it one of this scaler',
  });
  const names = [
    ...Object.keys(keys).filter((name) => keys[name]?.includes('M')),
    ...Object.keys(keys).flatMap((name) => (keys[name]?.includes('E') === true ? [`${name}${FROM_ENV}`] : [])),
  ];
  for (const name of Object.keys(metadata)) {
    if (isBuiltInKey(advice, name) || COMMON_KEYS.has(name)) continue;
    if (keys[name]?.includes('A') === true) {
      report('unknown-key', keyPath(location, name), `${name} is read from a TriggerAuthentication only; KEDA ignores it here`, {
        part: 'key',
      });
      continue;
    }
    const other = otherNameOfKey(advice, name);
    const nearest = other === undefined ? nearestName(name, names) : other.name;
    const hint = other === undefined ? didYouMean(nearest) : `; ${other.advice}`;
    report('unknown-key', keyPath(location, name), `${name} is not a key of KEDA’s ${type} scaler, which ignores it${hint}`, {
      part: 'key',
      fix: nearest,
    });
  }
  const given = authenticationOf(location);
  const has = (name: string): boolean =>
    metadata[name] !== undefined ||
    metadata[`${name}${FROM_ENV}`] !== undefined ||
    given === 'elsewhere' ||
    (typeof given === 'object' && (given.open || given.parameters.has(name)));
  if (typeof given === 'object') {
    for (const [name] of given.parameters) {
      if (keys[name]?.includes('A') === true) continue;
      const nearest = nearestName(
        name,
        Object.keys(keys).filter((key) => keys[key]?.includes('A')),
      );
      if (nearest !== undefined && nearest !== name)
        report(
          'unknown-parameter',
          [...path, 'authenticationRef', 'name'],
          `the authentication gives ${name}, which KEDA’s ${type} scaler does not read${didYouMean(nearest)}`,
          { fix: nearest },
        );
    }
  }
  const reportKey = reportKeysOf(location);
  for (const name of advice.required)
    if (!has(name)) reportKey('missing-key', name, `${name} is required by KEDA’s ${type} scaler`, { part: 'key' });
  advice.checkBuiltIn?.({ type, metadata, has, ...scaledBy(location.object) }, reportKey);
}
