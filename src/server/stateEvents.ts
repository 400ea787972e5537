/**
 * Tells the owner of a trigger what becomes of it, by Kubernetes Events on its ScaledObject or ScaledJob: KEDA drops the message of a
 * refused trigger. Nobody waits for an Event; what is remembered, what waits and what is written a second are bounded, and whatever
 * is dropped comes back with the trigger's next failing call.
 */
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import type { EventSink } from '../auth/eventSink.ts';
import { fingerprint, scrub } from '../auth/secret.ts';
import type { QueueScalerError } from '../errors.ts';
import type { Logger } from '../logger.ts';
import type { Subject } from './grpc/status.ts';

/** All that is told, with its meaning for the documentation. */
export const EVENT_REASONS = {
  TriggerRefused: {
    type: 'Warning',
    meaning: 'The trigger cannot be used as it is written. The message lists every fault.',
  },
  TriggerUnknown: {
    type: 'Warning',
    meaning: 'The state of the trigger’s queue is not known. The message has the metric, since when, the code and what happened.',
  },
  TriggerKnown: {
    type: 'Normal',
    meaning: 'It is known again. The message has the metric, for how long it was not, and the code.',
  },
} as const;
type Reason = keyof typeof EVENT_REASONS;

/** Time between two writes, in ms: five a second at most. */
const WRITE_GAP_MS = 200;
/** A state that lasts is told again after this time, in ms, before Kubernetes forgets the Event after an hour. */
const REPEAT_MS = 600_000;
/** Where the right is missing nothing is tried for this time, in ms. */
const WITHHELD_MS = 600_000;
const MAX_OBJECTS = 5_000;
/** Events of one object. One that was not told for {@link REPEAT_MS} makes room. */
const MAX_SERIES = 20;
const MAX_WAITING = 1_000;
/** How long what waits may still be written on shutdown, in ms. */
const FLUSH_MS = 1_000;
/** Kubernetes takes no longer message, in characters. */
const MAX_MESSAGE = 1_024;

export interface StateEvents {
  /** Told for every call that is refused. */
  refused(about: Subject, error: QueueScalerError): void;
  /** `since` in ms of `performance.now()`; `changed` where the trigger was known, or unknown with another code, before. */
  unknown(about: Subject, metric: string, error: QueueScalerError, since: number, changed: boolean): void;
  known(about: Subject, metric: string, message: string): void;
  /** Writes what waits for a second at most. */
  close(overdue: AbortSignal): Promise<void>;
}

/** What is told by one Event, again and again. */
interface Series {
  readonly reason: Reason;
  readonly metric: string | undefined;
  /** Tells it from others of the same object. */
  readonly key: string;
  message: string;
  count: number;
  readonly firstAt: Date;
  lastAt: Date;
  /** In ms of `performance.now()`. */
  toldAt: number;
  writtenAt: number | undefined;
}

