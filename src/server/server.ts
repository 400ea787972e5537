/**
 * The whole scaler as one thing to start and close: gRPC for KEDA, HTTP for probes and metrics, and the triggers behind them. It
 * reads no environment and no arguments, so that tests and the local mode can have as many as they like in one process.
 */
import type { CredentialSource } from '../auth/credentials.ts';
import type { Logger } from '../logger.ts';
import { SCALERS } from '../scalers/registry.ts';
import { createBrokerPool } from '../scalers/brokerPool.ts';
import type { Scaler } from '../scalers/contract.ts';
import { createTriggers, type Triggers } from '../scalers/triggers.ts';
import { VERSION } from '../version.ts';
import { listen } from './address.ts';
import { followCertificates, type CertificateFiles, type Certificates } from './certificates.ts';
import { startGrpcServer, type GrpcServer } from './grpc/server.ts';
import { createHistory } from './http/page/history.ts';
import { createPage } from './http/page/page.ts';
import { createHttpServer } from './http/server.ts';
import { createStateEvents } from './stateEvents.ts';
import { createStateLog, createRefusalLog } from './stateLog.ts';
import { createLifecycle, SHUTDOWN_GRACE_MS } from './lifecycle.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import { createReadiness } from './readiness.ts';

export interface ServerOptions {
  /** `HOST:PORT`; port 0 takes a free one. */
  readonly grpcAddress: string;
  /** Nothing is served by HTTP without it. */
  readonly httpAddress?: string;
  /** Whether the status page is served at `/`. */
  readonly page?: boolean;
  /** Whether gRPC reflection is served. */
  readonly reflection?: boolean;
  /** Closed with the server. */
  readonly credentials: CredentialSource;
  readonly logger: Logger;
  /** TLS for gRPC, if given. */
  readonly tls?: CertificateFiles & {
    /** DNS and URI names of which a client's certificate must have one. */
    readonly clientNames?: readonly string[];
  };
  readonly maxConnectionAgeMs?: number;
  /** The scalers there are, if not all. */
  readonly scalers?: readonly Scaler[];
  /** Longest shutdown, in ms. */
  readonly shutdownGraceMs?: number;
  /** Calls that may wait for brokers at once. */
  readonly maxWaitingCalls?: number;
}

/** Long enough to cost nothing, short enough for a caller to find a new replica within the hour. */
const MAX_CONNECTION_AGE_MS = 1_800_000;

export interface RunningServer {
  /** `HOST:PORT` as bound. */
  readonly grpcAddress: string;
  readonly httpAddress?: string;
  readonly triggers: Triggers;
  /** Not ready → streams end with OK → calls under way are answered → brokers’ connections close. Never rejects. */
  close(): Promise<void>;
}

export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { credentials, logger } = options;
  const lifecycle = createLifecycle(logger, options.shutdownGraceMs ?? SHUTDOWN_GRACE_MS);
  const readiness = createReadiness(
    () => credentials.watches?.() ?? [],
    () => grpc?.readinessChanged(),
  );
  let grpc: GrpcServer | undefined;
  let triggers: Triggers | undefined;
  const metrics = createMetrics(VERSION, {
    connections: () => grpc?.connections() ?? 0,
    streams: () => grpc?.streams() ?? 0,
    triggers: () => triggers?.all().length ?? 0,
    watches: () => credentials.watches?.() ?? [],
  });
  const events = credentials.events === undefined ? undefined : createStateEvents(credentials.events, logger);
  const stateLog = createStateLog(logger, events);

  try {
    lifecycle.started('credentials', () => credentials.close());
    if (events !== undefined) lifecycle.started('events', (overdue) => events.close(overdue));
    const brokers = createBrokerPool(metrics.brokerEvents);
    lifecycle.started('brokers', () => brokers.close());
    const history = options.page === true && options.httpAddress !== undefined ? createHistory() : undefined;
    triggers = createTriggers(credentials, brokers, options.scalers ?? SCALERS, history);
    const known = triggers;

    let httpAddress: string | undefined;
    if (options.httpAddress !== undefined) {
      const page = history === undefined ? undefined : createPage(history, () => known.all());
      const http = createHttpServer({ registry: metrics.registry, waitingFor: () => readiness.waitingFor(), page });
      httpAddress = await listen(http, options.httpAddress);
      lifecycle.started('http', () => {
        page?.close();
        http.close();
        http.closeAllConnections();
      });
    }

    const certificates = await startCertificates(options.tls, logger, metrics, (changed) => grpc?.useCertificates(changed));
    if (certificates !== undefined) {
      lifecycle.started('certificates', () => {
        certificates.close();
      });
    }
    const refusals = createRefusalLog(logger);
    grpc = await startGrpcServer({
      address: options.grpcAddress,
      triggers,
      maxConnectionAgeMs: options.maxConnectionAgeMs ?? MAX_CONNECTION_AGE_MS,
      ...(certificates === undefined ? {} : { certificates: certificates.first }),
      ...(options.tls?.clientNames === undefined ? {} : { clientNames: options.tls.clientNames }),
      ...(options.maxWaitingCalls === undefined ? {} : { maxWaitingCalls: options.maxWaitingCalls }),
      reflection: options.reflection === true,
      ready: () => readiness.waitingFor().length === 0,
      observe: (end) => {
        metrics.call(end);
        stateLog.call(end);
      },
      woke: metrics.woke,
      refused: (why, detail) => {
        metrics.connectionRefused(why);
        refusals(why, detail);
      },
    });
    const started = grpc;
    lifecycle.started('grpc', (overdue) => started.close(overdue));
    readiness.serving();

    return {
      grpcAddress: started.address,
      ...(httpAddress === undefined ? {} : { httpAddress }),
      triggers,
      close: () => {
        readiness.ending();
        return lifecycle.close();
      },
    };
  } catch (error) {
    readiness.ending();
    await lifecycle.close();
    throw error;
  }
}

async function startCertificates(
  tls: ServerOptions['tls'],
  logger: Logger,
  metrics: Metrics,
  use: (certificates: Certificates) => void,
): Promise<{ readonly first: Certificates; close(): void } | undefined> {
  if (tls === undefined) return undefined;
  const following = await followCertificates(tls, {
    changed: (certificates) => {
      use(certificates);
      metrics.certificate(certificates);
      logger.info({ expiresAt: certificates.expiresAt }, 'a new certificate is served');
    },
    failed: (error) => {
      metrics.certificate('failed');
      logger.warn({ reason: error.message }, 'the certificate files cannot be used; the last good ones stay');
    },
  });
  metrics.certificate(following.first);
  return following;
}
