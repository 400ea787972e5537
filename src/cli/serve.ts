/**
 * `queue-scaler serve`: the scaler as KEDA's server, until SIGTERM. Its log is its only output.
 */
import { Command } from 'commander';
import { createCredentialSource } from '../auth/createCredentialSource.ts';
import { createLogger } from '../logger.ts';
import { endpointKeysOf } from '../scalers/registry.ts';
import { startServer } from '../server/server.ts';
import { declareFlags, readSettings, SERVE_SETTINGS, tlsOf } from '../settings.ts';
import { VERSION } from '../version.ts';
import { tuneHeap } from './heap.ts';

export function serveCommand(): Command {
  const command = new Command('serve').description('serve KEDA by gRPC');
  return declareFlags(command, SERVE_SETTINGS).action(async (flags: Record<string, string>) => {
    await serve(flags);
  });
}

/** Resolves when the server has ended after a signal. */
async function serve(flags: Readonly<Record<string, string>>): Promise<void> {
  tuneHeap();
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
    credentials: await createCredentialSource(settings, process.env, endpointKeysOf, logger),
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
