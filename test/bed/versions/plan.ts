/**
 * Which tests run on which version of a broker. All of a kind's tests take hours of a small machine with all versions, so that each
 * gets what it shows best, and all together get the whole fault matrix. Tests that start no broker of the kind show nothing of it.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { VERSIONS, versionNamed, type BrokerKind, type BrokerVersion } from './catalogue.ts';

const ROOT = resolve(import.meta.dirname, '../../..');

export interface TestRun {
  readonly files: readonly string[];
  /** A pattern of tests' names; all where it is absent. */
  readonly only?: string;
}

/** What starts a broker of the kind. */
const LAUNCHERS: Readonly<Record<BrokerKind, string>> = {
  rabbitmq: 'test/bed/rabbitmqNode.ts',
  redis: 'test/bed/redis.ts',
};

/** Whether the file imports the other one, by way of others too. */
function reaches(file: string, other: string, seen = new Set<string>()): boolean {
  if (file === other) return true;
  if (seen.has(file) || !file.startsWith('test/')) return false;
  seen.add(file);
  const imports = readFileSync(join(ROOT, file), 'utf8').matchAll(/from '(\.[^']+)'/g);
  return [...imports].some(([, path = '']) => reaches(relative(ROOT, resolve(ROOT, dirname(file), path)), other, seen));
}

/** Test files whose paths begin so and that start a broker of the kind. */
function startingBrokers(kind: BrokerKind, beginnings: readonly string[]): TestRun {
  const files = readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' })
    .map((name) => join('test', name))
    .filter((name) => name.endsWith('.test.ts') && beginnings.some((beginning) => name.startsWith(beginning)))
    .filter((name) => reaches(name, LAUNCHERS[kind]));
  return { files: files.sort() };
}

const scalers = (kind: BrokerKind): TestRun => startingBrokers(kind, [`test/bed/${kind}`, `test/scalers/${kind}/`]);
const faults = (kind: BrokerKind): TestRun => startingBrokers(kind, [`test/faults/${kind}`]);
const cluster = (only: string): TestRun => ({ files: ['test/faults/rabbitmqCluster.test.ts'], only });

/** What a version is chosen for, where that is not all of its kind. */
const SHARES: Readonly<Record<string, () => readonly TestRun[]>> = {
  'rabbitmq-4.0': () => [scalers('rabbitmq'), cluster('is (killed|stopped)$')],
  'rabbitmq-4.0-khepri': () => [
    { files: ['test/bed/rabbitmq.test.ts', 'test/scalers/rabbitmq/conformance.test.ts'] },
    cluster('is restarted$'),
  ],
  'rabbitmq-4.3': () => [
    scalers('rabbitmq'),
    cluster('is hung$'),
    { files: ['test/faults/rabbitmqHang.test.ts', 'test/faults/rabbitmqFailover.test.ts'] },
  ],
};

export interface Plan {
  readonly version: BrokerVersion;
  readonly runs: readonly TestRun[];
}

/** Of the versions of those names, or of all; `whole` gives each all tests of its kind. Throws for a name that there is not. */
export function plans(names: readonly string[], whole: boolean): Plan[] {
  return (names.length === 0 ? VERSIONS : names.map(versionNamed)).map((version) => {
    const all = (): TestRun[] => [scalers(version.kind), faults(version.kind)];
    return { version, runs: (whole ? all : (SHARES[version.name] ?? all))() };
  });
}
