/**
 * Puts another version of a broker into a cache folder, from Debian's packages: unpacked beside the system, of which nothing is
 * changed. What was broken off is done again, and two at once wait for each other.
 */
import { execFile, spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { endingWithParent } from '../process.ts';
import { mirrors, openSuite } from './apt.ts';
import { cacheFolder, provisioned, recordProvisioned, type Provisioned } from './cache.ts';
import { versionNamed, type BrokerVersion } from './catalogue.ts';
import { lock } from './lock.ts';
import { refusal } from './ownRoot.ts';

const run = promisify(execFile);
const UNPACK_DEADLINE_MS = 120_000;
/** What RabbitMQ's scripts call and its package does not name, as every Debian has it. */
const SHELL = ['dash', 'bash', 'coreutils', 'sed', 'grep', 'gawk', 'hostname', 'procps'];

/** Gives what is in the cache, or gets it; a text says in a sentence why it can't be had here. */
export async function provision(version: BrokerVersion, say: (line: string) => void): Promise<Provisioned | string> {
  const hindrance = hindranceTo(version);
  if (hindrance !== undefined) return hindrance;
  const present = provisioned(version);
  if (present !== undefined) return present;
  mkdirSync(cacheFolder(), { recursive: true });
  const unlock = await lock(join(cacheFolder(), 'lock'));
  try {
    return provisioned(version) ?? (await fetchVersion(version, say));
  } finally {
    await unlock();
  }
}

/** Why this machine can't run it, whatever is downloaded. */
function hindranceTo({ kind }: BrokerVersion): string | undefined {
  for (const program of ['apt-get', 'dpkg-deb', 'tar', 'flock', ...(kind === 'rabbitmq' ? ['unshare', 'chroot'] : [])]) {
    if (spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0) return `there is no ${program} on this machine`;
  }
  const refused = kind === 'rabbitmq' ? refusal() : undefined;
  return refused === undefined ? undefined : `RabbitMQ needs a root folder and mounts of its own, which are refused: ${refused}`;
}

async function fetchVersion(version: BrokerVersion, say: (line: string) => void): Promise<Provisioned | string> {
  const reasons: string[] = [];
  for (const name of version.suites) {
    for (const mirror of await mirrors()) {
      const suite = await openSuite(name, mirror, join(cacheFolder(), `suite-${name}`)).catch(lastWords);
      if (typeof suite === 'string') {
        reasons.push(`${mirror} ${name}: ${suite}`);
        continue;
      }
      const candidate = await suite.candidate(version.package);
      if (candidate === undefined || Number.parseInt(candidate) !== version.major) {
        reasons.push(`${name} has ${version.package} ${candidate ?? 'not at all'}, wanted is ${version.major}.x`);
        break;
      }
      say(`${version.folder}: downloading ${version.package} ${candidate} of Debian ${name} from ${mirror}`);
      const archives = join(cacheFolder(), `${version.folder}.archives`);
      const files = await suite
        .download([version.package, ...(version.kind === 'rabbitmq' ? SHELL : [])], archives)
        .catch(lastWords);
      if (typeof files === 'string') {
        reasons.push(`${mirror} ${name}: ${files}`);
        continue;
      }
      const root = await unpack(version, files);
      rmSync(archives, { recursive: true });
      const done: Provisioned = { root, version: candidate, suite: name };
      recordProvisioned(version, done);
      return done;
    }
  }
  return reasons.join('; ');
}

async function unpack(version: BrokerVersion, files: readonly string[]): Promise<string> {
  const root = join(cacheFolder(), version.folder);
  rmSync(root, { recursive: true, force: true });
  for (const folder of ['etc', 'tmp', 'proc', 'dev', 'usr']) mkdirSync(join(root, folder), { recursive: true });
  for (const folder of ['bin', 'sbin', 'lib', 'lib64']) {
    mkdirSync(join(root, 'usr', folder));
    symlinkSync(`usr/${folder}`, join(root, folder));
  }
  for (const file of files) {
    // Without owners and set-user-id bits: the cache is the user's own.
    const tar = 'tar -x --keep-directory-symlink --no-same-owner --no-same-permissions --exclude=./dev/* -C "$1"';
    const pipe = ['-o', 'pipefail', '-c', `dpkg-deb --fsys-tarfile "$0" | ${tar}`, file, root];
    const [command, ...args] = endingWithParent('bash', pipe);
    await run(command, args, { timeout: UNPACK_DEADLINE_MS });
  }
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\n');
  writeFileSync(join(root, 'etc/hosts'), '127.0.0.1 localhost\n');
  return root;
}

/** What apt said at the end of a failure. */
function lastWords(error: unknown): string {
  const stderr = (error as { stderr?: string }).stderr ?? '';
  const said = stderr.split('\n').filter((line) => /^[EW]:/.test(line));
  return said.length > 0 ? said.join(' ') : String(error);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  for (const name of process.argv.slice(2)) {
    const got = await provision(versionNamed(name), say);
    say(typeof got === 'string' ? `${name} can't be had: ${got}` : `${name}: version ${got.version} of Debian ${got.suite}`);
    if (typeof got === 'string') process.exitCode = 1;
  }
}
