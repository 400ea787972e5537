/**
 * Sees to it that the brokers' programs are on this machine before tests, benchmarks or the demo need them, and the version that the
 * variable BROKER names in the cache. It installs only where it may (root on a system with apt-get), says so, and never starts or
 * touches a service.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { versionNamed } from './versions/catalogue.ts';
import { provision as provisionVersion } from './versions/provision.ts';

/** Debian's package of each broker and a file that it brings. */
const PACKAGES = {
  'rabbitmq-server': '/usr/lib/rabbitmq/bin/rabbitmq-server',
  'redis-server': '/usr/bin/redis-server',
  beanstalkd: '/usr/bin/beanstalkd',
  chromium: '/usr/bin/chromium',
};
/** Debian's way to say that installing a package must start no service: a script that answers 101. */
const SERVICE_POLICY = '/usr/sbin/policy-rc.d';
const APT_DEADLINE_MS = 600_000;

/** Installs what is missing. Throws, saying what to do, where it cannot. Two at once wait for each other. */
export function provision(say: (line: string) => void): void {
  const missing = Object.entries(PACKAGES).flatMap(([name, file]) => (existsSync(file) ? [] : [name]));
  if (missing.length === 0) return;
  const command = `apt-get install -y --no-install-recommends ${missing.join(' ')}`;
  if (process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) {
    throw new Error(`${missing.join(' and ')} must be installed first; on Debian as root: apt-get update && ${command}`);
  }
  say(`installing ${missing.join(' and ')} with apt-get`);
  const policy = !existsSync(SERVICE_POLICY);
  if (policy) writeFileSync(SERVICE_POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    // One stale source of many fails the update while the rest of it holds; whether that matters, the install tells.
    const update = apt('update');
    const install = apt('install', '-y', '--no-install-recommends', ...missing);
    if (install !== undefined) throw new Error([install, update].filter(Boolean).join('\n'));
  } finally {
    if (policy) rmSync(SERVICE_POLICY, { force: true });
  }
}

/** What went wrong, or undefined. */
function apt(...args: string[]): string | undefined {
  const { status, stdout, stderr, error } = spawnSync('apt-get', ['-qq', '-o', 'DPkg::Lock::Timeout=300', ...args], {
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    encoding: 'utf8',
    timeout: APT_DEADLINE_MS,
  });
  return status === 0 ? undefined : `apt-get ${args.join(' ')} failed: ${stdout}${stderr}${error?.message ?? ''}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  try {
    provision(say);
    const name = process.env['BROKER'] ?? '';
    const got = name === '' ? undefined : await provisionVersion(versionNamed(name), say);
    if (typeof got === 'string') throw new Error(`${name} can't be had here: ${got}`);
    if (got !== undefined) say(`${name} is version ${got.version} of Debian ${got.suite}`);
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    process.exit(1);
  }
}
