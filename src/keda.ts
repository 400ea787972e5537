/**
 * KEDA's own words: the keys that it reads of an external trigger itself, the suffix of keys that name a variable, its spellings of
 * true and false, and what it takes where a ScaledObject says nothing.
 */

/** Parameters of an authentication that KEDA uses for its own connection to an external scaler. */
export const KEDA_PARAMETERS: readonly string[] = ['caCert', 'tlsClientCert', 'tlsClientKey'];

/** Keys that KEDA itself reads from an external trigger's metadata and forwards along with ours. */
export const KEDA_KEYS: readonly string[] = ['scalerAddress', 'enableTLS', 'unsafeSsl', ...KEDA_PARAMETERS];

/** `<key>FromEnv` names a variable of the scaled container; KEDA forwards it with the variable's value. */
export const FROM_ENV = 'FromEnv';

/** Whether KEDA forwards such a trigger to a scaler outside it. */
export function isExternal(type: string): type is 'external' | 'external-push' {
  return type === 'external' || type === 'external-push';
}

/** Whether the HPA reads the metric of such a trigger itself: it has no value in a formula, and wakes nobody. */
export function isResource(type: string): boolean {
  return type === 'cpu' || type === 'memory';
}

/** Seconds and counts, https://keda.sh/docs/latest/reference/scaledobject-spec/ */
export const DEFAULT_POLLING_INTERVAL_SECONDS = 30;
export const DEFAULT_COOLDOWN_SECONDS = 300;
export const DEFAULT_MIN_REPLICAS = 0;
export const DEFAULT_MAX_REPLICAS = 100;

/** The spellings of true and false that KEDA takes, https://pkg.go.dev/strconv#ParseBool */
export const BOOLEAN = /^(?:1|t|T|TRUE|true|True|0|f|F|FALSE|false|False)$/;

export function isTrue(text: string | undefined): boolean {
  return /^(?:1|t|true)$/i.test(text?.trim() ?? '');
}
