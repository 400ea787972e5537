/**
 * gRPC's health protocol. Health is about this process only: a broker in trouble must never make it unhealthy, as a restart or a
 * removal from the Service would help nobody.
 */
import { status, type ServerWritableStream } from '@grpc/grpc-js';
import {
  HealthCheckResponse_ServingStatus as Status,
  type HealthCheckRequest,
  type HealthCheckResponse,
  type HealthServer,
} from './gen/health.ts';

/** Watches kept at once; one more is refused. */
const MAX_WATCHES = 1_000;

/** What is asked for: the process lives, or it may get calls. */
const HEALTH_SERVICES: Readonly<Record<string, 'live' | 'ready'>> = {
  '': 'ready',
  liveness: 'live',
  readiness: 'ready',
  'externalscaler.ExternalScaler': 'ready',
};

export interface Health {
  readonly service: HealthServer;
  /** Tells all watches that readiness may have changed. */
  readonly changed: () => void;
  /** Ends all watches with OK. */
  close(): void;
}

export function createHealth(ready: () => boolean): Health {
  const watches = new Map<ServerWritableStream<HealthCheckRequest, HealthCheckResponse>, Status | undefined>();
  let closed = false;

  function statusOf(service: string): Status {
    const kind = Object.hasOwn(HEALTH_SERVICES, service) ? HEALTH_SERVICES[service] : undefined;
    if (kind === undefined) return Status.SERVICE_UNKNOWN;
    return kind === 'live' || ready() ? Status.SERVING : Status.NOT_SERVING;
  }

  function tell(call: ServerWritableStream<HealthCheckRequest, HealthCheckResponse>): void {
    const now = statusOf(call.request.service);
    if (watches.get(call) === now) return;
    watches.set(call, now);
    call.write({ status: now });
  }

  return {
    service: {
      check: ({ request }, callback) => {
        const found = statusOf(request.service);
        if (found === Status.SERVICE_UNKNOWN) callback({ code: status.NOT_FOUND, details: 'unknown service' });
        else callback(null, { status: found });
      },
      watch: (call) => {
        if (closed) {
          call.end();
          return;
        }
        if (watches.size >= MAX_WATCHES) {
          call.emit('error', { code: status.RESOURCE_EXHAUSTED, details: `more than ${MAX_WATCHES} health watches` });
          return;
        }
        call.on('error', () => undefined);
        call.on('cancelled', () => watches.delete(call));
        watches.set(call, undefined);
        tell(call);
      },
    },
    changed: () => {
      for (const call of watches.keys()) tell(call);
    },
    close: () => {
      closed = true;
      for (const call of watches.keys()) call.end();
      watches.clear();
    },
  };
}
