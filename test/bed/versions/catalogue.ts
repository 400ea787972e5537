/**
 * Which versions of the brokers tests can be run on beside the system's own. They come from Debian's suites, whose packages move: a
 * name says what was there when it was chosen, and what is there now is told by the provisioning.
 */

export type BrokerKind = 'rabbitmq' | 'redis';

export interface BrokerVersion {
  /** What the variable BROKER takes. */
  readonly name: string;
  readonly kind: BrokerKind;
  /** The folder below the cache; versions that differ in settings alone share it. */
  readonly folder: string;
  /** Debian's package, and the suites that may have it, the preferred one first. */
  readonly package: string;
  readonly suites: readonly string[];
  /** Of the version as its makers count it: another one in the suite is not taken. */
  readonly major: number;
  /** The server's program; for RabbitMQ the scripts are known. */
  readonly program: string;
  /** Of RabbitMQ, enabled when a cluster has formed. */
  readonly featureFlags: readonly string[];
}

function rabbitmq(name: string, folder: string, suites: readonly string[], featureFlags: readonly string[] = []): BrokerVersion {
  const program = '/usr/lib/rabbitmq/bin/rabbitmq-server';
  return { name, kind: 'rabbitmq', folder, package: 'rabbitmq-server', suites, major: 4, program, featureFlags };
}

function redis(name: string, program: string, major: number, suites: readonly string[]): BrokerVersion {
  return { name, kind: 'redis', folder: name, package: program, suites, major, program: `/usr/bin/${program}`, featureFlags: [] };
}

export const VERSIONS: readonly BrokerVersion[] = [
  rabbitmq('rabbitmq-4.0', 'rabbitmq-4.0', ['trixie']),
  rabbitmq('rabbitmq-4.0-khepri', 'rabbitmq-4.0', ['trixie'], ['khepri_db']),
  rabbitmq('rabbitmq-4.3', 'rabbitmq-4.3', ['forky', 'sid']),
  redis('redis-8', 'redis-server', 8, ['trixie']),
  redis('valkey-9', 'valkey-server', 9, ['forky', 'sid']),
  redis('redict', 'redict-server', 7, ['forky', 'sid']),
];

/** The version of that name; throws, with the names there are. */
export function versionNamed(name: string): BrokerVersion {
  const found = VERSIONS.find((version) => version.name === name);
  if (found === undefined)
    throw new Error(`no broker is called "${name}": one of ${VERSIONS.map((each) => each.name).join(', ')}`);
  return found;
}
