/**
 * The HTTP side: metrics and probes.
 */
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { Registry } from 'prom-client';
import type { Page } from './page/page.ts';

const REQUEST_TIMEOUT_MS = 5_000;
const MAX_HEADERS = 100;

export interface HttpSources {
  readonly registry: Registry;
  /** What is still waited for; empty if ready. */
  waitingFor(): readonly string[];
  /** The status page, if it is served. */
  readonly page?: Page | undefined;
}

export function createHttpServer({ registry, ...sources }: HttpSources): Server {
  const server = createServer((request, response) => {
    request.resume();
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD');
      reply(response, 405, 'method not allowed\n');
      return;
    }
    if (sources.page?.handle(request, response) === true) return;
    switch (request.url?.split('?', 1)[0] ?? '') {
      case '/metrics':
        registry.metrics().then(
          (text) => {
            reply(response, 200, text, registry.contentType);
          },
          () => {
            reply(response, 500, 'metrics could not be collected\n');
          },
        );
        return;
      case '/livez':
        reply(response, 200, 'ok\n');
        return;
      case '/readyz': {
        const waiting = sources.waitingFor();
        if (waiting.length === 0) reply(response, 200, 'ok\n');
        else reply(response, 503, `waiting for: ${waiting.join(', ')}\n`);
        return;
      }
      default:
        reply(response, 404, 'not found: /metrics, /livez and /readyz are served here\n');
    }
  });
  server.requestTimeout = REQUEST_TIMEOUT_MS;
  server.headersTimeout = REQUEST_TIMEOUT_MS;
  server.maxHeadersCount = MAX_HEADERS;
  return server;
}

function reply(response: ServerResponse, code: number, text: string, contentType = 'text/plain; charset=utf-8'): void {
  response.writeHead(code, { 'content-type': contentType, 'content-length': Buffer.byteLength(text) });
  response.end(text);
}
