/**
 * Reads a trigger's keys by a table: where each may stand, what type it has, what it is when absent; finds all faults at once.
 */
import type { z } from 'zod';
import type { Fault } from '../errors.ts';
import { FROM_ENV, KEDA_KEYS } from '../keda.ts';

/** Where a key's value may stand: in the trigger's metadata, there as `<key>FromEnv` (value already resolved), or in its authentication. */
export type Place = 'metadata' | 'environment' | 'authentication';

/** One key of a trigger. The tables of the reference documentation are made from these. */
export interface Key<Value = unknown> {
  readonly schema: z.ZodType<Value, string>;
  /** Places in the order of precedence. */
  readonly places: readonly Place[];
  readonly required: boolean;
  /** The value when the key is absent, as the user would write it. */
  readonly default?: string;
  /** One or two sentences for the user. */
  readonly doc: string;
  readonly secret: boolean;
  /** The key names hosts that are spoken to, but for these words: credentials of another namespace never go to a host named here. */
  readonly endpoint: { readonly noHost: readonly string[] } | undefined;
  readonly deprecated?: string;
  /** Other spellings, tried after the key's own name at each place. */
  readonly aliases: readonly string[];
}

export type KeyTable = Readonly<Record<string, Key>>;

/** The parsed values of a table; a key that is neither required nor has a default may be undefined. */
export type Values<Table extends KeyTable> = {
  readonly [Name in keyof Table]: Table[Name] extends { readonly required: true } | { readonly default: string }
    ? z.output<Table[Name]['schema']>
    : z.output<Table[Name]['schema']> | undefined;
};

type KeyOptions = Partial<Omit<Key, 'schema' | 'doc' | 'endpoint'>>;

/** Of schemas whose values name hosts. */
const endpointSchemas = new WeakMap<z.ZodType, NonNullable<Key['endpoint']>>();

/** Marks a schema as one whose values name hosts, but for the words in `noHost`; so are then the keys that are declared with it. */
export function endpoint<Schema extends z.ZodType>(schema: Schema, noHost: readonly string[] = []): Schema {
  endpointSchemas.set(schema, { noHost });
  return schema;
}

/** Declares a key; without options it is optional, not secret, and stands in metadata only. */
export function key<Value, const Options extends KeyOptions = object>(
  doc: string,
  schema: z.ZodType<Value, string>,
  options?: Options,
) {
  const defaults = { places: ['metadata'], required: false, secret: false, aliases: [], endpoint: endpointSchemas.get(schema) };
  return { schema, doc, ...defaults, ...options } as unknown as Omit<Key<Value>, 'required' | 'default'> & {
    readonly required: Options extends { required: true } ? true : false;
  } & (Options extends { default: string } ? { readonly default: string } : object);
}

/** The key that names the scaler; read by the registry. */
export const SCALER_KEY = 'scaler';

const MAX_SHOWN = 60;

export interface Parsed<Table extends KeyTable> {
  /** All values that could be read. Complete, and of the type {@link Values}, only if `faults` is empty and nothing is awaited. */
  readonly values: Partial<Values<Table>>;
  readonly faults: readonly Fault[];
  /** Keys that are absent so far and may still get a value. */
  readonly awaited: ReadonlySet<string>;
}

/**
 * Reads `metadata` and `authentication` by the table. With `authentication` undefined it is not known yet: a required key that may
 * stand there is then awaited, not missing. Keys in `pending` are awaited too: they will have a value that nobody knows yet.
 */
export function readKeys<Table extends KeyTable>(
  table: Table,
  metadata: Readonly<Record<string, string>>,
  authentication: Readonly<Record<string, string>> | undefined,
  pending: ReadonlySet<string> = new Set(),
): Parsed<Table> {
  const faults: Fault[] = unknownKeys(table, metadata);
  const values: Record<string, unknown> = {};
  const awaited = new Set<string>();

  for (const [name, key] of Object.entries(table)) {
    if (pending.has(name)) {
      awaited.add(name);
      continue;
    }
    const found = lookUp(name, key, metadata, authentication);
    if (found === undefined) {
      if (key.places.includes('authentication') && authentication === undefined) awaited.add(name);
      else if (key.required) faults.push({ key: name, message: `is required ${inPlaces(name, key)}` });
      if (key.default !== undefined) values[name] = defaultOf(key, key.default);
      continue;
    }
    const result = key.schema.safeParse(found);
    if (result.success) values[name] = result.data;
    else {
      const got = key.secret ? '' : `, not ${show(found)}`;
      faults.push({ key: name, message: `${result.error.issues[0]?.message ?? 'is not valid'}${got}` });
    }
  }
  return { values: values as Partial<Values<Table>>, faults, awaited };
}

