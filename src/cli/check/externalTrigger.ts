/**
 * Triggers of this program's scalers, read by the very tables that the server reads them by, so that what passes here is taken there.
 */
import type { Fault } from '../../errors.ts';
import { FROM_ENV, KEDA_KEYS, KEDA_PARAMETERS } from '../../keda.ts';
import { metadataNames, nearestName, SCALER_KEY, type Key } from '../../scalers/metadata.ts';
import type { Scaler } from '../../scalers/contract.ts';
import type { KnownScaler } from '../knownScalers.ts';
import { authenticationOf, sourceContainerOf, variableOf, type Given } from './authentication.ts';
import { pathText } from './finding.ts';
import { otherNameOfKey } from './otherNames.ts';
import { keyPath, type TriggerLocation } from './triggerLocation.ts';
import { didYouMean } from './structure.ts';

/** What is known of a trigger before it runs. */
export interface KnownTrigger extends KnownScaler {
  /** Metadata with variables' values where they are known. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The value of a key, wherever it stands; undefined also where it is not known yet. */
  readonly value: (key: string) => string | undefined;
}

/** Whether an external trigger is, or was meant to be, for this program. */
export function isForThisProgram({ metadata, scalers }: TriggerLocation): boolean {
  if (metadata[SCALER_KEY] !== undefined) return true;
  if (metadata['scalerAddress']?.includes('queue-scaler') === true) return true;
  const keys = new Set(scalers.flatMap(({ scaler }) => metadataNames(scaler.keys)));
  return Object.keys(metadata).some((key) => keys.has(key) && !KEDA_KEYS.includes(key));
}

/** Reports all faults of the trigger; undefined where not even the scaler is known. */
export function checkExternalTrigger(location: TriggerLocation): KnownTrigger | undefined {
  const known = scalerOf(location);
  if (known === undefined) return undefined;
  const { scaler } = known;

  const pending = new Set<string>();
  const metadata: Record<string, string> = {};
  for (const [key, value] of Object.entries(location.metadata)) {
    const canonical = key.endsWith(FROM_ENV) ? canonicalKey(scaler, key.slice(0, -FROM_ENV.length)) : undefined;
    if (canonical === undefined) {
      metadata[key] = value;
      continue;
    }
    const found = variableOf(location, sourceContainerOf(location.object), value.trim());
    if (found.state === 'known') metadata[key] = found.value;
    else {
      metadata[key] = value;
      if (Object.keys(location.metadata).every((other) => canonicalKey(scaler, other) !== canonical)) pending.add(canonical);
    }
    if (found.state === 'absent') {
      const nearest = nearestName(value, found.names);
      const message = `${found.owner} sets no variable ${value}, so KEDA leaves ${key} out${didYouMean(nearest)}`;
      location.report('variable-missing', keyPath(location, key), message, { fix: nearest });
    } else if (found.state === 'known' && found.value.trim() === '') {
      location.report('variable-missing', keyPath(location, key), `variable ${value} is empty, so KEDA leaves ${key} out`);
    }
  }

  const given = authenticationOf(location);
  const parameters: Record<string, string> = {};
  if (typeof given === 'object') {
    for (const [name, { lookup }] of given.parameters) {
      const canonical = canonicalKey(scaler, name);
      if (lookup.state === 'known') parameters[name] = lookup.value;
      else if (canonical !== undefined && !Object.hasOwn(metadata, name)) pending.add(canonical);
    }
    checkParameters(location, known, given);
  }
  const authentication = given === 'elsewhere' || (typeof given === 'object' && given.open) ? undefined : parameters;
  for (const fault of scaler.faults(metadata, authentication, pending)) reportFault(fault, location, known, given);
  return {
    ...known,
    metadata,
    value: (key) => {
      if (pending.has(key)) return undefined;
      const found = metadata[key] ?? metadata[`${key}${FROM_ENV}`] ?? parameters[key] ?? scaler.keys[key]?.default;
      return found?.trim() === '' ? undefined : found?.trim();
    },
  };
}

