/**
 * A reader's terminals: one shell a page, in a folder of its own, in which each command finds what those before it have left. What
 * runs until it is told to stop gets a terminal beside it, and no process outlives the page.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '../bed/until.ts';

const COMMAND_MS = 45_000;

export interface Session {
  readonly folder: string;
  /** Resolves with the exit code and all that was written; rejects where it takes longer than 45 s. */
  run(command: string): Promise<{ readonly code: number; readonly output: string }>;
  /** Starts what ends only when told to, and resolves when its output holds all of that. */
  start(command: string, shows: RegExp): Promise<Running>;
  close(): Promise<void>;
}

export interface Running {
  output(): Promise<string>;
  /** Ctrl-C; resolves with the exit code. */
  stop(): Promise<number>;
}

export async function openSession(env: Readonly<Record<string, string>>): Promise<Session> {
  const folder = await mkdtemp(join(tmpdir(), 'docs-'));
  const control = await mkdtemp(join(tmpdir(), 'docs-control-'));
  const shell = spawn('bash', ['--noprofile', '--norc'], {
    cwd: folder,
    env: { ...process.env, ...env },
    stdio: ['pipe', 'ignore', 'inherit'],
  });
  // A job has a process group of its own, as in a terminal, so that Ctrl-C reaches it and nobody else.
  shell.stdin.write("shopt -s expand_aliases; set -m; trap 'kill -KILL -- $(jobs -p | sed s/^/-/) 2>/dev/null' EXIT\n");
  let count = 0;

  const written = (file: string): Promise<string> => readFile(file, 'utf8').catch(() => '');
  async function send(command: string, line: (script: string, out: string, code: string) => string) {
    const base = join(control, String(count++));
    const files = { script: `${base}.sh`, out: `${base}.out`, code: `${base}.code` };
    await writeFile(files.script, `${command}\n`);
    shell.stdin.write(`${line(files.script, files.out, files.code)}\n`);
    return files;
  }
  const codeIn = (file: string, what: string): Promise<number> =>
    until(`the end of ${what}`, async () => ((await written(file)).endsWith('\n') ? true : undefined), {
      deadlineMs: COMMAND_MS,
      everyMs: 50,
    }).then(async () => Number(await written(file)));

  return {
    folder,
    async run(command) {
      const { out, code } = await send(command, (script, o, c) => `. ${script} < /dev/null > ${o} 2>&1; echo $? > ${c}`);
      const result = await codeIn(code, command);
      return { code: result, output: await written(out) };
    },
    async start(command, shows) {
      const { out, code } = await send(
        command,
        (script, o, c) => `{ . ${script}; echo $? > ${c}; } < /dev/null > ${o} 2>&1 &\necho $! > ${c}.pid`,
      );
      await until(
        `${command} shows ${shows.source}`,
        async () => {
          const output = await written(out);
          if (shows.test(output)) return true;
          if ((await written(code)) !== '') throw new Error(`it has ended:\n${output}`);
          throw new Error(`so far:\n${output}`);
        },
        { deadlineMs: COMMAND_MS, everyMs: 50 },
      );
      return {
        output: () => written(out),
        async stop() {
          shell.stdin.write(`kill -INT -- -$(cat ${code}.pid)\n`);
          return codeIn(code, command);
        },
      };
    },
    async close() {
      shell.stdin.end();
      if (shell.exitCode === null) await once(shell, 'exit');
      await rm(folder, { recursive: true });
      await rm(control, { recursive: true });
    },
  };
}
