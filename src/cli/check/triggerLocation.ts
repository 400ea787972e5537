/**
 * One trigger in its file: its metadata as text, and where it stands. Values that are not text are reported, then read as text.
 */
import { isScalar } from 'yaml';
import type { ReportKey } from '../../scalers/advice.ts';
import type { KnownScaler } from '../knownScalers.ts';
import { isRecord, textOf, type Path, type YamlObject } from '../../yaml/objects.ts';
import type { Report } from './finding.ts';
import type { Inventory } from './inventory.ts';

export interface TriggerLocation {
  readonly object: YamlObject;
  readonly index: number;
  /** `['spec', 'triggers', index]`. */
  readonly path: Path;
  readonly type: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly metricType: string;
  readonly authentication: { readonly name: string; readonly kind: string } | undefined;
  readonly inventory: Inventory;
  readonly scalers: readonly KnownScaler[];
  readonly report: Report;
}

/** What YAML 1.1, which Kubernetes' tools speak, takes for true and false. */
const OLD_BOOLEAN = /^(?:y|yes|n|no|on|off)$/i;
/** Typographic quotes, no-break spaces, zero-width characters, byte-order marks. */
const SUSPICIOUS = /[‘’“”„«»\u00a0\u200b-\u200f\u2028-\u202f\u2060\ufeff]/u;

export function triggerLocations(
  object: YamlObject,
  inventory: Inventory,
  scalers: readonly KnownScaler[],
  report: Report,
): TriggerLocation[] {
  const { triggers } = object.spec;
  if (!Array.isArray(triggers)) return [];
  return triggers.flatMap((trigger: unknown, index): TriggerLocation[] => {
    if (!isRecord(trigger)) return [];
    const path = ['spec', 'triggers', index];
    const reference = trigger['authenticationRef'];
    return [
      {
        object,
        index,
        path,
        type: typeof trigger['type'] === 'string' ? trigger['type'] : '',
        metadata: readMetadata(object, [...path, 'metadata'], trigger['metadata'], report),
        metricType: typeof trigger['metricType'] === 'string' ? trigger['metricType'] : '',
        authentication: isRecord(reference)
          ? { name: String(reference['name']), kind: textOf(reference['kind']) || 'TriggerAuthentication' }
          : undefined,
        inventory,
        scalers,
        report,
      },
    ];
  });
}

function readMetadata(object: YamlObject, path: Path, metadata: unknown, report: Report): Record<string, string> {
  if (!isRecord(metadata)) return {};
  const texts: [string, string][] = [];
  for (const [key, value] of Object.entries(metadata)) {
    const at = [...path, key];
    const node = object.nodeAt(at);
    if (isRecord(value) || Array.isArray(value)) {
      const wanted = Array.isArray(value) ? 'put the elements into one text, separated by commas' : 'write text';
      report('not-text', at, `${key} must be text: ${wanted}`);
    } else if (value === null || value === undefined) {
      report('not-text', at, `${key} has no value`, { fix: `${key}: ""` });
    } else if (typeof value !== 'string') {
      report(
        'not-text',
        at,
        `${key} must be text: put ${typeof value === 'boolean' ? 'true or false' : 'the number'} in quotes`,
        { fix: 'put it in quotes' },
      );
      texts.push([key, isScalar(node) && typeof node.source === 'string' ? node.source : JSON.stringify(value)]);
    } else if (isScalar(node) && node.type === 'PLAIN' && OLD_BOOLEAN.test(value)) {
      report('not-text', at, `${key}: kubectl takes an unquoted ${value} for true or false`, { fix: 'write "true" or "false"' });
      texts.push([key, value]);
    } else {
      if (SUSPICIOUS.test(value) || SUSPICIOUS.test(key)) {
        report('text-suspicious', at, `${key} holds a typographic quote or an invisible character`, {
          fix: 'type the line anew with plain quotes and spaces',
        });
      }
      texts.push([key, value]);
    }
  }
  return Object.fromEntries(texts);
}

/** Path of a metadata key. */
export function keyPath({ path }: TriggerLocation, key: string): Path {
  return [...path, 'metadata', key];
}

/** Reports of the trigger by the names of its keys. */
export function reportKeysOf(location: TriggerLocation): ReportKey {
  return (rule, key, message, options) => {
    location.report(rule, keyPath(location, key), message, options);
  };
}
