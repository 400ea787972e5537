/**
 * The page at `/` and what it asks for: the triggers' states, live, and one trigger's explanation; no metadata, no credentials.
 */
import { readFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Trigger } from '../../../scalers/trigger.ts';
import type { History } from './history.ts';

/** Changes are sent together, so often. */
const FLUSH_MS = 250;
/** A comment keeps proxies from ending a quiet stream. */
const BEAT_MS = 15_000;
/** Browsers that are followed at once. */
const MAX_STREAMS = 50;

const ASSETS: Readonly<Record<string, { readonly file: string; readonly type: string }>> = {
  '/': { file: 'index.html', type: 'text/html; charset=utf-8' },
  '/page/app.js': { file: 'app.js', type: 'text/javascript; charset=utf-8' },
  '/page/chart.js': { file: 'chart.js', type: 'text/javascript; charset=utf-8' },
  '/page/curve.js': { file: 'curve.js', type: 'text/javascript; charset=utf-8' },
  '/page/rows.js': { file: 'rows.js', type: 'text/javascript; charset=utf-8' },
  '/page/detail.js': { file: 'detail.js', type: 'text/javascript; charset=utf-8' },
  '/page/style.css': { file: 'style.css', type: 'text/css; charset=utf-8' },
};

const HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
  'cache-control': 'no-store',
};

export interface Page {
  /** Whether the request was the page's. */
  handle(request: IncomingMessage, response: ServerResponse): boolean;
  close(): void;
}

export function createPage(history: History, triggers: () => readonly Trigger[]): Page {
  const streams = new Set<Stream>();
  const unlisten = history.listen((trigger) => {
    for (const stream of streams) stream.changed.add(trigger);
  });
  const flushing = setInterval(flush, FLUSH_MS);
  const beating = setInterval(() => {
    for (const { response } of streams) response.write(': still here\n\n');
  }, BEAT_MS);
  flushing.unref();
  beating.unref();

  function flush(): void {
    for (const { response, changed } of streams) {
      // A browser that does not keep up gets the newest state once it does.
      if (changed.size === 0 || response.writableNeedDrain) continue;
      const rows = [...changed].map((trigger) => history.summary(trigger));
      changed.clear();
      response.write(`event: rows\ndata: ${JSON.stringify(rows)}\n\n`);
    }
  }

  function stream(response: ServerResponse): void {
    if (streams.size >= MAX_STREAMS) {
      reply(response, 503, 'text/plain; charset=utf-8', 'too many browsers follow this page\n');
      return;
    }
    response.writeHead(200, { ...HEADERS, 'content-type': 'text/event-stream; charset=utf-8', 'x-accel-buffering': 'no' });
    response.write(`retry: 2000\nevent: all\ndata: ${JSON.stringify(triggers().map((trigger) => history.summary(trigger)))}\n\n`);
    const entry: Stream = { response, changed: new Set() };
    streams.add(entry);
    response.on('close', () => streams.delete(entry));
  }

  function one(id: string | null, response: ServerResponse): void {
    const trigger = triggers().find((each) => history.id(each) === id);
    if (trigger === undefined) {
      reply(response, 404, 'application/json', '{"error":"no trigger of this id is known"}');
      return;
    }
    const body = { row: history.summary(trigger), explanation: history.explanation(trigger), course: history.lastHour(trigger) };
    reply(response, 200, 'application/json', JSON.stringify(body));
  }

  return {
    handle(request, response) {
      const url = new URL(request.url ?? '/', 'http://page');
      const asset = Object.hasOwn(ASSETS, url.pathname) ? ASSETS[url.pathname] : undefined;
      if (asset !== undefined) {
        readFile(new URL(`assets/${asset.file}`, import.meta.url)).then(
          (text) => {
            reply(response, 200, asset.type, text);
          },
          () => {
            reply(response, 500, 'text/plain; charset=utf-8', 'the page’s files are missing\n');
          },
        );
        return true;
      }
      switch (url.pathname) {
        case '/api/triggers':
          reply(response, 200, 'application/json', JSON.stringify(triggers().map((trigger) => history.summary(trigger))));
          return true;
        case '/api/trigger':
          one(url.searchParams.get('id'), response);
          return true;
        case '/api/events':
          if (request.method === 'HEAD') reply(response, 200, 'text/event-stream; charset=utf-8', '');
          else stream(response);
          return true;
        default:
          return false;
      }
    },
    close() {
      unlisten();
      clearInterval(flushing);
      clearInterval(beating);
      for (const { response } of streams) response.end();
    },
  };
}

interface Stream {
  readonly response: ServerResponse;
  readonly changed: Set<Trigger>;
}

function reply(response: ServerResponse, code: number, type: string, body: string | Buffer): void {
  response.writeHead(code, { ...HEADERS, 'content-type': type, 'content-length': Buffer.byteLength(body) });
  response.end(body);
}
