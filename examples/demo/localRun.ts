/** Runs `queue-scaler local` as a user would, and follows its workers by the events that it prints. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const STOP_DEADLINE_MS = 20_000;
const MAX_TROUBLE_CHARACTERS = 4000;

/** The fields of a `local` event that the demo uses. */
interface LocalEvent {
  readonly time: string;
  readonly event: string;
  readonly object?: string;
  readonly state?: string;
  readonly pod?: string;
  readonly level?: string;
  readonly message?: string;
}

/** What is known of the workers of one ScaledObject. */
export interface Workers {
  /** Processes now, those that are ending included. */
  running(): number;
  /** Most processes that worked at one time. */
  peak(): number;
  /** When the first one was started, in ms since 1970. */
  firstAt(): number | undefined;
}

export interface LocalRun {
  workers(object: string): Workers;
  /** Whether every object has been polled, and so its trigger is served. */
  ready(): boolean;
  /** How it ended, if it did before it was told to. */
  ended(): string | undefined;
  /** The end of what it wrote on stderr, and the errors among its events. */
  trouble(): string;
  /** Tells it to end and waits until it has. */
  stop(): Promise<void>;
}

/** `onStopping` hears of each worker that is told to end. */
export function runLocal(
  files: readonly string[],
  objects: readonly string[],
  args: readonly string[],
  onStopping: (object: string) => void,
): LocalRun {
  // In a process group of its own, so that a Ctrl-C in the terminal reaches it once, by us; and told to end if we are killed.
  const command = [process.execPath, '--import', 'tsx', MAIN, 'local', ...files, '--json', ...args];
  const child = spawn('setpriv', ['--pdeathsig', 'TERM', ...command], { detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  let ended: string | undefined;
  child.once('error', (error) => (ended = error.message));
  child.once('exit', (code, signal) => (ended = signal ?? `exit code ${code ?? 'unknown'}`));
  let trouble = '';
  const keepTrouble = (text: string): void => {
    trouble = (trouble + text).slice(-MAX_TROUBLE_CHARACTERS);
  };
  child.stderr.on('data', (chunk: Buffer) => {
    keepTrouble(chunk.toString());
  });

  const pods = new Map(objects.map((object) => [object, new Map<string, 'working' | 'ending'>()]));
  const peaks = new Map<string, number>();
  const firsts = new Map<string, number>();
  const polled = new Set<string>();

  createInterface({ input: child.stdout }).on('line', (line) => {
    const event = JSON.parse(line) as LocalEvent;
    if (event.event === 'notice' && event.level === 'error') keepTrouble(`${event.message ?? ''}\n`);
    // Named `namespace/name` there.
    const object = event.object?.split('/').at(-1);
    const running = object === undefined ? undefined : pods.get(object);
    if (object === undefined || running === undefined) return;
    if (event.event === 'poll') polled.add(object);
    if (event.event !== 'worker' || event.pod === undefined) return;
    switch (event.state) {
      case 'started':
        running.set(event.pod, 'working');
        if (!firsts.has(object)) firsts.set(object, Date.parse(event.time));
        break;
      case 'stopping':
        running.set(event.pod, 'ending');
        onStopping(object);
        break;
      case 'stopped':
      case 'exited':
        running.delete(event.pod);
        break;
      case undefined:
      default:
    }
    const working = [...running.values()].filter((state) => state === 'working').length;
    peaks.set(object, Math.max(peaks.get(object) ?? 0, working));
  });

  return {
    workers: (object) => ({
      running: () => pods.get(object)?.size ?? 0,
      peak: () => peaks.get(object) ?? 0,
      firstAt: () => firsts.get(object),
    }),
    ready: () => polled.size === objects.length,
    ended: () => ended,
    trouble: () => trouble,
    async stop() {
      if (ended !== undefined) return;
      const exit = once(child, 'exit');
      child.kill('SIGINT');
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_DEADLINE_MS);
      await exit;
      clearTimeout(timer);
    },
  };
}