export function createStateEvents(sink: EventSink, logger: Logger): StateEvents {
  const objects = new LRUCache<string, Map<string, Series>>({ max: MAX_OBJECTS });
  /** In the order in which they are written. */
  const waiting = new Map<Series, Subject>();
  /** Namespaces without the right. */
  const withheld = new LRUCache<string, true>({ max: MAX_OBJECTS, ttl: WITHHELD_MS });
  const closing = new AbortController();
  let hasComplained = false;
  let writing: Promise<void> | undefined;

  function seriesOf(about: Subject, reason: Reason, metric: string | undefined, detail: string): Series | undefined {
    const object = `${about.namespace}/${about.name}`;
    const all = objects.get(object) ?? new Map<string, Series>();
    objects.set(object, all);
    const key = `${reason} ${metric ?? ''} ${detail}`;
    const present = all.get(key);
    if (present !== undefined) return present;
    const now = performance.now();
    if (all.size >= MAX_SERIES) for (const [old, { toldAt }] of all) if (now - toldAt > REPEAT_MS) all.delete(old);
    if (all.size >= MAX_SERIES) return undefined;
    const at = new Date();
    const series = { reason, metric, key, message: '', count: 0, firstAt: at, lastAt: at, toldAt: now, writtenAt: undefined };
    all.set(key, series);
    return series;
  }

  function tell(about: Subject, series: Series | undefined, message: string, changed: boolean): void {
    if (series === undefined || closing.signal.aborted || withheld.has(about.namespace)) return;
    series.count++;
    series.message = oneLine(message);
    series.lastAt = new Date();
    series.toldAt = performance.now();
    const isDue = changed || series.writtenAt === undefined || series.toldAt - series.writtenAt > REPEAT_MS;
    if (!isDue || waiting.size >= MAX_WAITING) return;
    waiting.set(series, about);
    writing ??= writeAll();
  }

  /** One after the other, until nothing waits. */
  async function writeAll(): Promise<void> {
    // The call that this comes from has its answer first.
    await nextTurn();
    for (const [series, about] of waiting) {
      waiting.delete(series);
      if (withheld.has(about.namespace)) continue;
      for (const owner of sink.ownersOf(about.namespace, about.name)) {
        await write(about, series, owner);
        await sleep(WRITE_GAP_MS, undefined, { signal: closing.signal }).catch(() => undefined);
      }
      if (closing.signal.aborted) break;
    }
    writing = undefined;
  }

  async function write(about: Subject, series: Series, owner: ReturnType<EventSink['ownersOf']>[number]): Promise<void> {
    const { reason, key, message, count, firstAt, lastAt } = series;
    const before = series.writtenAt;
    series.writtenAt = performance.now();
    const name = `keda-queue-scaler.${fingerprint(owner.uid, key)}`;
    const { type } = EVENT_REASONS[reason];
    try {
      const done = await sink.write({ owner, name, type, reason, message, count, firstAt, lastAt }, closing.signal);
      if (done === 'written') return;
      series.writtenAt = before;
      withheld.set(about.namespace, true);
      if (hasComplained) return;
      hasComplained = true;
      logger.warn({ namespace: about.namespace }, 'events are done without: the right to create and patch them is missing');
    } catch (error) {
      series.writtenAt = before;
      logger.debug({ ...about, reason, error }, 'an event could not be written');
    }
  }

  return {
    refused(about, error) {
      tell(about, seriesOf(about, 'TriggerRefused', undefined, error.message), `${error.code}: ${error.message}`, false);
    },

    unknown(about, metric, error, since, changed) {
      const time = new Date(Date.now() - (performance.now() - since)).toISOString().replace(/\.\d+/, '');
      const message = `${metric} is unknown since ${time}: ${error.code}: ${error.message}`;
      tell(about, seriesOf(about, 'TriggerUnknown', metric, error.code), message, changed);
    },

    known(about, metric, message) {
      const all = [...(objects.get(`${about.namespace}/${about.name}`)?.values() ?? [])];
      const unknown = all.filter((series) => series.reason === 'TriggerUnknown' && series.metric === metric);
      for (const series of unknown) waiting.delete(series);
      // What nobody has been told of needs no end.
      if (unknown.every(({ writtenAt }) => writtenAt === undefined)) return;
      tell(about, seriesOf(about, 'TriggerKnown', metric, ''), `${metric} is known again: ${message}`, true);
    },

    async close(overdue) {
      const patience = AbortSignal.any([overdue, AbortSignal.timeout(FLUSH_MS)]);
      const isOver = new Promise<void>((resolve) => {
        patience.addEventListener('abort', () => {
          resolve();
        });
      });
      if (!patience.aborted) await Promise.race([writing, isOver]);
      closing.abort();
      await writing;
    },
  };
}

function oneLine(text: string): string {
  const line = scrub(text)
    .replaceAll(/\p{Cc}+/gu, ' ')
    .replaceAll(/\p{Surrogate}/gu, '\uFFFD');
  return line.length > MAX_MESSAGE ? `${line.slice(0, MAX_MESSAGE - 1)}…` : line;
}
