#!/usr/bin/env -S node --v8-pool-size=1
/**
 * From the arguments to one command, whose module is loaded only when it is asked for. The only place that ends the process.
 */
import { Command, CommanderError } from 'commander';
import { createLogger, describeError } from './logger.ts';
import { UsageError } from './settings.ts';
import { VERSION } from './version.ts';

interface CommandEntry {
  readonly doc: string;
  load(): Promise<Command>;
}

const COMMANDS: Readonly<Record<string, CommandEntry>> = {
  serve: {
    doc: 'serve KEDA by gRPC',
    load: async () => (await import('./cli/serve.ts')).serveCommand(),
  },
  local: {
    doc: 'run ScaledObjects and their workers on this machine',
    load: async () => (await import('./cli/local.ts')).localCommand(),
  },
  check: {
    doc: 'find the faults of manifests',
    load: async () => (await import('./cli/check.ts')).checkCommand(),
  },
  read: {
    doc: 'read queues once and explain the reading',
    load: async () => (await import('./cli/read.ts')).readCommand(),
  },
  convert: {
    doc: 'make KEDA’s own triggers triggers of this scaler, or back',
    load: async () => (await import('./cli/convert.ts')).convertCommand(),
  },
};

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

/** Resolves with the exit code. */
async function main(args: readonly string[]): Promise<number> {
  const program = new Command('queue-scaler')
    .description('A KEDA external scaler for message queues')
    .version(VERSION)
    .exitOverride();
  for (const [name, entry] of Object.entries(COMMANDS)) {
    if (args[0] === name) program.addCommand((await entry.load()).exitOverride());
    else program.command(name).description(entry.doc);
  }
  try {
    await program.parseAsync(args, { from: 'user' });
    return typeof process.exitCode === 'number' ? process.exitCode : 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
    if (error instanceof UsageError) {
      process.stderr.write(`${error.message}\n`);
      return EXIT_USAGE;
    }
    createLogger().fatal({ error }, 'failed');
    return EXIT_FAILED;
  }
}

// A rejection that nobody awaited is one task's failure, often a client library's: the others go on. An exception that nobody
// caught leaves the process in an unknown state: it ends, and a replica takes over.
process.on('unhandledRejection', (error) => {
  createLogger().error({ error }, 'a failure that nobody awaited');
});
process.on('uncaughtException', (error) => {
  process.stderr.write(
    `${JSON.stringify({ level: 'fatal', error: describeError(error), msg: 'a failure that nobody caught' })}\n`,
  );
  process.exit(EXIT_FAILED);
});

process.exit(await main(process.argv.slice(2)));
