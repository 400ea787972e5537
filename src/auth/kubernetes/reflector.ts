/**
 * Keeps all objects of one kind in memory: lists, watches, and starts again whenever either fails, keeping what it knows meanwhile.
 *
 * The client library's informer does not do: it asks for no bookmarks and so lists everything anew after a quiet spell, stops for good
 * at its first failure, and keeps objects whole (10 000 ScaledObjects with their managed fields: 45 MB instead of 11).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { WatchState } from '../credentials.ts';
import type { ApiClient, WatchedKind } from './apiClient.ts';
import { ApiFailure } from './apiFailure.ts';

const FIRST_BACKOFF_MS = 500;
const MAX_BACKOFF_MS = 30_000;
/** A watch that has lasted so long was a good one: trouble after it starts from the first back-off. */
const GOOD_WATCH_MS = 10_000;
/** Everything is listed again after this time, give or take a tenth: heals whatever a watch may have lost. */
const RELIST_MS = 1_800_000;

export interface ReflectorState extends WatchState {
  /** The latest trouble, until contact is made again. */
  readonly trouble: ApiFailure | undefined;
}

export interface Reflector<T> {
  get(key: string): T | undefined;
  state(): ReflectorState;
  /** Resolves when a whole list has been read. */
  readonly synced: Promise<void>;
  close(): Promise<void>;
}

/** In ms; for tests. */
export interface ReflectorTiming {
  readonly relistMs?: number;
  readonly firstBackoffMs?: number;
}

export interface ReflectorOptions<T> extends ReflectorTiming {
  readonly kind: WatchedKind;
  readonly client: ApiClient;
  /** What is kept of an object, and under which key. */
  parse(object: unknown): { readonly key: string; readonly value: T } | undefined;
  /** Called once for each failure; the reflector goes on by itself. */
  trouble(failure: ApiFailure): void;
}

export function startReflector<T>(options: ReflectorOptions<T>): Reflector<T> {
  const { kind, client } = options;
  const firstBackoffMs = options.firstBackoffMs ?? FIRST_BACKOFF_MS;
  const closing = new AbortController();
  let objects = new Map<string, T>();
  let resourceVersion: string | undefined;
  let listedAt = -Infinity;
  let relistAfterMs = 0;
  let heardAt = -Infinity;
  let isSynced = false;
  let trouble: ApiFailure | undefined;
  let failures = 0;
  let announceSynced = (): void => undefined;
  const synced = new Promise<void>((resolve) => {
    announceSynced = resolve;
  });

  const isClosing = (): boolean => closing.signal.aborted;

  function heard(): void {
    heardAt = performance.now();
    trouble = undefined;
  }

  async function list(): Promise<void> {
    const listed = new Map<string, T>();
    const startedAt = performance.now();
    resourceVersion = await client.list(
      kind,
      (object) => {
        const parsed = options.parse(object);
        if (parsed !== undefined) listed.set(parsed.key, parsed.value);
      },
      closing.signal,
    );
    objects = listed;
    listedAt = startedAt;
    relistAfterMs = (options.relistMs ?? RELIST_MS) * (0.9 + 0.2 * Math.random());
    isSynced = true;
    heard();
    announceSynced();
  }

  async function watch(from: string): Promise<void> {
    const relist = AbortSignal.timeout(Math.max(1, Math.round(listedAt + relistAfterMs - performance.now())));
    let events = 0;
    const openedAt = performance.now();
    try {
      await client.watch(
        kind,
        from,
        {
          opened: heard,
          event(type, object, version = '') {
            heard();
            events++;
            if (version !== '') resourceVersion = version;
            if (type === 'BOOKMARK') return;
            const parsed = options.parse(object);
            if (parsed === undefined) return;
            if (type === 'DELETED') objects.delete(parsed.key);
            else objects.set(parsed.key, parsed.value);
          },
        },
        AbortSignal.any([closing.signal, relist]),
      );
    } catch (thrown) {
      if (relist.aborted) resourceVersion = undefined;
      else throw thrown;
    } finally {
      if (events > 0 || performance.now() - openedAt > GOOD_WATCH_MS) failures = 0;
    }
    // A server that ends every watch at once is no reason to ask it without pause.
    if (events === 0 && performance.now() - openedAt < firstBackoffMs) await backOff(++failures, undefined);
  }

  async function backOff(attempt: number, atLeastMs: number | undefined): Promise<void> {
    const ceiling = Math.min(MAX_BACKOFF_MS, firstBackoffMs * 2 ** Math.min(attempt - 1, 16));
    const wait = Math.max(atLeastMs ?? 0, ceiling * (0.5 + 0.5 * Math.random()));
    await sleep(wait, undefined, { signal: closing.signal, ref: false }).catch(() => undefined);
  }

  async function run(): Promise<void> {
    while (!isClosing()) {
      try {
        if (resourceVersion === undefined) await list();
        if (resourceVersion !== undefined) await watch(resourceVersion);
      } catch (thrown) {
        if (isClosing()) return;
        const failure = thrown instanceof ApiFailure ? thrown : new ApiFailure(0, 'unexpected failure', { cause: thrown });
        if (failure.status === 410) {
          // The version is too old to watch from. The first time that is nobody's fault.
          resourceVersion = undefined;
          if (failures++ === 0) continue;
        }
        trouble = failure;
        options.trouble(failure);
        await backOff(++failures, failure.retryAfterMs);
      }
    }
  }

  const running = run();
  return {
    get: (key) => objects.get(key),
    state: () => ({ kind, objects: objects.size, synced: isSynced, ageMs: performance.now() - heardAt, trouble }),
    synced,
    async close() {
      closing.abort();
      await running;
    },
  };
}
