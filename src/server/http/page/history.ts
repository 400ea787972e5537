/**
 * What each trigger said in the last hour, for the page: its present state and a coarse course of its figures. It only listens, keeps
 * a bounded amount for each trigger, and never holds metadata.
 */
import type { QueueScalerError } from '../../../errors.ts';
import { explainSample, troubleOf, type Explanation, type Trouble } from '../../../scalers/explanation.ts';
import type { Measures } from '../../../scalers/reading.ts';
import type { Sample, Trigger, TriggerObserver } from '../../../scalers/triggers.ts';

/** Width of one step of the course. */
export const STEP_MS = 30_000;
export const STEPS = 120;

/** `new`: nobody has asked for a reading yet. */
export type State = 'active' | 'idle' | 'unknown' | 'new';

/** One trigger as the list shows it; times in ms since 1970. */
export interface Row {
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
  readonly wakes: number;
  readonly at: number;
  /** The last error and since when; `now` while it lasts. */
  readonly error?: { readonly code: string; readonly since: number; readonly now: boolean };
}

/** One step of the course; figures are the highest within it. */
export interface Step {
  readonly at: number;
  readonly value: number | null;
  readonly held: number | null;
}

export interface History extends TriggerObserver {
  row(trigger: Trigger): Row;
  explanation(trigger: Trigger): Explanation;
  course(trigger: Trigger): readonly Step[];
  /** Is told each trigger whose row has changed. */
  listen(changed: (trigger: Trigger) => void): () => void;
}

interface Entry {
  readonly id: string;
  sample?: Sample;
  trouble?: Trouble;
  /** Of the last error, also after it has passed. */
  error?: { code: string; since: number };
  wakes: number;
  at: number;
  readonly values: Float32Array;
  readonly held: Float32Array;
  /** Step of the last figures, counted from 1970. */
  step: number;
}

export function createHistory(now: () => number = Date.now): History {
  const entries = new WeakMap<Trigger, Entry>();
  const ordinals = new Map<string, number>();
  const listeners = new Set<(trigger: Trigger) => void>();

  function entryOf(trigger: Trigger): Entry {
    let entry = entries.get(trigger);
    if (entry === undefined) {
      const { namespace, name } = trigger.reference;
      const base = `${namespace}/${name}/${trigger.spec.name}`;
      const ordinal = (ordinals.get(base) ?? 0) + 1;
      ordinals.set(base, ordinal);
      entry = {
        id: ordinal === 1 ? base : `${base}~${ordinal}`,
        wakes: 0,
        at: now(),
        values: new Float32Array(STEPS).fill(Number.NaN),
        held: new Float32Array(STEPS).fill(Number.NaN),
        step: Math.floor(now() / STEP_MS),
      };
      entries.set(trigger, entry);
    }
    return entry;
  }

  function note(entry: Entry, value: number, held: number | undefined): void {
    const step = Math.floor(now() / STEP_MS);
    // Steps in which nothing was said stay empty.
    for (let empty = Math.max(entry.step + 1, step - STEPS + 1); empty <= step; empty++) {
      entry.values[empty % STEPS] = Number.NaN;
      entry.held[empty % STEPS] = Number.NaN;
    }
    entry.step = step;
    const at = step % STEPS;
    entry.values[at] = larger(entry.values[at], value);
    if (held !== undefined) entry.held[at] = larger(entry.held[at], held);
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
      if (since === undefined) delete entry.trouble;
      else remember(entry, since);
      note(entry, sample.decision.value, heldIn(sample.reading.measures));
      changed(trigger);
    },

    trouble(trigger, error) {
      const entry = entryOf(trigger);
      entry.at = now();
      remember(entry, error);
      delete entry.sample;
      changed(trigger);
    },

    row(trigger) {
      const entry = entryOf(trigger);
      const { id, sample, wakes, at, error, trouble } = entry;
      const { namespace, name } = trigger.reference;
      const { value, active } = sample?.decision ?? {};
      const depth = sample === undefined ? undefined : depthIn(sample.reading.measures);
      const held = sample === undefined ? undefined : heldIn(sample.reading.measures);
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

    course(trigger) {
      const { values, held, step } = entryOf(trigger);
      const last = Math.floor(now() / STEP_MS);
      return Array.from({ length: STEPS }, (_, index) => {
        const each = last - STEPS + 1 + index;
        const told = each <= step && each > step - STEPS;
        return { at: each * STEP_MS, value: figure(told, values, each), held: figure(told, held, each) };
      });
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

function figure(told: boolean, figures: Float32Array, step: number): number | null {
  const value = told ? figures[step % STEPS] : undefined;
  return value === undefined || Number.isNaN(value) ? null : value;
}

function larger(left: number | undefined, right: number): number {
  return left === undefined || Number.isNaN(left) ? right : Math.max(left, right);
}

function depthIn({ ready, lag, length, messages }: Measures): number | undefined {
  return ready ?? lag ?? length ?? messages;
}

function heldIn({ unacknowledged, pending, processing }: Measures): number | undefined {
  return unacknowledged ?? pending ?? processing;
}
