/**
 * `queue-scaler local FILE…`: flags in, output and exit code out. Only the events, the lines or the table go to stdout.
 */
import { Command } from 'commander';
import { readManifests } from '../auth/files.ts';
import { createLogger } from '../logger.ts';
import type { LocalEvent } from '../local/events.ts';
import { jsonLine, lineWriter } from '../local/output/lines.ts';
import { createTable } from '../local/output/table.ts';
import { planRun, type Plan } from '../local/plan.ts';
import { run, type RunEnd } from '../local/run.ts';
import { declareFlags, LOCAL_SETTINGS, readSettings, type Settings } from '../settings.ts';

const DEFAULT_COLUMNS = 80;
const DEFAULT_ROWS = 24;

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

interface Switches {
  readonly json?: true;
  readonly untilIdle?: true;
}

/** What the run says, and to whom. */
interface Output {
  readonly event: (event: LocalEvent) => void;
  /** A worker's line or one of the scaler's log. */
  aside(line: string): void;
  close(): void;
}

export function localCommand(): Command {
  const command = new Command('local')
    .description('run ScaledObjects and their workers on this machine, scaled as KEDA and the HPA would')
    .argument('<file...>', 'manifests of ScaledObjects and what they name; a folder stands for its .yaml files')
    .option('--json', 'Print one JSON object an event.')
    .option('--until-idle', 'End once every ScaledObject has been active and is at rest again.');
  return declareFlags(command, LOCAL_SETTINGS).action(async (files: string[], flags: Switches & Record<string, string>) => {
    process.exitCode = await local(files, flags, readSettings(LOCAL_SETTINGS, flags, process.env));
  });
}

/** Resolves with the exit code, when no worker is left. */
async function local(files: readonly string[], switches: Switches, settings: Settings<typeof LOCAL_SETTINGS>): Promise<number> {
  const manifests = await readManifests(files);
  const plan = await planRun(manifests, {
    syncPeriodMs: settings.hpaSyncPeriod,
    tolerance: settings.hpaTolerance,
    kedaVersion: settings.kedaVersion,
  });
  if (plan.faults.length > 0) {
    process.stderr.write(faultLines(plan).join(''));
    return 1;
  }

  const stop = new AbortController();
  const kill = new AbortController();
  const onSignal = (): void => {
    (stop.signal.aborted ? kill : stop).abort();
  };
  const onGone = (): void => {
    stop.abort();
  };
  for (const name of SIGNALS) process.on(name, onSignal);
  // Whoever read the output is gone.
  process.stdout.on('error', onGone);
  const output = chooseOutput(switches);
  try {
    const end = await run({
      manifests,
      plan,
      logger: createLogger('warn', {
        write(line) {
          output.aside(line.trimEnd());
        },
      }),
      tell: output.event,
      workerOutput: ({ pod, line }) => {
        if (settings.workerOutput === 'show') output.aside(`[${pod}] ${line}`);
      },
      ...(settings.httpAddress === undefined ? {} : { httpAddress: settings.httpAddress }),
      untilIdle: switches.untilIdle === true,
      ...(settings.duration === undefined ? {} : { durationMs: settings.duration }),
      stop: stop.signal,
      kill: kill.signal,
    });
    return exitCode(end, switches);
  } finally {
    output.close();
    for (const name of SIGNALS) process.off(name, onSignal);
  }
}

/** A run that was to become idle and did not has failed, and so has one whose triggers are refused. */
function exitCode(end: RunEnd, { untilIdle }: Switches): number {
  switch (end) {
    case 'idle':
    case 'stopped':
      return 0;
    case 'duration over':
      return untilIdle === true ? 1 : 0;
    case 'refused':
      return 1;
  }
}

function chooseOutput({ json }: Switches): Output {
  const toStdout = (text: string): void => void process.stdout.write(`${text}\n`);
  const toStderr = (text: string): void => void process.stderr.write(`${text}\n`);
  const nothing = (): void => undefined;
  if (json === true)
    return {
      event: (event) => {
        toStdout(jsonLine(event));
      },
      aside: toStderr,
      close: nothing,
    };
  if (!process.stdout.isTTY) return { event: lineWriter(toStdout), aside: toStderr, close: nothing };
  const table = createTable({
    write: (text) => void process.stdout.write(text),
    // 0 where the terminal does not know its size.
    size: () => ({ columns: process.stdout.columns || DEFAULT_COLUMNS, rows: process.stdout.rows || DEFAULT_ROWS }),
    colours: process.stdout.hasColors(),
  });
  return { event: table.event, aside: table.line, close: table.close };
}

function faultLines({ faults }: Plan): string[] {
  return faults.map(({ position: { file, line, column }, object, path, message }) => {
    const place = [object, path.join('.')].filter((part) => part !== undefined && part !== '').join(': ');
    return `${file}:${line}:${column}: ${place === '' ? '' : `${place} `}${message}\n`;
  });
}
