/**
 * The gRPC side: KEDA's service and the health service behind a listener of our own. It must end within its grace period and must
 * end streams with OK, as KEDA waits longer and longer after any other end.
 */
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { onAbort } from '../../abort.ts';
import type { Triggers } from '../../scalers/triggers.ts';
import { listen } from '../address.ts';
import type { Certificates } from '../certificates.ts';
import { createAdapter, type CallEnd } from './adapt.ts';
import { createExternalScaler, type CallSubject } from './externalScaler.ts';
import { ExternalScalerService } from './gen/externalscaler.ts';
import { HealthService } from './gen/health.ts';
import { createHealth } from './health.ts';
import { createListener, type Refusal } from './listener.ts';
import { createPush } from './push.ts';
import { createReflection } from './reflection.ts';
import { releaseClosed } from './release.ts';

/** Above this a message is refused by the transport; below, metadata that is too large gets an answer that says so. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
/**
 * Also ends connections whose peer has vanished or never speaks, and those that HTTP/2 itself has given up on, which answer no ping.
 * There are few connections, so that pings cost nothing; the answer gets longer than this process ever stands still.
 */
const KEEPALIVE_TIME_MS = 10_000;
const KEEPALIVE_TIMEOUT_MS = 10_000;
/** Of one connection: KEDA opens a single one for everything, with one or two streams a trigger. */
const MAX_CONCURRENT_STREAMS = 30_000;
/** What a connection may hold on to after its age, beyond the age of the streams on it. */
const AGE_GRACE_MS = 10_000;

export interface GrpcServerOptions {
  readonly address: string;
  readonly triggers: Triggers;
  /** TLS if given. */
  readonly certificates?: Certificates;
  readonly clientNames?: readonly string[];
  /** Connections are asked to end at about this age, in ms, so that callers find new replicas; streams end with OK by then. */
  readonly maxConnectionAgeMs: number;
  readonly maxWaitingCalls?: number;
  readonly reflection: boolean;
  readonly ready: () => boolean;
  readonly observe: (end: CallEnd<CallSubject>) => void;
  readonly woke: (ms: number) => void;
  readonly refused: (why: Refusal, detail: string) => void;
}

export interface GrpcServer {
  /** `HOST:PORT` as bound. */
  readonly address: string;
  connections(): number;
  streams(): number;
  useCertificates(certificates: Certificates): void;
  /** Tells health watches that readiness may have changed. */
  readinessChanged(): void;
  /** Ends streams with OK, answers what is under way, and drops what is left when the signal aborts. */
  close(overdue: AbortSignal): Promise<void>;
}

export async function startGrpcServer(options: GrpcServerOptions): Promise<GrpcServer> {
  const ending = new AbortController();
  const push = createPush(options.woke);
  const health = createHealth(options.ready);
  const adapter = createAdapter<CallSubject>({
    observe: options.observe,
    ending: ending.signal,
    maxStreamAgeMs: options.maxConnectionAgeMs,
    ...(options.maxWaitingCalls === undefined ? {} : { maxWaitingCalls: options.maxWaitingCalls }),
  });

  const server = new Server({
    'grpc.enable_channelz': 0,
    interceptors: [releaseClosed],
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    'grpc.max_concurrent_streams': MAX_CONCURRENT_STREAMS,
    'grpc.keepalive_time_ms': KEEPALIVE_TIME_MS,
    'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
    'grpc.keepalive_permit_without_calls': 1,
    'grpc.max_connection_age_ms': options.maxConnectionAgeMs,
    // A stream lives no longer than a connection's age, so by then each has ended by itself.
    'grpc.max_connection_age_grace_ms': options.maxConnectionAgeMs + AGE_GRACE_MS,
  });
  server.addService(ExternalScalerService, createExternalScaler(options.triggers, push, adapter));
  server.addService(HealthService, health.service);
  const reflection = options.reflection ? createReflection() : undefined;
  for (const [definition, implementation] of reflection?.services ?? []) server.addService(definition, implementation);

  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const listener = createListener({
    ...(options.certificates === undefined ? {} : { certificates: options.certificates }),
    ...(options.clientNames === undefined ? {} : { clientNames: options.clientNames }),
    connection: (socket) => {
      injector.injectConnection(socket);
    },
    refused: options.refused,
  });
  const address = await listen(listener.server, options.address);

  return {
    address,
    connections: listener.open,
    streams: adapter.openStreams,
    useCertificates: listener.useCertificates,
    readinessChanged: health.changed,
    close: async (overdue) => {
      health.changed();
      const stopped = listener.stop();
      ending.abort();
      push.close();
      health.close();
      reflection?.close();
      const drop = (): void => {
        server.forceShutdown();
        listener.drop();
      };
      const forget = onAbort(overdue, drop);
      await new Promise<void>((resolve) => {
        // An error only says that a listener of grpc-js's own was never open.
        server.tryShutdown(() => {
          resolve();
        });
      });
      forget();
      // Connections that never spoke are unknown to the server.
      drop();
      await stopped;
    },
  };
}
