/**
 * Downloads Debian packages of any suite, with all that they depend on, by an `apt-get` that has folders of its own: it reads the
 * system's settings for proxies and mirrors, and changes nothing of the system.
 */
import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { endingWithParent } from '../process.ts';

const run = promisify(execFile);

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
const FALLBACK_MIRROR = 'http://deb.debian.org/debian';
const DEADLINE_MS = 600_000;

export interface Suite {
  /** The version that would be downloaded, without epoch and Debian's revision; undefined where the suite has no such package. */
  candidate(name: string): Promise<string | undefined>;
  /** Downloads the packages and what they need into the folder, going on from where it was broken off. Gives all files. */
  download(names: readonly string[], folder: string): Promise<string[]>;
}

/** Reads the suite's lists into `folder`; rejects with what apt says where it can't. */
export async function openSuite(suite: string, mirror: string, folder: string): Promise<Suite> {
  const file = (leaf: string): string => join(folder, leaf);
  mkdirSync(file('lists/partial'), { recursive: true });
  mkdirSync(file('archives/partial'), { recursive: true });
  writeFileSync(file('status'), '');
  writeFileSync(file('sources.list'), `deb [signed-by=${KEYRING}] ${mirror} ${suite} main\n`);

  async function apt(program: 'apt-get' | 'apt-cache', args: readonly string[], archives = file('archives')): Promise<string> {
    const settings = {
      'Dir::State': folder,
      'Dir::State::lists': file('lists'),
      'Dir::State::status': file('status'),
      'Dir::Cache': folder,
      'Dir::Cache::archives': archives,
      'Dir::Etc::SourceList': file('sources.list'),
      'Dir::Etc::SourceParts': '/dev/null',
      'APT::Sandbox::User': '',
      'APT::Update::Error-Mode': 'any',
      'Acquire::Retries': '3',
      'Acquire::Languages': 'none',
    };
    const options = Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
    // An apt-get that lives on would hold its locks against the next one.
    const [command, ...commandArgs] = endingWithParent(program, ['-q', ...options, ...args]);
    const { stdout } = await run(command, commandArgs, {
      timeout: DEADLINE_MS,
      maxBuffer: 100_000_000,
      env: { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' },
    });
    return stdout;
  }

  await apt('apt-get', ['update']);
  return {
    async candidate(name) {
      const policy = await apt('apt-cache', ['policy', name]);
      return /^ {2}Candidate: (?:\d+:)?(\d[^-+\s]*)/m.exec(policy)?.[1];
    },
    async download(names, archives) {
      mkdirSync(join(archives, 'partial'), { recursive: true });
      await apt('apt-get', ['install', '--yes', '--no-install-recommends', '--download-only', ...names], archives);
      return readdirSync(archives)
        .filter((name) => name.endsWith('.deb'))
        .map((name) => join(archives, name));
    },
  };
}

/** The Debian mirrors that this machine's own apt is told of, and the one that all may use. */
export async function mirrors(): Promise<string[]> {
  const { stdout } = await run('apt-get', ['indextargets', '--format', '$(REPO_URI)', 'Created-By: Packages'], {
    timeout: DEADLINE_MS,
  });
  const own = stdout.split('\n').map((line) => line.trim().replace(/\/$/, ''));
  return [...new Set([...own.filter((uri) => uri.endsWith('/debian')), FALLBACK_MIRROR])];
}
