/**
 * Ends the workers when this process is gone, however it went: a small process of its own holds the other end of a pipe and, once
 * that is closed, sends SIGTERM to every worker still listed, and SIGKILL to its process group when the grace period is over. It must
 * never touch a process that was not listed, and does nothing while this process lives.
 *
 * What it cannot do: if the guard is killed together with this process (by a container's end, for one), nobody is left to end the
 * workers but whoever killed both. And a worker that writes to its output after this process is gone meets a broken pipe.
 */
import { spawn } from 'node:child_process';

export interface Lifeline {
  /** The leader of a worker's process group has been started. */
  hold(pid: number): void;
  /** That group is gone. */
  release(pid: number): void;
  /** Ends the guard; all groups must have been released before. */
  close(): Promise<void>;
}

/**
 * POSIX shell, as it costs a hundredth of a Node process. Lines `+PID` and `-PID` come in; `bye` ends it in order. `$1` is the grace
 * period in seconds.
 */
const GUARD = `
groups=' '
while read -r line; do
  case $line in
    +*) groups="$groups\${line#+} " ;;
    -*) group=\${line#-}; groups="\${groups%% $group *} \${groups#* $group }" ;;
    bye) exit 0 ;;
  esac
done
alive() { for group in $groups; do kill -0 -"$group" 2>/dev/null && return 0; done; return 1; }
for group in $groups; do kill -TERM "$group" 2>/dev/null; done
left=$1
while [ "$left" -gt 0 ] && alive; do sleep 1; left=$((left - 1)); done
for group in $groups; do kill -KILL -"$group" 2>/dev/null; done
`;

/** `graceSeconds` is the longest that a worker may take to end. */
export function createLifeline(graceSeconds: number): Lifeline {
  // In a session of its own, so that a Ctrl-C in the terminal does not reach it.
  const guard = spawn('/bin/sh', ['-c', GUARD, 'guard', String(graceSeconds)], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  const gone = new Promise<void>((resolve) => {
    guard.once('exit', () => {
      resolve();
    });
    guard.once('error', () => {
      resolve();
    });
  });
  // A guard that is gone takes no more lines; the workers are still ended by this process itself.
  guard.stdin.on('error', () => undefined);
  guard.unref();
  return {
    hold: (pid) => void guard.stdin.write(`+${pid}\n`),
    release: (pid) => void guard.stdin.write(`-${pid}\n`),
    async close() {
      guard.stdin.end('bye\n');
      await gone;
    },
  };
}
