/**
 * The whole scaler as one thing to start and close: gRPC for KEDA, HTTP for probes and metrics, and the triggers behind them. It
 * reads no environment and no arguments, so that tests and the local mode can have as many as they like in one process.
 */
import type { CredentialSource } from '../auth/credentials.ts';
import type { Logger } from '../logger.ts';
import { SCALERS } from '../scalers/registry.ts';
import { createSamplers } from '../scalers/samplers.ts';
import type { Scaler } from '../scalers/scaler.ts';
import { createTriggers, type Triggers } from '../scalers/triggers.ts';
import { VERSION } from '../version.ts';
import { listen } from './address.ts';
import { startGrpcServer } from './grpc/server.ts';
import { createHttpServer } from './http/server.ts';
import { createLifecycle, SHUTDOWN_GRACE_MS } from './lifecycle.ts';
import { createMetrics } from './metrics.ts';

export interface ServerOptions {
  /** `HOST:PORT`; port 0 takes a free one. */
  readonly grpcAddress: string;
  /** Nothing is served by HTTP without it. */
  readonly httpAddress?: string;
  /** Closed with the server. */
  readonly credentials: CredentialSource;
  readonly logger: Logger;
  /** The scalers there are, if not all. */
  readonly scalers?: readonly Scaler[];
  /** Longest shutdown, in ms. */
  readonly shutdownGraceMs?: number;
}

export interface RunningServer {
  /** `HOST:PORT` as bound. */
  readonly grpcAddress: string;
  readonly httpAddress?: string;
  readonly triggers: Triggers;
  /** Not ready → streams end with OK → calls under way are answered → brokers’ connections close. Never rejects. */
  close(): Promise<void>;
}

export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { credentials, logger, shutdownGraceMs = SHUTDOWN_GRACE_MS, scalers = SCALERS } = options;
  const lifecycle = createLifecycle(logger, shutdownGraceMs);
  const metrics = createMetrics(VERSION);
  let state: 'starting' | 'serving' | 'closing' = 'starting';
  const waitingFor = (): string[] => (state === 'serving' ? [] : [state === 'starting' ? 'the start' : 'the end']);

  try {
    lifecycle.started('credentials', () => credentials.close());
    const samplers = createSamplers(metrics.samplerEvents);
    lifecycle.started('brokers', () => samplers.close());
    const triggers = createTriggers(credentials, samplers, scalers);

    let httpAddress: string | undefined;
    if (options.httpAddress !== undefined) {
      const http = createHttpServer({ registry: metrics.registry, waitingFor });
      httpAddress = await listen(http, options.httpAddress);
      lifecycle.started('http', () => {
        http.close();
        http.closeAllConnections();
      });
    }

    const grpc = await startGrpcServer({
      address: options.grpcAddress,
      triggers,
      ready: () => waitingFor().length === 0,
      observe: (end) => {
        metrics.call(end);
        if (end.error?.code === 'INTERNAL') logger.error({ method: end.method, ...end.subject, error: end.error }, 'defect');
      },
      woke: (ms) => {
        metrics.woke(ms);
      },
    });
    lifecycle.started('grpc', (overdue) => grpc.close(overdue));
    state = 'serving';
    grpc.readinessChanged();

    return {
      grpcAddress: grpc.address,
      ...(httpAddress === undefined ? {} : { httpAddress }),
      triggers,
      close: () => {
        state = 'closing';
        return lifecycle.close();
      },
    };
  } catch (error) {
    await lifecycle.close();
    throw error;
  }
}
