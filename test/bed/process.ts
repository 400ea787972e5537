/**
 * Child processes that end with whoever started them: also when the test runner is killed, nothing of theirs stays behind.
 * Only processes launched here are ever signalled, by their id.
 */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';

/** `setpriv` becomes the program itself, so the process id is the program's; the kernel kills it when its parent ends. */
const SETPRIV = '/usr/bin/setpriv';
const MAX_OUTPUT_CHARACTERS = 100_000;

export interface LaunchedProcess {
  readonly pid: number;
  /** What it wrote to stdout and stderr: the latest 100 000 characters. */
  output(): string;
  alive(): boolean;
  /** Resolves when it has ended, with how. */
  readonly ended: Promise<string>;
  signal(name: NodeJS.Signals): void;
  /** User and system CPU time of its living threads so far, in ms. */
  cpuMs(): number;
  /** SIGTERM, and SIGKILL after the grace time; resolves when it has ended. */
  stop(graceMs?: number): Promise<void>;
  /** SIGKILL; resolves when it has ended. */
  kill(): Promise<void>;
}

/** The command line as one that ends when whoever runs it ends. */
export function endingWithParent(command: string, args: readonly string[]): readonly [program: string, ...args: string[]] {
  return existsSync(SETPRIV) ? [SETPRIV, '--pdeathsig', 'KILL', command, ...args] : [command, ...args];
}

export function launch(
  command: string,
  args: readonly string[],
  options: { readonly cwd?: string; readonly env?: NodeJS.ProcessEnv } = {},
): LaunchedProcess {
  const [program, ...programArgs] = endingWithParent(command, args);
  const child = spawn(program, programArgs, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
  const { pid } = child;
  let output = '';
  const keep = (chunk: Buffer): void => {
    output = (output + chunk.toString()).slice(-MAX_OUTPUT_CHARACTERS);
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => {
      resolve(error.message);
    });
    child.once('exit', (code, signal) => {
      resolve(signal ?? `exit code ${code ?? 'unknown'}`);
    });
  });
  if (pid === undefined) throw new Error(`cannot start ${command}: is it installed?`);
  const alive = (): boolean => child.exitCode === null && child.signalCode === null;
  const signal = (name: NodeJS.Signals): void => {
    if (alive()) child.kill(name);
  };
  return {
    pid,
    output: () => output,
    alive,
    ended,
    signal,
    cpuMs: () => cpuMsOf(pid),
    async stop(graceMs = 5_000) {
      signal('SIGCONT');
      signal('SIGTERM');
      const timer = setTimeout(() => {
        signal('SIGKILL');
      }, graceMs);
      await ended;
      clearTimeout(timer);
    },
    async kill() {
      signal('SIGKILL');
      await ended;
    },
  };
}

/** CPU time of a process and all its living threads, in ms: the scheduler's nanoseconds in `/proc/<pid>/task/<tid>/schedstat`. */
export function cpuMsOf(pid: number): number {
  let nanoseconds = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      nanoseconds += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ', 1)[0]);
    } catch {
      // The thread ended between the listing and the reading.
    }
  }
  return nanoseconds / 1e6;
}

/** Whether a process of that id exists. */
export function processExists(pid: number): boolean {
  return existsSync(`/proc/${pid}`);
}
