/**
 * What `check` can find, as one closed table of rules, and the shape of one finding; no finding may hold the value of a secret.
 */
import type { Path, Part, Position, YamlObject } from '../../yaml/objects.ts';

/** `error`: it will not work. `warning`: it will, but likely not as meant. `note`: worth knowing. */
export type Severity = 'error' | 'warning' | 'note';

interface Rule {
  readonly severity: Severity;
  /** One sentence for the documentation. */
  readonly doc: string;
}

const error = (doc: string): Rule => ({ severity: 'error', doc });
const warning = (doc: string): Rule => ({ severity: 'warning', doc });
const note = (doc: string): Rule => ({ severity: 'note', doc });

export const RULES = {
  'yaml-syntax': error('The text is not YAML, or the file cannot be read.'),
  'template-not-rendered': error('The file is a template, Helm’s or another’s: render it first.'),
  placeholder: error('A text that somebody or something was to fill in stands there still.'),
  'unknown-kind': error('KEDA has no object of this kind.'),
  'wrong-api-version': error('KEDA’s objects have the apiVersion `keda.sh/v1alpha1`.'),
  'unknown-field': error('The object has no such field; Kubernetes drops it in silence.'),
  'bad-field': error('A field has a value that KEDA does not take, or is missing.'),
  'duplicate-object': error('Two objects have the same kind, namespace and name.'),
  'not-text': error('All values of a trigger’s metadata are strings: numbers and true/false must be in quotes.'),
  'unknown-trigger-type': error('KEDA has no trigger of this type.'),
  'unknown-scaler': error('`metadata.scaler` is missing or is none of this program’s scalers.'),
  'unknown-key': error('The scaler has no such key.'),
  'missing-key': error('A key that the scaler requires stands nowhere.'),
  'bad-value': error('A key’s value is not one that the scaler takes, or contradicts another key.'),
  'scaler-address': error('`scalerAddress` is missing or is not an address that KEDA can dial.'),
  'scaler-link': warning('A key of KEDA’s own connection to this scaler has no effect, or not the effect one may think.'),
  'metric-type': error('KEDA does not take this `metricType` here.'),
  'variable-missing': error(
    'A `…FromEnv` key or an `env` authentication names a variable that the target’s container does not set.',
  ),
  'target-missing': warning('The workload to scale is not in the files, but one with a similar name is.'),
  'target-shared': error('Two objects scale the same workload.'),
  'authentication-missing': warning('No TriggerAuthentication of that name and kind is in the files.'),
  'authentication-unsupported': error('The authentication uses a source that this scaler does not read.'),
  'unknown-parameter': error('The scaler reads no authentication parameter of that name.'),
  'duplicate-parameter': warning('Two sources of an authentication give the same parameter; the later one wins.'),
  'reference-missing': error('A Secret or ConfigMap of the files has no such key.'),
  'secret-line-end': warning('A secret ends in a line break or a space, as `echo` without `-n` makes it.'),
  'secret-in-manifest': warning('A password stands in the trigger in clear.'),
  'duplicate-trigger': warning('Two triggers of one object are the same.'),
  'replica-bounds': error('minReplicaCount, maxReplicaCount and idleReplicaCount contradict each other.'),
  'idle-not-zero': warning('`idleReplicaCount` above zero makes replicas flap.'),
  'trigger-name': error('A formula uses a trigger name that no trigger has, or names are not unique.'),
  'outside-formula': warning('Beside a formula a trigger, or a setting of it, has no effect.'),
  'built-in-trigger': note('The trigger is KEDA’s own; this program can take it over.'),
  'built-in-ignored': warning('KEDA’s own scaler ignores this key in silence.'),
  'built-in-risk': warning('KEDA’s own scaler is known to mislead in this setting.'),
  'foreign-scaler': note('An external trigger of another scaler: only KEDA’s keys are checked.'),
  'push-preferred': note('With type `external` work is noticed at the next poll only.'),
  'push-in-job': warning('KEDA does not push for a ScaledJob: `external-push` is polled like `external`.'),
  'cooldown-short': warning('The cooldown is shorter than the time after which a broker’s figures are sure.'),
  'busy-unseen': warning('Scale to zero while nothing tells what workers hold: a long job may lose its worker.'),
  'busy-excluded': warning('Scale to zero counts waiting messages only: the worker of the last message may be stopped.'),
  'in-progress-in-job': error('The ScaledJob’s `scalingStrategy` and `inProgress` do not fit: jobs without end, or none.'),
  'missing-is-zero': warning('A misspelt queue name would pass for an empty queue.'),
  'pattern-suspicious': warning('A name looks like a pattern, or a pattern like a glob: it may match nothing.'),
  'activation-high': warning('Work below the activation value never wakes a worker.'),
  'rate-only': warning('A rate alone says nothing of the backlog, which then drains slowly.'),
  'average-of-ratio': warning('A ratio or a time is divided by the number of replicas unless `metricType` is `Value`.'),
  'polling-long': note('Scale to zero can be late by the polling interval.'),
  'fallback-risk': warning('The fallback does not do what one may expect.'),
  'certificate-unchecked': warning('`unsafeSsl` takes any certificate, so anybody’s broker.'),
  'text-suspicious': warning('A value holds typographic quotes or invisible characters.'),
  'stream-never-empty': warning('The length of a stream does not fall when entries are acknowledged.'),
  'stream-cannot-wake': warning('Pending entries appear only once a consumer runs.'),
  paused: note('The object is paused by an annotation.'),
  annotation: warning('An annotation of KEDA’s has no effect, or KEDA fails on it.'),
  'allowance-unused': note('A comment `# check: allow …` allows nothing that is found.'),
  deprecated: warning('A key that is kept for old manifests.'),
} satisfies Record<string, Rule>;

export type RuleId = keyof typeof RULES;

export interface Finding {
  readonly rule: RuleId;
  readonly severity: Severity;
  readonly position: Position;
  /** `ScaledObject default/orders`, where there is an object. */
  readonly object?: string;
  /** `spec.triggers[0].metadata.queueNam`. */
  readonly path?: string;
  readonly message: string;
  /** What to write instead, or to do. */
  readonly fix?: string;
}

/** How a rule reports about one object. */
export type Report = (
  rule: RuleId,
  path: Path,
  message: string,
  options?: { readonly part?: Part; readonly fix?: string | undefined; readonly severity?: Severity },
) => void;

export function reportOn(object: YamlObject, findings: Finding[]): Report {
  return (rule, path, message, { part, fix, severity } = {}) => {
    findings.push({
      rule,
      severity: severity ?? RULES[rule].severity,
      position: object.positionOf(path, part),
      object: labelOf(object),
      ...(path.length > 0 && { path: pathText(path) }),
      message,
      ...(fix !== undefined && { fix }),
    });
  };
}

export function labelOf({ kind, namespace, name }: YamlObject): string {
  return `${kind} ${namespace === '' ? '' : `${namespace}/`}${name || '(no name)'}`;
}

export function pathText(path: Path): string {
  return path.reduce<string>(
    (text, step) => (typeof step === 'number' ? `${text}[${step}]` : text === '' ? step : `${text}.${step}`),
    '',
  );
}
