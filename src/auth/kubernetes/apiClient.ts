/**
 * Speaks to the API server: get, list in pages, watch, create a token. It must never wait without bound, and must tell "not there"
 * and "not allowed" from "no answer".
 *
 * Requests are made here and not by the client library, as its own watch neither asks for bookmarks nor notices for long that a
 * connection is dead.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { request, type Dispatcher } from 'undici';
import { z } from 'zod';
import { TriggerError } from '../../errors.ts';
import { connectTo } from './connection.ts';

/** One object by name; a trigger's caller waits for it. */
const GET_TIMEOUT_MS = 1_500;
/** One page of a list. */
const LIST_TIMEOUT_MS = 30_000;
const LIST_PAGE_SIZE = 500;
/** The server sends a bookmark about once a minute; a watch that says nothing for longer than that is taken for dead. */
export const WATCH_SILENCE_MS = 90_000;
/** The server is asked to end a watch after between this and twice this time, as client-go does. */
const WATCH_LIFETIME_S = 300;

const MAX_RETRY_AFTER_MS = 30_000;
const FIXED_HEADERS = { accept: 'application/json', 'user-agent': 'keda-queue-scaler' };

/** What one watch event is about. */
export interface WatchEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  readonly object: unknown;
  readonly resourceVersion: string;
}

/** The API server did not give what was asked for. */
export class ApiFailure extends Error {
  /** HTTP status; 0 where there was no answer. */
  readonly status: number;
  /** How long the server wants to be left alone, in ms. */
  readonly retryAfterMs: number | undefined;

  constructor(
    status: number,
    message: string,
    options?: { readonly cause?: unknown; readonly retryAfterMs?: number | undefined },
  ) {
    super(message, options);
    this.status = status;
    this.retryAfterMs = options?.retryAfterMs;
  }

  /** As a trigger's caller must hear it; `what` is what could not be had. */
  toTriggerError(what: string): TriggerError {
    return new TriggerError('AUTHENTICATION_UNRESOLVED', `${what} could not be read: ${this.message}`, { cause: this });
  }
}

export interface ApiClient {
  /** The server's address, for logs. */
  readonly server: string;
  /** The namespace that this process runs in, if it does. */
  readonly namespace: string | undefined;
  /** Undefined where there is none. Rejects with an {@link ApiFailure}. */
  get(path: string, signal: AbortSignal): Promise<unknown>;
  /** All objects of the collection, page after page; resolves with the version to watch from. */
  list(path: string, each: (object: unknown) => void, signal: AbortSignal): Promise<string>;
  /** Tells events until the server ends the watch; rejects with an {@link ApiFailure}, of status 410 where the version is too old. */
  watch(path: string, resourceVersion: string, on: WatchListener, signal: AbortSignal): Promise<void>;
  create(path: string, body: unknown, signal: AbortSignal): Promise<unknown>;
  close(): Promise<void>;
}

export interface WatchListener {
  /** The server has begun to answer. */
  opened(): void;
  event(event: WatchEvent): void;
}

export interface ApiClientOptions {
  /** A kubeconfig's path; without it, `KUBECONFIG`, `~/.kube/config` or the pod's service account. */
  readonly kubeconfig?: string;
  readonly watchSilenceMs?: number;
}

const listPage = z.object({
  metadata: z.object({ resourceVersion: z.string(), continue: z.string().optional() }),
  items: z.array(z.unknown()),
});
const eventLine = z.object({
  type: z.enum(['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK', 'ERROR']),
  object: z.looseObject({
    metadata: z.looseObject({ resourceVersion: z.string().optional() }).optional(),
    code: z.number().optional(),
    message: z.string().optional(),
  }),
});

