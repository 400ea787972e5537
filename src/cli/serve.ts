/**
 * `queue-scaler serve`: the scaler as KEDA's server, until SIGTERM. Its log is its only output.
 */
import { setFlagsFromString } from 'node:v8';
import { Command } from 'commander';
import { openCredentials } from '../auth/openCredentials.ts';
import { createLogger } from '../logger.ts';
import { startServer } from '../server/server.ts';
import { declareFlags, readSettings, SERVE_SETTINGS, tlsOf } from '../settings.ts';
import { VERSION } from '../version.ts';

export function serveCommand(): Command {
  const command = new Command('serve').description('serve KEDA by gRPC');
  return declareFlags(command, SERVE_SETTINGS).action(async (flags: Record<string, string>) => {
    await serve(flags);
  });
}

/**
 * V8 lets garbage grow to several times what lives before it collects it. What lives here is long-lived and small beside what calls
 * leave behind: collecting at a third more took a quarter less memory for ten thousand streams, and some hundredths of the CPU.
 */
const GARBAGE_PERCENT = 30;

/** Resolves when the server has ended after a signal. */
async function serve(flags: Readonly<Record<string, string>>): Promise<void> {
  // What V8 learns of where to put new objects while ten thousand streams are opened, it does not unlearn: what calls leave behind
  // would then go where only a full collection finds it. At three thousand calls a second that took a full collection every three
  // seconds and a quarter of the CPU; without it there is one in half a minute.
  setFlagsFromString('--no-allocation-site-pretenuring');
  setFlagsFromString(`--heap-growing-percent=${GARBAGE_PERCENT}`);
  const settings = readSettings(SERVE_SETTINGS, flags, process.env);
  const tls = tlsOf(settings);
  const logger = createLogger(settings.logLevel);
  // Before the start, so that a signal during it is not lost.
  const stopped = firstSignal();
  const server = await startServer({
    grpcAddress: settings.grpcAddress,
    httpAddress: settings.httpAddress,
    page: settings.page === 'on',
    reflection: settings.reflection === 'on',
    credentials: await openCredentials(settings, process.env, logger),
    logger,
    shutdownGraceMs: settings.shutdownGrace,
    maxConnectionAgeMs: settings.maxConnectionAge,
    ...(tls === undefined ? {} : { tls }),
  });
  if (tls === undefined) logger.warn('gRPC is plain: values that KEDA forwards, passwords among them, can be read on the way');
  logger.info({ grpc: server.grpcAddress, http: server.httpAddress, version: VERSION, pid: process.pid }, 'serving');
  const signal = await stopped;
  logger.info({ signal }, 'ending');
  await server.close();
  logger.info('ended');
}

/** A second signal is the system's business again, and ends the process at once. */
function firstSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, resolve);
  });
}
