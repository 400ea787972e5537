/**
 * Guards credentials that do not belong to the trigger's own namespace: whoever may write a trigger must never be able to have them
 * sent to a host of his choice, nor to use those that are kept for others.
 *
 * A trigger in one namespace gets credentials of another through a ClusterTriggerAuthentication, or where secret access is
 * restricted to one namespace. They then go only to a host that stands beside them, or that the ClusterTriggerAuthentication allows.
 */
import { TriggerError } from '../errors.ts';
import { FROM_ENV } from '../keda.ts';

/** On a ClusterTriggerAuthentication: namespaces whose triggers may use it, separated by commas. Without it, all may, as in KEDA. */
const ALLOWED_NAMESPACES = 'keda-queue-scaler/allowed-namespaces';
/** On a ClusterTriggerAuthentication: hosts that a trigger itself may name beside it, as `name` or `*.suffix`, separated by commas. */
const ALLOWED_HOSTS = 'keda-queue-scaler/allowed-hosts';

/** The keys and parameters by which a trigger says which hosts are spoken to, each with the words that name no host. */
export type EndpointKeys = ReadonlyMap<string, readonly string[]>;

/** One resolved authentication parameter. */
export interface Parameter {
  readonly value: string;
  /** Whether it comes from a namespace other than the trigger's. */
  readonly foreign: boolean;
}

/** What the credentials come from, as errors name it. */
interface Origin {
  readonly label: string;
  /** Only of an object that the cluster's administrator alone can write. */
  readonly annotations: Readonly<Record<string, string>>;
}

export function requireNamespaceAllowed(origin: Origin, namespace: string): void {
  const allowed = origin.annotations[ALLOWED_NAMESPACES];
  if (allowed === undefined || words(allowed).includes(namespace)) return;
  throw new TriggerError(
    'NOT_ALLOWED',
    `${origin.label} is not for namespace ${namespace}: see its annotation ${ALLOWED_NAMESPACES}`,
  );
}

export function requireHostsAllowed(
  origin: Origin,
  parameters: ReadonlyMap<string, Parameter>,
  metadata: Readonly<Record<string, string>>,
  endpointKeys: EndpointKeys | undefined,
): void {
  if (![...parameters.values()].some((parameter) => parameter.foreign)) return;
  if (endpointKeys === undefined) {
    throw new TriggerError(
      'NOT_ALLOWED',
      `${origin.label} holds credentials of another namespace, and the trigger names no scaler whose keys for hosts are known`,
    );
  }
  const allowed = words(origin.annotations[ALLOWED_HOSTS] ?? '');
  for (const [key, noHost] of endpointKeys) {
    const parameter = parameters.get(key);
    const named = [metadata[key], metadata[`${key}${FROM_ENV}`], parameter?.foreign === false ? parameter.value : undefined];
    for (const value of named) {
      const word = value?.trim() ?? '';
      if (word === '' || noHost.includes(word) || hostsOf(word).every((host) => isAllowed(host, allowed))) continue;
      throw new TriggerError(
        'NOT_ALLOWED',
        `${origin.label} holds credentials of another namespace, so they are not sent to the ${key} that the trigger names; ` +
          `put ${key} beside the credentials, or let an administrator add the host to annotation ${ALLOWED_HOSTS} of a ClusterTriggerAuthentication`,
      );
    }
  }
}

/** An endpoint in the one form that cannot be read in two ways: no login, no query, nothing percent-encoded before the path. */
const ENDPOINT = /^(?:[a-z]+:\/\/)?([a-z0-9][a-z0-9._-]*|\[[0-9a-f:.]+\])(?::\d+)?(?:\/[^@?#\\\s]*)?$/i;

/** Every host that the text names; a part that is not of the plain form stands for itself and so is never allowed. */
function hostsOf(value: string): string[] {
  return value.split(/[,=]/).map((part) => ENDPOINT.exec(part.trim())?.[1]?.toLowerCase() ?? `(${part})`);
}

function isAllowed(host: string, allowed: readonly string[]): boolean {
  return allowed.some((entry) => (entry.startsWith('*.') ? host.endsWith(entry.slice(1)) : host === entry));
}

function words(text: string): string[] {
  return text
    .split(',')
    .map((word) => word.trim().toLowerCase())
    .filter((word) => word !== '');
}
