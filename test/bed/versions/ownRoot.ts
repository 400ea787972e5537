/**
 * Command lines that run a program out of a folder that stands for its root. All of them become the program itself by `exec`, so
 * that its process id is the one that was started.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export type CommandLine = readonly [program: string, ...args: string[]];

/**
 * The mounts are in a namespace of the process and its children, and gone with the last of them: nothing that removes the folder
 * later can reach what was mounted there. A user namespace makes the kernel forget the signal for the parent's end, so it is asked
 * for here again.
 */
const MOUNT_AND_ENTER = `
  set -e
  root=$1; shift
  for folder in /proc /dev "$1"; do mkdir -p "$root$folder"; mount --rbind "$folder" "$root$folder"; done
  shift
  exec setpriv --pdeathsig KILL chroot "$root" /bin/sh -c 'cd "$0"; exec "$@"' "$PWD" "$@"`;

function ownMounts(): CommandLine {
  const asRoot = process.getuid?.() === 0 ? [] : ['--map-root-user'];
  return ['unshare', ...asRoot, '--mount', '--propagation', 'private'];
}

/** For programs that name their files by absolute paths. They see the system's /proc, /dev and folder for temporary files. */
export function enteringRoot(root: string, program: string, args: readonly string[]): CommandLine {
  return [...ownMounts(), 'sh', '-c', MOUNT_AND_ENTER, 'sh', root, tmpdir(), program, ...args];
}

/** Why {@link enteringRoot} is refused here, or undefined. */
export function refusal(): string | undefined {
  const [program, ...args] = [...ownMounts(), 'true'] as const;
  const { status, stderr, error } = spawnSync(program, args, { encoding: 'utf8' });
  return status === 0 ? undefined : (error?.message ?? stderr.trim());
}

/** For programs that need no more of their root than its libraries. */
export function withLibrariesOf(root: string, program: string, args: readonly string[]): CommandLine {
  const [triplet = ''] = readdirSync(join(root, 'usr/lib')).filter((name) => name.endsWith('-linux-gnu'));
  const libraries = join(root, 'usr/lib', triplet);
  const [loader = ''] = readdirSync(libraries).filter((name) => /^ld-linux.*\.so\.\d+$/.test(name));
  // A locale that the machine has is unknown to these libraries, and some servers end then.
  return ['env', 'LC_ALL=C', join(libraries, loader), '--library-path', libraries, join(root, program), ...args];
}
