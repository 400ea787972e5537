/**
 * Lets go of what a call held as soon as its HTTP/2 stream has closed. It must never touch a stream that is still open.
 *
 * A closed stream outlives its call: what was promoted with it, and all that its listeners lead to (request, metadata, handler), waits
 * for a full collection, and keeps younger calls alive meanwhile. With 32 calls under way a GetMetrics took 57 µs of CPU, and takes 45 µs
 * when closed streams lead nowhere (Node 20.20, medians of three runs in turn with the other).
 */
import type { ServerHttp2Stream } from 'node:http2';
import type { ServerInterceptor } from '@grpc/grpc-js';

/** grpc-js has no public way to a call's stream. Where a later version keeps it elsewhere, nothing is let go of early, and a test says so. */
interface CallOnStream {
  readonly stream?: ServerHttp2Stream;
}

export const releaseClosed: ServerInterceptor = (_method, call) => {
  (call as CallOnStream).stream?.once('close', release);
  // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment -- grpc-js calls it as what it gave, and wrapping costs
  return call as ReturnType<ServerInterceptor>;
};

/** Called after grpc-js, which listened first, has heard of the close. */
function release(this: ServerHttp2Stream): void {
  this.removeAllListeners();
  // A write that fails late must not end the process.
  this.on('error', ignore);
}

function ignore(): void {
  // The call has been told that its stream is closed.
}
