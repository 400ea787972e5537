/**
 * How new streams come in: HTTP/2 takes them, and grpc-js gets them a few at a time, while calls go past them. A stream that its client has
 * given up before its turn must cost nothing more, and none may be lost.
 */
import type { Http2Server, IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import type { Server, ServiceDefinition } from '@grpc/grpc-js';
import { ProcessError } from '../../errors.ts';
import type { Pace } from './pace.ts';
import { createStreamQuota } from './streamQuota.ts';

type StreamListener = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, flags: number) => void;

/** Calls of the services' streaming methods wait for their turn at the pace. */
export function paceIntake(server: Server, services: readonly ServiceDefinition[], pace: Pace): void {
  const http2 = http2ServerOf(server);
  const paths = new Set(
    services.flatMap((service) => Object.values(service).flatMap(({ responseStream, path }) => (responseStream ? [path] : []))),
  );
  const listeners = http2.listeners('stream') as StreamListener[];
  http2.removeAllListeners('stream');
  const begin: StreamListener = (...stream) => {
    for (const listener of listeners) listener.apply(http2, stream);
  };
  http2.on('stream', (stream, headers, flags) => {
    if (!paths.has(headers[':path'] ?? '')) {
      begin(stream, headers, flags);
      return;
    }
    // Told by its close.
    stream.on('error', ignore);
    pace(() => {
      if (!stream.destroyed) begin(stream, headers, flags);
    });
  });
  http2.on('session', createStreamQuota());
}

function ignore(): void {
  // Told elsewhere.
}

/** The HTTP/2 server that grpc-js has of Node is only to be found inside it. */
function http2ServerOf(server: Server): Http2Server {
  const servers: unknown = Reflect.get(server, 'http2Servers');
  const found: unknown = servers instanceof Map ? servers.keys().next().value : undefined;
  if (typeof found === 'object' && found !== null && 'listeners' in found) return found as Http2Server;
  throw new ProcessError('INTERNAL', 'this version of grpc-js keeps its HTTP/2 server elsewhere: streams could not be limited');
}
