/**
 * What each trigger said in the last hour, for the page: its present state and a coarse course of its figures, in bounded memory.
 */
import type { QueueScalerError } from '../../../errors.ts';
import { explainSample, troubleOf, type Explanation, type Trouble } from '../../../scalers/explanation.ts';
import type { Sample, Trigger, TriggerObserver } from '../../../scalers/trigger.ts';
import { figureAt, recordFigures, STEP_MS, STEPS, type HistoryRing, type Figures, type Series } from './historyRing.ts';

/** Steps of the course that make one point of the list's small curves. */
const STEPS_A_POINT = 5;
/** Heights of those curves' points, from nothing to the highest. */
const LEVELS = 9;

/** `new`: nobody has asked for a reading yet. */
export type State = 'active' | 'idle' | 'unknown' | 'new';

/** One trigger as the list shows it; times in ms since 1970. */
export interface TriggerSummary {
  readonly id: string;
  readonly namespace: string;
  readonly name: string;
  readonly scaler: string;
  readonly metric: string;
  readonly target: number;
  readonly state: State;
  readonly value?: number;
  /** Work that waits, and work that somebody holds. */
  readonly depth?: number;
  readonly held?: number;
  /** The last hour of both, where anything is known of it. */
  readonly curve?: Curve;
  readonly wakes: number;
  readonly at: number;
  /** The last error and since when; `now` while it lasts. */
  readonly error?: { readonly code: string; readonly since: number; readonly now: boolean };
}

/**
 * The last hour in 24 points, oldest first, each the highest of its 150 s: `0` for nothing to `9` for the highest of both, and a space
 * where nothing is known. Short, as ten thousand of them go to a browser.
 */
export interface Curve {
  readonly waiting: string;
  readonly held: string;
  readonly highest: number;
}

/** One step of the course; figures are the highest within it. */
export interface Step {
  readonly at: number;
  readonly value: number | null;
  readonly waiting: number | null;
  readonly held: number | null;
}

export interface History extends TriggerObserver {
  id(trigger: Trigger): string;
  summary(trigger: Trigger): TriggerSummary;
  explanation(trigger: Trigger): Explanation;
  lastHour(trigger: Trigger): readonly Step[];
  /** Is told each trigger whose row has changed. */
  listen(changed: (trigger: Trigger) => void): () => void;
}

interface Entry {
  readonly id: string;
  sample: Sample | undefined;
  trouble: Trouble | undefined;
  /** Of the last error, also after it has passed. */
  error: { readonly code: string; readonly since: number } | undefined;
  wakes: number;
  at: number;
  /** Made with the first figures. */
  ring: HistoryRing | undefined;
}

