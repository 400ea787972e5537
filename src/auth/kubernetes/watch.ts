/**
 * One watch by the client library's own, as a promise: it asks for bookmarks, is taken for dead once it falls silent, and ends with
 * its signal.
 */
import type { Watch } from '@kubernetes/client-node';
import { z } from 'zod';
import { onAbort, untilAborted } from '../../abort.ts';
import { ApiFailure, refusal, unreachable } from './apiFailure.ts';

/** The server sends a bookmark about once a minute; a watch that says nothing for longer than that is taken for dead. */
const SILENCE_MS = 90_000;
/** The server is asked to end a watch after between this and twice this time, as client-go does. */
const LIFETIME_S = 300;
/** The library's watch passes on no headers; an API server that is overloaded asks for a pause of 1 s. */
const RETRY_AFTER_S = '1';

export interface WatchListener {
  /** The server has begun to answer. */
  opened(): void;
  /** `object` of a bookmark holds the version alone. */
  event(type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK', object: unknown, resourceVersion: string | undefined): void;
}

const watchEvent = z.object({
  type: z.enum(['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK', 'ERROR']),
  object: z.looseObject({
    metadata: z.looseObject({ resourceVersion: z.string().optional() }).optional(),
    code: z.number().optional(),
    message: z.string().optional(),
  }),
});

/** Resolves when the server ends the watch; rejects with an {@link ApiFailure}, of status 410 where the version is too old. */
export async function watchFrom(
  { watcher, path, resourceVersion }: { readonly watcher: Watch; readonly path: string; readonly resourceVersion: string },
  listener: WatchListener,
  signal: AbortSignal,
  silenceMs = SILENCE_MS,
): Promise<void> {
  // By itself it waits 30 s, which would end every quiet watch between two bookmarks.
  watcher['requestTimeoutMs'] = silenceMs;
  const timeoutSeconds = Math.round(LIFETIME_S * (1 + Math.random()));
  const over = new AbortController();
  let isOpen = false;
  const ended = new Promise<void>((resolve, reject) => {
    const done = (thrown: unknown): void => {
      if (thrown === null) resolve();
      else reject(failureOf(thrown, isOpen));
      over.abort();
    };
    const report = (type: string, object: unknown): void => {
      if (over.signal.aborted) return;
      const event = watchEvent.safeParse({ type, object });
      const { metadata, code = 0, message } = event.data?.object ?? {};
      if (!event.success) done(new ApiFailure(0, 'the watch sent something that is no event'));
      else if (event.data.type === 'ERROR') done(new ApiFailure(code, `the watch ended: ${message ?? 'no reason given'}`));
      else listener.event(event.data.type, object, metadata?.resourceVersion);
    };
    watcher
      .watch(path, { allowWatchBookmarks: true, resourceVersion, timeoutSeconds }, report, done)
      .then((request) => {
        onAbort(over.signal, () => {
          request.abort();
        });
        if (over.signal.aborted) return;
        isOpen = true;
        listener.opened();
      })
      .catch(done);
  });
  try {
    await untilAborted(ended, signal);
  } finally {
    over.abort();
  }
}

function failureOf(thrown: unknown, isOpen: boolean): ApiFailure {
  if (thrown instanceof ApiFailure) return thrown;
  const { name, statusCode } = thrown as { readonly name?: unknown; readonly statusCode?: unknown };
  if (typeof statusCode === 'number') return refusal(statusCode, undefined, statusCode === 429 ? RETRY_AFTER_S : undefined);
  if (!isOpen) return unreachable(thrown);
  return new ApiFailure(0, name === 'TimeoutError' ? 'the watch fell silent' : 'the watch broke', { cause: thrown });
}
