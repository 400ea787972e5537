/**
 * What `check` and `convert` may learn from a broker's folder about KEDA's own scaler of that name: its keys, what people write
 * instead of them, which settings mislead, and what changes when this program takes the trigger over. Only these commands load it.
 */
import { BOOLEAN } from '../keda.ts';

/** Where KEDA's own scaler reads a key. M: metadata, A: authentication, E: `…FromEnv` in metadata. */
export type BuiltInPlaces = `${'M' | ''}${'A' | ''}${'E' | ''}`;
export type BuiltInKeys = Readonly<Record<string, BuiltInPlaces>>;

/** What to do about a name that no scaler reads; `name` is the right one, where there is one. */
export interface OtherName {
  readonly name?: string;
  readonly advice: string;
}

/** The usual {@link OtherName}, with a word more where that is needed. */
export function write(name: string, more = ''): OtherName {
  return { name, advice: `write ${name}${more}` };
}

/** How one entry of the metadata changes; without `value` that stays. */
export interface KeyChange {
  readonly key: string;
  readonly value?: string;
  readonly why: string;
}

type Metadata = Readonly<Record<string, string>>;

/** A trigger of KEDA's own scaler. */
export interface BuiltInTrigger {
  readonly type: string;
  readonly metadata: Metadata;
  /** Whether the key has a value, or may get one from an authentication that is not in the files. */
  readonly has: (key: string) => boolean;
}

/** A trigger of this program's scaler. */
export interface ExternalTrigger {
  /** With variables' values where they are known. */
  readonly metadata: Metadata;
  /** The value of a key, wherever it stands, or its default; undefined also where it is not known yet. */
  readonly value: (key: string) => string | undefined;
  readonly metricType: string;
  readonly scalesToZero: boolean;
  /** How many triggers its object has. */
  readonly triggers: number;
}

/** The rules of `check` that may be reported of a trigger's key. */
export type AdviceRule =
  | 'activation-high'
  | 'average-of-ratio'
  | 'bad-value'
  | 'built-in-risk'
  | 'busy-excluded'
  | 'busy-unseen'
  | 'deprecated'
  | 'missing-is-zero'
  | 'missing-key'
  | 'pattern-suspicious'
  | 'rate-only'
  | 'stream-cannot-wake'
  | 'stream-never-empty';

/** Reports at the key's value, or with `part` at the key itself. `fix` says what to write instead, or to do. */
export type ReportKey = (
  rule: AdviceRule,
  key: string,
  message: string,
  options?: { readonly part?: 'key'; readonly fix?: string | undefined },
) => void;

export interface Advice {
  readonly builtInKeys: BuiltInKeys;
  /** Keys without which KEDA's scaler refuses the trigger. */
  readonly required: readonly string[];
  /** What people call the scaler where no spelling of a scaler's name is near. */
  readonly alsoCalled?: RegExp;
  /** By the wrong name of a key, in lower case. */
  readonly otherNames?: Readonly<Record<string, OtherName>>;
  /** Of keys that KEDA reads for its connection to this program: what to write for the broker's; `name` is the fix. */
  readonly connectionKeys?: Readonly<Record<string, OtherName>>;
  /** The key that accepts any certificate of the broker. */
  readonly uncheckedCertificate?: string;
  /** Logins in a URL that are no secret, as every broker of that kind begins with them. */
  readonly publicLogin?: RegExp;
  /** Where the broker's figures lag behind: how long, in seconds, until a zero is sure. */
  readonly sureZero?: { readonly broker: string; seconds(value: ExternalTrigger['value']): number };
  /** Reports what KEDA's scaler refuses, and what it is known to do wrong. */
  checkBuiltIn?(trigger: BuiltInTrigger, report: ReportKey): void;
  /** Reports settings that are valid and yet lose work, time or sleep. */
  checkRisks?(trigger: ExternalTrigger, report: ReportKey): void;
  /** What a trigger of KEDA's with this metadata will do differently as one of this program's; only what can happen with its settings. */
  differences?(metadata: Metadata): readonly string[];
  /** Undefined where key and value stay. */
  toExternal?(key: string, value: string): KeyChange | undefined;
  toBuiltIn?(key: string, value: string): KeyChange | undefined;
}

/** Reports a number that KEDA's scaler would not take; `least` may be `Number.MIN_VALUE` for "above 0". */
export function checkNumber({ metadata }: BuiltInTrigger, report: ReportKey, key: string, least: number, whole = false): void {
  const text = metadata[key]?.trim();
  if (text === undefined || text === '') return;
  const value = /^-?\d+(?:\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isNaN(value) || value < least || (whole && !Number.isInteger(value))) {
    const bound = least >= 1 ? `of at least ${least}` : least === 0 ? 'of at least 0' : 'above 0';
    report('bad-value', key, `${key} must be a ${whole ? 'whole ' : ''}number ${bound}`);
  }
}

/** Reports a text that is neither true nor false to KEDA. */
export function checkBoolean({ metadata }: BuiltInTrigger, report: ReportKey, key: string): void {
  const text = metadata[key]?.trim();
  if (text === undefined || text === '' || BOOLEAN.test(text)) return;
  report('bad-value', key, `${key} must be true or false`, { fix: '"true" or "false"' });
}