export function createHistory(now: () => number = Date.now): History {
  const entries = new WeakMap<Trigger, Entry>();
  /** The ordinals in use of triggers that would have one id; given back when the trigger is no more. */
  const ordinals = new Map<string, Set<number>>();
  const givenBack = new FinalizationRegistry(({ base, ordinal }: { readonly base: string; readonly ordinal: number }) => {
    const used = ordinals.get(base);
    used?.delete(ordinal);
    if (used?.size === 0) ordinals.delete(base);
  });
  const listeners = new Set<(trigger: Trigger) => void>();

  function entryOf(trigger: Trigger): Entry {
    let entry = entries.get(trigger);
    if (entry === undefined) {
      const { namespace, name } = trigger.reference;
      const base = `${namespace}/${name}/${trigger.spec.name}`;
      const used = ordinals.get(base) ?? new Set();
      let ordinal = 1;
      while (used.has(ordinal)) ordinal++;
      ordinals.set(base, used.add(ordinal));
      givenBack.register(trigger, { base, ordinal });
      entry = {
        id: ordinal === 1 ? base : `${base}~${ordinal}`,
        sample: undefined,
        trouble: undefined,
        error: undefined,
        wakes: 0,
        at: now(),
        ring: undefined,
      };
      entries.set(trigger, entry);
    }
    return entry;
  }

  function record(entry: Entry, figures: Figures): void {
    entry.ring = recordFigures(entry.ring, Math.floor(now() / STEP_MS), figures);
  }

  /** One series of the last hour, oldest first. */
  function hourOf({ ring: course }: Entry, series: Series): (number | null)[] {
    const last = Math.floor(now() / STEP_MS);
    return Array.from({ length: STEPS }, (_, index) =>
      course === undefined ? null : (figureAt(course, series, last - STEPS + 1 + index) ?? null),
    );
  }

  function curveOf(entry: Entry): Curve | undefined {
    if (entry.ring === undefined) return undefined;
    const [waiting, held] = [pointsOf(hourOf(entry, 'waiting')), pointsOf(hourOf(entry, 'held'))];
    const highest = Math.max(0, ...[...waiting, ...held].map((figure) => figure ?? 0));
    const drawn = (points: readonly (number | null)[]): string =>
      points
        .map((figure) => (figure === null ? ' ' : String(highest === 0 ? 0 : Math.ceil((figure / highest) * LEVELS))))
        .join('');
    return { waiting: drawn(waiting), held: drawn(held), highest };
  }

  function changed(trigger: Trigger): void {
    for (const listener of listeners) listener(trigger);
  }

  return {
    sample(trigger, sample) {
      const entry = entryOf(trigger);
      const woke = sample.decision.active && entry.sample?.decision.active === false;
      if (woke) entry.wakes++;
      entry.sample = sample;
      entry.at = now();
      const { since } = sample.reading;
      if (since === undefined) entry.trouble = undefined;
      else remember(entry, since);
      const { waiting, held } = trigger.scaler.backlog(sample.reading.measures);
      record(entry, {
        value: sample.decision.value,
        ...(waiting === undefined ? {} : { waiting }),
        ...(held === undefined ? {} : { held }),
      });
      changed(trigger);
    },

    trouble(trigger, error) {
      const entry = entryOf(trigger);
      entry.at = now();
      remember(entry, error);
      entry.sample = undefined;
      changed(trigger);
    },

    id: (trigger) => entryOf(trigger).id,

    summary(trigger) {
      const entry = entryOf(trigger);
      const { id, sample, wakes, at, error, trouble } = entry;
      const { namespace, name } = trigger.reference;
      const { value, active } = sample?.decision ?? {};
      const { waiting: depth, held } = sample === undefined ? {} : trigger.scaler.backlog(sample.reading.measures);
      const curve = curveOf(entry);
      return {
        id,
        namespace,
        name,
        scaler: trigger.scaler.type,
        metric: trigger.spec.name,
        target: trigger.spec.target,
        state: active !== undefined ? (active ? 'active' : 'idle') : trouble === undefined ? 'new' : 'unknown',
        ...(value === undefined ? {} : { value }),
        ...(depth === undefined ? {} : { depth }),
        ...(held === undefined ? {} : { held }),
        ...(curve === undefined ? {} : { curve }),
        wakes,
        at,
        ...(error === undefined ? {} : { error: { ...error, now: trouble !== undefined } }),
      };
    },

    explanation(trigger) {
      const { sample, trouble } = entryOf(trigger);
      if (sample !== undefined) return explainSample(trigger.spec, sample);
      return { metric: trigger.spec, ...(trouble === undefined ? {} : { trouble }) };
    },

    lastHour(trigger) {
      const entry = entryOf(trigger);
      const first = Math.floor(now() / STEP_MS) - STEPS + 1;
      const [value, waiting, held] = [hourOf(entry, 'value'), hourOf(entry, 'waiting'), hourOf(entry, 'held')];
      return value.map((each, index) => ({
        at: (first + index) * STEP_MS,
        value: each,
        waiting: waiting[index] ?? null,
        held: held[index] ?? null,
      }));
    },

    listen(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };

  function remember(entry: Entry, error: QueueScalerError): void {
    if (entry.trouble?.code !== error.code) entry.error = { code: error.code, since: now() };
    entry.trouble = troubleOf(error);
  }
}

/** The highest figure of each point. */
function pointsOf(hour: readonly (number | null)[]): (number | null)[] {
  return Array.from({ length: STEPS / STEPS_A_POINT }, (_, point) => {
    const known = hour.slice(point * STEPS_A_POINT, (point + 1) * STEPS_A_POINT).filter((figure) => figure !== null);
    return known.length === 0 ? null : Math.max(...known);
  });
}