function scalerOf({ metadata, report, path, scalers }: TriggerLocation): KnownScaler | undefined {
  const type = metadata[SCALER_KEY]?.trim() ?? '';
  const known = scalers.find(({ scaler }) => scaler.type === type);
  if (known !== undefined) return known;
  const types = scalers.map(({ scaler }) => scaler.type);
  if (type === '') {
    report('unknown-scaler', [...path, 'metadata'], `metadata must name the scaler: scaler: one of ${types.join(', ')}`, {
      part: 'key',
    });
  } else {
    const nearest = nearestName(type, types) ?? scalers.find(({ advice }) => advice.alsoCalled?.test(type))?.scaler.type;
    report(
      'unknown-scaler',
      [...path, 'metadata', SCALER_KEY],
      `there is no scaler ${JSON.stringify(type.slice(0, 60))}${didYouMean(nearest)}`,
      { fix: nearest ?? `one of ${types.join(', ')}` },
    );
  }
  return undefined;
}

function canonicalKey(scaler: Scaler, spelling: string): string | undefined {
  if (Object.hasOwn(scaler.keys, spelling)) return spelling;
  return Object.entries(scaler.keys).find(([, key]) => key.aliases.includes(spelling))?.[0];
}

function checkParameters(location: TriggerLocation, { scaler, advice }: KnownScaler, { object, parameters }: Given): void {
  const readable = Object.entries(scaler.keys).flatMap(([name, key]) =>
    key.places.includes('authentication') ? [name, ...key.aliases] : [],
  );
  for (const [name, { path }] of parameters) {
    if (readable.includes(name) || KEDA_PARAMETERS.includes(name)) continue;
    const nearest = nearestName(name, [...readable, ...KEDA_PARAMETERS]) ?? otherNameOfKey(advice, name)?.name;
    const place = object.positionOf(path);
    const where = `${object.kind} ${object.name} (${place.file}:${place.line})`;
    location.report(
      'unknown-parameter',
      [...location.path, 'authenticationRef', 'name'],
      `${where} gives ${name}, which scaler ${scaler.type} does not read from an authentication${didYouMean(nearest)}`,
      { fix: nearest, severity: nearest === undefined ? 'warning' : 'error' },
    );
  }
}

function reportFault(
  { key, message }: Fault,
  location: TriggerLocation,
  { scaler, advice }: KnownScaler,
  given: Given | 'none' | 'elsewhere',
): void {
  const entry = entryOf(key, scaler.keys[key], location);
  if (entry === undefined) {
    const source = typeof given === 'object' ? given.parameters.get(key) : undefined;
    if (source !== undefined && typeof given === 'object') {
      const place = given.object.positionOf(source.path);
      const where = `${given.object.kind} ${given.object.name} (${place.file}:${place.line} ${pathText(source.path)})`;
      location.report('bad-value', [...location.path, 'authenticationRef', 'name'], `${key} ${message}; it comes from ${where}`);
    } else location.report('missing-key', keyPath(location, key), `${key} ${message}`);
    return;
  }
  const known = Object.hasOwn(scaler.keys, key) || entry.endsWith(FROM_ENV);
  if (known && !message.startsWith('is not read from metadata')) {
    location.report('bad-value', keyPath(location, entry), `${key} ${message}`);
    return;
  }
  const other = otherNameOfKey(advice, key);
  const nearest = other?.name ?? nearestName(key, [...metadataNames(scaler.keys), SCALER_KEY]);
  const text = other === undefined ? message : `is not a key of scaler ${scaler.type}; ${other.advice}`;
  location.report('unknown-key', keyPath(location, entry), `${key} ${text}`, { part: 'key', fix: known ? undefined : nearest });
}

/** The spelling under which a key stands in the trigger's metadata. */
function entryOf(name: string, key: Key | undefined, { metadata }: TriggerLocation): string | undefined {
  const spellings = [name, ...(key?.aliases ?? [])];
  return [...spellings, ...spellings.map((spelling) => `${spelling}${FROM_ENV}`)].find((spelling) =>
    Object.hasOwn(metadata, spelling),
  );
}
