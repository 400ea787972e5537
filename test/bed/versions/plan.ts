/**
 * Which tests run on which version of a broker. All of a version's suites take hours of a small machine with all versions, so that
 * each gets what its kind shows best, and all together get the whole fault matrix.
 */
import { VERSIONS, type BrokerKind, type BrokerVersion } from './catalogue.ts';

export interface TestRun {
  /** Files or folders. */
  readonly files: readonly string[];
  /** A pattern of tests' names; all where it is absent. */
  readonly only?: string;
}

const SUITES: Readonly<Record<BrokerKind, TestRun>> = {
  rabbitmq: { files: ['test/bed/rabbitmq.test.ts', 'test/scalers/rabbitmq/'] },
  redis: { files: ['test/bed/redis.test.ts', 'test/scalers/redis/'] },
};
const FAULTS: Readonly<Record<BrokerKind, TestRun>> = {
  rabbitmq: { files: ['test/faults/rabbitmq'] },
  redis: { files: ['test/faults/redis/'] },
};

const cluster = (only: string): TestRun => ({ files: ['test/faults/rabbitmqCluster.test.ts'], only });

/** What a version is chosen for, where that is not all of its kind. */
const SHARES: Readonly<Record<string, readonly TestRun[]>> = {
  'rabbitmq-4.0': [SUITES.rabbitmq, cluster('is (killed|stopped)$')],
  'rabbitmq-4.0-khepri': [
    { files: ['test/bed/rabbitmq.test.ts', 'test/scalers/rabbitmq/conformance.test.ts', 'test/scalers/rabbitmq/zero.test.ts'] },
    cluster('is restarted$'),
  ],
  'rabbitmq-4.3': [SUITES.rabbitmq, cluster('is hung$'), { files: ['test/faults/rabbitmqHang', 'test/faults/rabbitmqFailover'] }],
};

export interface Plan {
  readonly version: BrokerVersion;
  readonly runs: readonly TestRun[];
}

/** Of the versions of those names, or of all; `whole` gives each all tests of its kind. Throws for a name that there is not. */
export function plans(names: readonly string[], whole: boolean): Plan[] {
  const unknown = names.filter((name) => !VERSIONS.some((version) => version.name === name));
  if (unknown.length > 0) {
    throw new Error(`no broker is called ${unknown.join(' or ')}: one of ${VERSIONS.map(({ name }) => name).join(', ')}`);
  }
  const all = ({ kind }: BrokerVersion): TestRun[] => [SUITES[kind], FAULTS[kind]];
  return VERSIONS.filter(({ name }) => names.length === 0 || names.includes(name)).map((version) => ({
    version,
    runs: whole ? all(version) : (SHARES[version.name] ?? all(version)),
  }));
}
