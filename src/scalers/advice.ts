/**
 * What `check` and `convert` may learn from a broker's folder about KEDA's own scaler of that name: its keys, what people write
 * instead of them, which settings mislead, and what changes when this program takes the trigger over. Only these commands load it.
 */
import { BOOLEAN } from '../keda.ts';
import { IN_PROGRESS, type InProgress } from './inProgress.ts';

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

/** What the trigger's object makes of its metric. */
export interface ScaledBy {
  /** There is no worker while the trigger is inactive. */
  readonly scalesToZero: boolean;
  /** Workers are stopped once the trigger is inactive; jobs run to their end. */
  readonly stopsWorkers: boolean;
  /** A formula decides on metric and activity. */
  readonly hasFormula: boolean;
  /** What a ScaledJob's strategy needs done with messages that jobs hold; undefined for a ScaledObject. */
  readonly jobCount: Exclude<InProgress, 'ignore'> | 'neither' | undefined;
  /** How many triggers the object has. */
  readonly triggers: number;
}

/** A trigger of KEDA's own scaler. */
export interface BuiltInTrigger extends ScaledBy {
  readonly type: string;
  readonly metadata: Metadata;
  /** Whether the key has a value, or may get one from an authentication that is not in the files. */
  readonly has: (key: string) => boolean;
}

/** A trigger of this program's scaler. */
export interface ExternalTrigger extends ScaledBy {
  /** With variables' values where they are known. */
  readonly metadata: Metadata;
  /** The value of a key, wherever it stands, or its default; undefined also where it is not known yet. */
  readonly value: (key: string) => string | undefined;
  readonly metricType: string;
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
  | 'in-progress-in-job'
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
  options?: { readonly part?: 'key'; readonly fix?: string | undefined; readonly severity?: 'error' | 'warning' },
) => void;

export interface Advice {
  readonly builtInKeys: BuiltInKeys;
  /** Keys without which KEDA's scaler refuses the trigger. */
  readonly required: readonly string[];
  /** What people call the scaler where no spelling of a scaler's name is near. */
  readonly alsoCalled?: RegExp;
  /** The name of the scaler's page in KEDA's documentation, where that is not its type. */
  readonly page?: string;
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
  /** Whether a trigger with this metadata counts the messages that workers hold, unless `inProgress` says otherwise. */
  countsInProgress?(metadata: Metadata): boolean;
  /** What a trigger of KEDA's with this metadata will do differently as one of this program's; only what can happen with its settings. */
  differences?(metadata: Metadata, by: ScaledBy): readonly string[];
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

/** What `inProgress` says; `otherwise` where it says nothing that there is. */
export function inProgressOf({ value }: ExternalTrigger, otherwise: InProgress = 'count'): InProgress {
  return IN_PROGRESS.find((each) => each === value('inProgress')) ?? otherwise;
}

/** Reports what `inProgress` of a trigger that knows of messages in progress makes of its object; at `key`, which says so. */
export function checkInProgress(trigger: ExternalTrigger, report: ReportKey, inProgress: InProgress, key = 'inProgress'): void {
  const { jobCount, stopsWorkers, hasFormula } = trigger;
  if (stopsWorkers && inProgress === 'ignore')
    report('busy-excluded', key, 'with scale to zero the worker of the last message may be stopped while it works', {
      fix: 'leave it out, or set minReplicaCount to 1',
    });
  if (stopsWorkers && inProgress === 'active' && hasFormula)
    report('busy-excluded', key, 'beside a formula only the value counts: the worker of the last message may be stopped', {
      fix: 'count',
    });
  const rule = 'in-progress-in-job';
  if (jobCount === 'neither')
    report(rule, key, 'the strategy subtracts a part of the jobs that run, which fits no way of counting what they hold', {
      part: 'key',
      fix: 'strategy accurate, and inProgress: active',
      severity: 'warning',
    });
  else if (jobCount === 'active' && inProgress === 'count')
    report(
      rule,
      key,
      'the strategy does not subtract jobs that run: each poll makes a job more for each message that one holds',
      {
        part: 'key',
        fix: 'inProgress: active',
      },
    );
  else if (jobCount === 'count' && inProgress !== 'count')
    report(rule, key, 'the strategy subtracts all jobs that run: a message gets none while as many run as messages wait', {
      part: 'key',
      fix: 'inProgress: count, or strategy accurate',
      severity: 'warning',
    });
}

/** For `convert`: how messages in progress will count in a ScaledJob. */
export function inProgressInJob({ jobCount }: ScaledBy, messages: string): string | undefined {
  switch (jobCount) {
    case undefined:
      return undefined;
    case 'count':
      return `${messages} count as well, as its strategy subtracts the jobs that run`;
    case 'active':
      return `inProgress: active keeps ${messages} out of the value, as its strategy subtracts no jobs that run`;
    case 'neither':
      return `its strategy subtracts a part of the jobs that run, which fits no way of counting ${messages}: see check`;
  }
}
