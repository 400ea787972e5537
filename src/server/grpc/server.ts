/**
 * The gRPC side: KEDA's service and the health service behind a listener of our own. It must end within its grace period and must
 * end streams with OK, as KEDA waits longer and longer after any other end.
 */
import { createServer as createListener, type Socket } from 'node:net';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import type { Triggers } from '../../scalers/triggers.ts';
import { listen } from '../address.ts';
import { createAdapter, type CallEnd } from './adapt.ts';
import { createExternalScaler } from './externalScaler.ts';
import { ExternalScalerService } from './gen/externalscaler.ts';
import { HealthService } from './gen/health.ts';
import { createHealth } from './health.ts';
import { createPush } from './push.ts';

/** Above this a message is refused by the transport; below, metadata that is too large gets an answer that says so. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
const KEEPALIVE_TIME_MS = 30_000;
const KEEPALIVE_TIMEOUT_MS = 10_000;

export interface GrpcServerOptions {
  readonly address: string;
  readonly triggers: Triggers;
  ready(): boolean;
  observe(end: CallEnd): void;
  woke(ms: number): void;
}

export interface GrpcServer {
  /** `HOST:PORT` as bound. */
  readonly address: string;
  /** Tells health watches that readiness may have changed. */
  readinessChanged(): void;
  /** Ends streams with OK, answers what is under way, and drops what is left when the signal aborts. */
  close(overdue: AbortSignal): Promise<void>;
}

export async function startGrpcServer(options: GrpcServerOptions): Promise<GrpcServer> {
  const ending = new AbortController();
  const push = createPush((ms) => {
    options.woke(ms);
  });
  const health = createHealth(() => options.ready());
  const adapter = createAdapter((end) => {
    options.observe(end);
  }, ending.signal);

  const server = new Server({
    'grpc.enable_channelz': 0,
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    'grpc.keepalive_time_ms': KEEPALIVE_TIME_MS,
    'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
    'grpc.keepalive_permit_without_calls': 1,
  });
  server.addService(ExternalScalerService, createExternalScaler(options.triggers, push, adapter));
  server.addService(HealthService, health.service);

  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const sockets = new Set<Socket>();
  const listener = createListener({ noDelay: true, pauseOnConnect: false }, (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    // What breaks a connection is told by the calls on it; a socket that is no peer of ours just ends.
    socket.on('error', () => socket.destroy());
    injector.injectConnection(socket);
  });
  const address = await listen(listener, options.address);

  return {
    address,
    readinessChanged: () => {
      health.changed();
    },
    close: async (overdue) => {
      health.changed();
      const closed = new Promise<void>((resolve) =>
        listener.close(() => {
          resolve();
        }),
      );
      ending.abort();
      push.close();
      health.close();
      const drop = (): void => {
        server.forceShutdown();
        for (const socket of sockets) socket.destroy();
      };
      overdue.addEventListener('abort', drop, { once: true });
      await new Promise<void>((resolve) => {
        // An error only says that some listener was closed already.
        server.tryShutdown(() => {
          resolve();
        });
      });
      overdue.removeEventListener('abort', drop);
      // Connections that never spoke are unknown to the server.
      drop();
      await closed;
    },
  };
}
