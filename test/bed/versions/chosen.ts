/**
 * The broker that tests run on: the system's own, or the version of the catalogue that the variable BROKER names. It says how the
 * broker's programs are started and what that version can do.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { provisioned } from './cache.ts';
import { versionNamed, type BrokerKind, type BrokerVersion } from './catalogue.ts';
import { enteringRoot, withLibrariesOf, type CommandLine } from './ownRoot.ts';

/** Undefined where BROKER is not set or names a broker of another kind. */
function chosen(kind: BrokerKind): { readonly version: BrokerVersion; readonly root: string } | undefined {
  const name = process.env['BROKER'] ?? '';
  if (name === '') return undefined;
  const version = versionNamed(name);
  if (version.kind !== kind) return undefined;
  const root = provisioned(version)?.root;
  if (root === undefined) throw new Error(`${name} is not in the cache: npx tsx test/bed/versions/provision.ts ${name}`);
  return { version, root };
}

/** How a program of RabbitMQ, given by its path, is started. */
export function rabbitCommand(program: string, args: readonly string[]): CommandLine {
  const { root } = chosen('rabbitmq') ?? {};
  return root === undefined ? [program, ...args] : enteringRoot(root, program, args);
}

export interface RabbitTraits {
  /** Such as `4.3.6`. */
  readonly version: string;
  /** To be enabled when a cluster has formed. */
  readonly featureFlags: readonly string[];
  /** Where definitions of queues are kept. */
  readonly metadata: 'mnesia' | 'khepri';
  readonly hasMirroredQueues: boolean;
}

export function rabbitTraits(): RabbitTraits {
  const { version: chosenVersion, root = '/' } = chosen('rabbitmq') ?? {};
  const featureFlags = chosenVersion?.featureFlags ?? [];
  const [release = ''] = readdirSync(join(root, 'usr/lib/rabbitmq/lib')).filter((name) => name.startsWith('rabbitmq_server-'));
  const version = release.replace('rabbitmq_server-', '');
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return {
    version,
    featureFlags,
    metadata: featureFlags.includes('khepri_db') || major > 4 || (major === 4 && minor >= 2) ? 'khepri' : 'mnesia',
    hasMirroredQueues: major < 4,
  };
}

/** How the server of Redis, Valkey or Redict is started. */
export function redisCommand(args: readonly string[]): CommandLine {
  const { root, version } = chosen('redis') ?? {};
  return root === undefined ? ['redis-server', ...args] : withLibrariesOf(root, version?.program ?? '', args);
}

/** What the server says of itself, such as `Valkey server v=9.1.2`. */
export function redisVersion(): string {
  const [program, ...args] = redisCommand(['--version']);
  return execFileSync(program, args, { encoding: 'utf8' })
    .replace(/ sha=[^]*/, '')
    .trim();
}
