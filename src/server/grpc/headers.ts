/**
 * Gives back the memory of header values that all calls of a caller have in common, such as the method's path. Node makes a string of
 * each that V8 frees, with HTTP/2's own memory behind it, in a full collection only, one by one: at three thousand calls a second that
 * was some 25 MB, and half of the collection's pause. It must never keep what a call alone has said, least of all a secret.
 */
import type { IncomingHttpHeaders, Http2Server, ServerHttp2Stream } from 'node:http2';
import type { Server } from '@grpc/grpc-js';

/** What gRPC's clients say in the same words each time. */
const COMMON: ReadonlySet<string> = new Set([
  ':path',
  ':authority',
  'content-type',
  'te',
  'user-agent',
  'grpc-encoding',
  'grpc-accept-encoding',
  'accept-encoding',
]);
/** More different values, or longer ones, are said by nobody who means well. */
const MAX_VALUES = 100;
const MAX_LENGTH = 256;

/** For all connections of the server's injectors and ports that have been made already; says of how many. */
export function shareHeaders(server: Server): number {
  // Not part of grpc-js's interface, which shows no headers as they came: without it calls are served all the same.
  const { http2Servers } = server as unknown as { readonly http2Servers?: ReadonlyMap<Http2Server, unknown> };
  const share = createSharing();
  for (const http2Server of http2Servers?.keys() ?? []) {
    http2Server.prependListener(
      'stream',
      (_stream: ServerHttp2Stream, _headers: IncomingHttpHeaders, _flags: number, raw: readonly string[]) => {
        for (let at = 0; at + 1 < raw.length; at += 2) if (COMMON.has(raw[at] ?? '')) share(raw[at + 1] ?? '');
      },
    );
  }
  return http2Servers?.size ?? 0;
}

/**
 * A string that is used as the name of a property becomes a reference to the one name that V8 keeps of that text, and what was behind
 * the string is free at once.
 */
function createSharing(): (value: string) => void {
  let names: Record<string, true> = Object.create(null) as Record<string, true>;
  let count = 0;
  return (value) => {
    if (value.length > MAX_LENGTH || names[value] === true) return;
    if (count >= MAX_VALUES) {
      names = Object.create(null) as Record<string, true>;
      count = 0;
    }
    count++;
    // A copy, as the string itself would stay what it is where it is the first of its text.
    names[Buffer.from(value, 'latin1').toString('latin1')] = true;
  };
}