const defaults = new WeakMap<Key, unknown>();

function defaultOf(key: Key, text: string): unknown {
  let value = defaults.get(key);
  if (value === undefined) defaults.set(key, (value = key.schema.parse(text)));
  return value;
}

function lookUp(
  name: string,
  key: Key,
  metadata: Readonly<Record<string, string>>,
  authentication: Readonly<Record<string, string>> | undefined,
): string | undefined {
  for (const place of key.places) {
    for (const spelling of [name, ...key.aliases]) {
      const source = place === 'authentication' ? authentication : metadata;
      const raw = own(source, place === 'environment' ? `${spelling}${FROM_ENV}` : spelling)?.trim();
      if (raw !== undefined && raw !== '') return raw;
    }
  }
  return undefined;
}

function own(record: Readonly<Record<string, string>> | undefined, name: string): string | undefined {
  return record !== undefined && Object.hasOwn(record, name) ? record[name] : undefined;
}

/** Of each table made once: ten thousand triggers ask for them when a scaler starts. */
const namesOf = new WeakMap<KeyTable, readonly string[]>();

/** The names under which a key may stand in metadata. */
export function metadataNames(table: KeyTable): readonly string[] {
  let names = namesOf.get(table);
  if (names === undefined) namesOf.set(table, (names = listNames(table)));
  return names;
}

function listNames(table: KeyTable): string[] {
  return Object.entries(table).flatMap(([name, key]) =>
    [name, ...key.aliases].flatMap((spelling) => [
      ...(key.places.includes('metadata') ? [spelling] : []),
      ...(key.places.includes('environment') ? [`${spelling}${FROM_ENV}`] : []),
    ]),
  );
}

function unknownKeys(table: KeyTable, metadata: Readonly<Record<string, string>>): Fault[] {
  const names = metadataNames(table);
  return Object.keys(metadata)
    .filter((name) => !names.includes(name) && name !== SCALER_KEY && !KEDA_KEYS.includes(name))
    .map((name) => {
      const inAuthentication = Object.hasOwn(table, name) && table[name]?.places.includes('authentication') === true;
      if (inAuthentication) return { key: name, message: 'is not read from metadata; give it in a TriggerAuthentication' };
      const nearest = nearestName(name, [...names, SCALER_KEY]);
      return {
        key: name.slice(0, MAX_SHOWN),
        message: `is not a key of this scaler${nearest === undefined ? '' : `; did you mean ${nearest}?`}`,
      };
    });
}

function inPlaces(name: string, key: Key): string {
  const places = key.places.map((place) =>
    place === 'metadata' ? 'in metadata' : place === 'environment' ? `as ${name}${FROM_ENV}` : 'in a TriggerAuthentication',
  );
  return places.join(' or ');
}

function show(value: string): string {
  return JSON.stringify(value.length > MAX_SHOWN ? `${value.slice(0, MAX_SHOWN)}…` : value);
}

/** The candidate that a person most likely meant: the fewest edits, at most a third of the word's length. */
export function nearestName(word: string, candidates: readonly string[]): string | undefined {
  if (word.length > MAX_SHOWN) return undefined;
  let best: string | undefined;
  let least = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    const edits = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (edits < least) [best, least] = [candidate, edits];
  }
  return best;
}

/** Levenshtein's distance, https://en.wikipedia.org/wiki/Levenshtein_distance, two rows at a time. */
function editDistance(left: string, right: string): number {
  let previous = Array.from({ length: right.length + 1 }, (_, column) => column);
  for (let row = 1; row <= left.length; row++) {
    const current = [row];
    for (let column = 1; column <= right.length; column++) {
      const substitution = (previous[column - 1] ?? 0) + (left[row - 1] === right[column - 1] ? 0 : 1);
      current.push(Math.min(substitution, (previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1));
    }
    previous = current;
  }
  return previous[right.length] ?? 0;
}