/** Rejects where no cluster is configured. */
export async function createApiClient(options: ApiClientOptions = {}): Promise<ApiClient> {
  const connection = await connectTo(options.kubeconfig).catch((thrown: unknown) => {
    throw new ApiFailure(0, `no cluster is configured: ${thrown instanceof Error ? thrown.message : 'unknown reason'}`, {
      cause: thrown,
    });
  });
  const { server, namespace } = connection;
  const watchSilenceMs = options.watchSilenceMs ?? WATCH_SILENCE_MS;

  async function send(
    method: 'GET' | 'POST',
    path: string,
    signal: AbortSignal,
    body?: unknown,
  ): Promise<Dispatcher.ResponseData> {
    try {
      const { headers, dispatcher } = await connection.authorise();
      const response = await request(new URL(server + path), {
        method,
        headers: { ...FIXED_HEADERS, ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
        signal,
        // The signal bounds both; a watch's body has no other end.
        headersTimeout: 0,
        bodyTimeout: 0,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        ...(dispatcher === undefined ? {} : { dispatcher }),
      });
      if (response.statusCode < 300) return response;
      throw await failureOf(response);
    } catch (thrown) {
      if (thrown instanceof ApiFailure) throw thrown;
      const reason = signal.aborted ? 'the API server did not answer in time' : 'the API server cannot be reached';
      throw new ApiFailure(0, reason, { cause: thrown });
    }
  }

  async function json(response: Dispatcher.ResponseData): Promise<unknown> {
    try {
      return await response.body.json();
    } catch (thrown) {
      throw new ApiFailure(0, 'the API server broke off its answer', { cause: thrown });
    }
  }

  /** Waits out one 429 where the time allows it. */
  async function patiently<T>(signal: AbortSignal, timeoutMs: number, ask: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const deadline = performance.now() + timeoutMs;
    const bounded = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    for (;;) {
      try {
        return await ask(bounded);
      } catch (thrown) {
        const wait = thrown instanceof ApiFailure ? thrown.retryAfterMs : undefined;
        if (wait === undefined || performance.now() + wait >= deadline || bounded.aborted) throw thrown;
        await sleep(wait, undefined, { signal: bounded, ref: false }).catch(() => undefined);
      }
    }
  }

  return {
    server,
    namespace,

    async get(path, signal) {
      try {
        return await patiently(signal, GET_TIMEOUT_MS, async (bounded) => json(await send('GET', path, bounded)));
      } catch (thrown) {
        if (thrown instanceof ApiFailure && thrown.status === 404) return undefined;
        throw thrown;
      }
    },

    async list(path, each, signal) {
      let next: string | undefined;
      for (;;) {
        const query = new URLSearchParams({ limit: String(LIST_PAGE_SIZE), ...(next === undefined ? {} : { continue: next }) });
        const answer = await patiently(signal, LIST_TIMEOUT_MS, async (bounded) =>
          json(await send('GET', `${path}?${query.toString()}`, bounded)),
        );
        const page = listPage.safeParse(answer);
        if (!page.success) throw new ApiFailure(0, 'the API server answered with something that is no list');
        for (const item of page.data.items) each(item);
        next = page.data.metadata.continue;
        if (next === undefined || next === '') return page.data.metadata.resourceVersion;
      }
    },

    async watch(path, resourceVersion, on, signal) {
      const silence = new AbortController();
      const timer = setTimeout(() => {
        silence.abort();
      }, watchSilenceMs);
      timer.unref();
      const bounded = AbortSignal.any([signal, silence.signal]);
      const query = new URLSearchParams({
        watch: 'true',
        allowWatchBookmarks: 'true',
        resourceVersion,
        timeoutSeconds: String(Math.round(WATCH_LIFETIME_S * (1 + Math.random()))),
      });
      try {
        const { body } = await send('GET', `${path}?${query.toString()}`, bounded);
        on.opened();
        try {
          for await (const line of linesOf(body)) {
            timer.refresh();
            on.event(eventOf(line));
          }
        } catch (thrown) {
          if (thrown instanceof ApiFailure) throw thrown;
          throw new ApiFailure(0, silence.signal.aborted ? 'the watch fell silent' : 'the watch broke', { cause: thrown });
        }
      } finally {
        clearTimeout(timer);
      }
    },

    async create(path, body, signal) {
      return await patiently(signal, GET_TIMEOUT_MS, async (bounded) => json(await send('POST', path, bounded, body)));
    },

    close: () => connection.close(),
  };
}

async function failureOf({ statusCode, headers, body }: Dispatcher.ResponseData): Promise<ApiFailure> {
  const status = z.object({ message: z.string() }).safeParse(await body.json().catch(() => undefined));
  const message = `the API server answered ${statusCode}${status.success ? ` (${status.data.message})` : ''}`;
  const seconds = Number(headers['retry-after']);
  const retryAfterMs = Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds * 1000, MAX_RETRY_AFTER_MS) : undefined;
  return new ApiFailure(statusCode, message, { retryAfterMs });
}

async function* linesOf(body: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of body) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = parts.pop() ?? '';
    for (const part of parts) if (part !== '') yield part;
  }
}

function eventOf(line: string): WatchEvent {
  let input: unknown;
  try {
    input = JSON.parse(line);
  } catch (thrown) {
    throw new ApiFailure(0, 'the watch sent something that is no event', { cause: thrown });
  }
  const event = eventLine.safeParse(input);
  if (!event.success) throw new ApiFailure(0, 'the watch sent something that is no event');
  const { type, object } = event.data;
  if (type === 'ERROR') throw new ApiFailure(object.code ?? 0, `the watch ended: ${object.message ?? 'no reason given'}`);
  return { type, object, resourceVersion: object.metadata?.resourceVersion ?? '' };
}
