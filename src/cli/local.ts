/**
 * `queue-scaler local FILE…`: flags in, output and exit code out. It must keep stdout to what was asked for: the events, the lines or
 * the table.
 */
import { Command, InvalidArgumentError, Option } from 'commander';
import { readManifests } from '../auth/files.ts';
import { createLogger } from '../logger.ts';
import type { LocalEvent } from '../local/events.ts';
import { DEFAULT_TOLERANCE } from '../local/hpa/behavior.ts';
import { DEFAULT_SYNC_PERIOD_MS } from '../local/hpa/hpa.ts';
import { jsonLine, lineWriter } from '../local/output/lines.ts';
import { createTable } from '../local/output/table.ts';
import { planRun, type Plan } from '../local/plan.ts';
import { run, type RunEnd } from '../local/run.ts';
import { duration } from '../scalers/values.ts';

interface Flags {
  readonly json?: true;
  readonly untilIdle?: true;
  /** Ms. */
  readonly duration?: number;
  /** Ms. */
  readonly hpaSyncPeriod: number;
  readonly hpaTolerance: number;
  readonly workerOutput: 'show' | 'drop';
  readonly httpAddress?: string;
}

/** What the run says, and to whom. */
interface Output {
  event(event: LocalEvent): void;
  /** A worker's line or one of the scaler's log. */
  aside(line: string): void;
  close(): void;
}

export function localCommand(): Command {
  return new Command('local')
    .description('run ScaledObjects and their workers on this machine, scaled as KEDA and the HPA would')
    .argument(
      '<file...>',
      'manifests: ScaledObject, Deployment, TriggerAuthentication, Secret, ConfigMap; a folder stands for its .yaml files',
    )
    .option('--json', 'print one JSON object an event')
    .option('--until-idle', 'end once every ScaledObject has been active and is at rest again')
    .option('--duration <time>', 'end after so long at the latest, such as 90s', parseTime)
    .option('--hpa-sync-period <time>', "time between the HPA's syncs", parseTime, DEFAULT_SYNC_PERIOD_MS)
    .option(
      '--hpa-tolerance <fraction>',
      'how far a metric may stray from its target unnoticed',
      parseFraction,
      DEFAULT_TOLERANCE,
    )
    .addOption(new Option('--worker-output <how>', "the workers' own output").choices(['show', 'drop']).default('show'))
    .option('--http-address <host:port>', "serve the scaler's metrics and status there")
    .action(async (files: string[], flags: Flags) => {
      process.exitCode = await local(files, flags);
    });
}

/** Resolves with the exit code, when no worker is left. */
async function local(files: readonly string[], flags: Flags): Promise<number> {
  const manifests = await readManifests(files);
  const plan = await planRun(manifests, { syncPeriodMs: flags.hpaSyncPeriod, tolerance: flags.hpaTolerance });
  if (plan.faults.length > 0) {
    process.stderr.write(faultLines(plan).join(''));
    return 1;
  }

  const stop = new AbortController();
  const kill = new AbortController();
  const onSignal = (): void => {
    (stop.signal.aborted ? kill : stop).abort();
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  const output = chooseOutput(flags);
  try {
    const end = await run({
      manifests,
      plan,
      logger: createLogger('warn', {
        write(line) {
          output.aside(line.trimEnd());
        },
      }),
      tell: (event) => {
        output.event(event);
      },
      workerOutput: ({ pod, line }) => {
        if (flags.workerOutput === 'show') output.aside(`[${pod}] ${line}`);
      },
      ...(flags.httpAddress === undefined ? {} : { httpAddress: flags.httpAddress }),
      untilIdle: flags.untilIdle === true,
      ...(flags.duration === undefined ? {} : { durationMs: flags.duration }),
      stop: stop.signal,
      kill: kill.signal,
    });
    return exitCode(end, flags);
  } finally {
    output.close();
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}

/** A run that was to become idle and did not has failed, and so has one whose triggers are refused. */
function exitCode(end: RunEnd, { untilIdle }: Flags): number {
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

function chooseOutput({ json }: Flags): Output {
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
    columns: () => process.stdout.columns,
    colours: process.stdout.hasColors(),
  });
  return {
    event: (event) => {
      table.event(event);
    },
    aside: (line) => {
      table.line(line);
    },
    close: () => {
      table.close();
    },
  };
}

function faultLines({ faults }: Plan): string[] {
  return faults.map(({ position: { file, line, column }, object, path, message }) => {
    const place = [object, path.join('.')].filter((part) => part !== undefined && part !== '').join(': ');
    return `${file}:${line}:${column}: ${place === '' ? '' : `${place} `}${message}\n`;
  });
}

function parseTime(text: string): number {
  const parsed = duration({ minMs: 100 }).safeParse(text);
  if (!parsed.success) throw new InvalidArgumentError(parsed.error.issues[0]?.message ?? '');
  return parsed.data;
}

function parseFraction(text: string): number {
  const value = Number(text);
  if (!/^\d+(?:\.\d+)?$/.test(text) || value >= 1) throw new InvalidArgumentError('must be a fraction of at least 0 and below 1');
  return value;
}
