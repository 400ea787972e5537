/**
 * One replica: the container's command as a child process in its own process group, started again when it ends by itself, ended with
 * SIGTERM and, after the grace period, SIGKILL to the group.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import type { Lifeline } from './lifeline.ts';
import { RESTART_RESET_MS, restartDelayMs } from './restart.ts';

/** How long a process that has ended is waited for until its last lines have been read; something that it left behind may hold the pipe. */
const LAST_LINES_MS = 500;

/** How to start a replica. */
export interface PodTemplate {
  readonly command: readonly [string, ...string[]];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly graceMs: number;
}

export type PodEvent =
  | { readonly state: 'started'; readonly pid: number }
  | { readonly state: 'stopping' | 'killed'; readonly pid?: number }
  /** Ended because it was told to. */
  | { readonly state: 'stopped'; readonly exitCode: number | null; readonly signal: string | null }
  /** Ended by itself, or could not be started. */
  | { readonly state: 'exited'; readonly exitCode: number | null; readonly signal: string | null; readonly trouble?: string }
  | { readonly state: 'waiting'; readonly restartMs: number };

export interface PodListener {
  event(event: PodEvent): void;
  /** A line that the worker wrote. */
  output(stream: 'stdout' | 'stderr', line: string): void;
}

export interface Pod {
  readonly name: string;
  readonly createdAt: number;
  readonly ready: boolean;
  readonly readyAt: number | undefined;
  readonly restarts: number;
  /** Resolves when no process is left; asking again waits for the same end. */
  stop(): Promise<void>;
  /** SIGKILL at once, whatever the grace period. */
  kill(): void;
}

export function startPod(name: string, template: PodTemplate, lifeline: Lifeline, listener: PodListener): Pod {
  let child: ChildProcess | undefined;
  let readyAt: number | undefined;
  let restarts = 0;
  let timer: NodeJS.Timeout | undefined;
  let stopping = false;
  let killed = false;
  let resolveStopped: () => void;
  const stopped = new Promise<void>((resolve) => {
    resolveStopped = resolve;
  });

  function start(): void {
    timer = undefined;
    const [command, ...args] = template.command;
    const process = spawn(command, args, {
      cwd: template.cwd,
      env: template.env,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child = process;
    const startedAt = performance.now();
    const { pid } = process;
    if (pid !== undefined) {
      lifeline.hold(pid);
      process.once('spawn', () => {
        readyAt = performance.now();
        listener.event({ state: 'started', pid });
      });
    }
    process.once('error', (error) => {
      if (pid === undefined) ended(startedAt, null, null, error.message);
    });
    process.once('exit', (exitCode, signal) => {
      readyAt = undefined;
      if (pid !== undefined) {
        // As when a container's first process ends: nothing of it lives on.
        signalGroup(pid, 'SIGKILL');
        lifeline.release(pid);
      }
      whenRead(process, () => {
        ended(startedAt, exitCode, signal);
      });
    });
    forwardLines(process.stdout, 'stdout');
    forwardLines(process.stderr, 'stderr');
  }

  function ended(startedAt: number, exitCode: number | null, signal: string | null, trouble?: string): void {
    child = undefined;
    readyAt = undefined;
    clearTimeout(timer);
    if (stopping) {
      listener.event({ state: 'stopped', exitCode, signal });
      resolveStopped();
      return;
    }
    listener.event({ state: 'exited', exitCode, signal, ...(trouble === undefined ? {} : { trouble }) });
    if (performance.now() - startedAt >= RESTART_RESET_MS) restarts = 0;
    const restartMs = restartDelayMs(restarts);
    restarts++;
    if (restartMs > 0) listener.event({ state: 'waiting', restartMs });
    timer = setTimeout(start, restartMs);
  }

  function forwardLines(input: Readable, stream: 'stdout' | 'stderr'): void {
    createInterface({ input, crlfDelay: Infinity }).on('line', (line) => {
      listener.output(stream, line);
    });
  }

  function kill(): void {
    // One that has ended is only being read.
    if (killed || child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    killed = true;
    listener.event({ state: 'killed', pid: child.pid });
    signalGroup(child.pid, 'SIGKILL');
  }

  start();
  return {
    name,
    createdAt: performance.now(),
    get ready() {
      return readyAt !== undefined && !stopping;
    },
    get readyAt() {
      return readyAt;
    },
    get restarts() {
      return restarts;
    },
    stop() {
      if (stopping) return stopped;
      stopping = true;
      clearTimeout(timer);
      if (child === undefined) {
        listener.event({ state: 'stopped', exitCode: null, signal: null });
        resolveStopped();
        return stopped;
      }
      listener.event({ state: 'stopping', ...(child.pid === undefined ? {} : { pid: child.pid }) });
      // Only the first process hears SIGTERM, as in a container.
      child.kill('SIGTERM');
      timer = setTimeout(kill, template.graceMs);
      return stopped;
    },
    kill,
  };
}

/** Calls `then` once, when all that an ended process wrote has been read, or after a while at the latest. */
function whenRead(process: ChildProcess, then: () => void): void {
  const overdue = setTimeout(read, LAST_LINES_MS);
  process.once('close', read);
  function read(): void {
    clearTimeout(overdue);
    process.off('close', read);
    then();
  }
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}
