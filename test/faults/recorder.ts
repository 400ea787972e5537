/**
 * Asks a trigger for its value and activity all the time, as KEDA does, or the broker itself, while somebody breaks the broker, and
 * keeps every answer. It knows the truth, which does not change, and judges nothing itself.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { KedaClient, TriggerSpec } from '../keda/client.ts';

const EVERY_MS = 400;
/** No promise of an answer is longer than 2 s; the rest is for a busy machine. */
export const SLOW_MS = 3000;
/** Waiting is counted in turns of the event loop that are this long at least, so that a machine that stalls all is not held against it. */
const TURN_MS = 50;

/** One pair of answers: the metric's value, or why there was none. */
export interface Answer {
  /** When the answer came, by `performance.now()`. */
  readonly at: number;
  /** Waiting for it, without the time in which this whole process stood still. */
  readonly tookMs: number;
  readonly value: number | undefined;
  readonly active: boolean | undefined;
  readonly reason: string | undefined;
}

export interface Tally {
  readonly readings: number;
  readonly right: number;
  readonly unknown: number;
  readonly zero: number;
  readonly above: number;
  /** Above zero, but below the truth. */
  readonly below: number;
  /** Told to be inactive with messages waiting. */
  readonly inactive: number;
  readonly slow: number;
}

export interface Witness {
  readonly name: string;
  readonly truth: number;
  readonly answers: readonly Answer[];
  tally(): Tally;
  /** The answers of that time and later that were neither right nor an error, each with its time since `since` in s. */
  wrong(since: number, from?: number): readonly string[];
  /** Whether all answers of the last `forMs` were right, and there were some. */
  settled(forMs: number): boolean;
  /** Ms from `since` until the first of the right answers that no unknown one followed; undefined where the last is not right. */
  rightSince(since: number): number | undefined;
  stop(): Promise<void>;
}

export function watchTrigger(name: string, client: KedaClient, spec: TriggerSpec, truth: number): Witness {
  const trigger = client.trigger(spec);
  return watch(name, truth, async () => {
    const reference = trigger.reference;
    const [metric, activity] = await Promise.all([
      client.call('GetMetrics', { scaledObjectRef: reference, metricName: 'any' }),
      client.call('IsActive', reference),
    ]);
    return {
      value: (metric as { metricValues: { metricValueFloat: number }[] }).metricValues[0]?.metricValueFloat,
      active: (activity as { result: boolean }).result,
    };
  });
}

/** `tell` rejects with the reason where there is no answer. */
export function watch(name: string, truth: number, tell: () => Promise<Pick<Answer, 'value' | 'active'>>): Witness {
  const answers: Answer[] = [];
  const stopped = new AbortController();

  async function ask(): Promise<Answer> {
    let turns = 0;
    const clock = setInterval(() => turns++, TURN_MS);
    let told: Pick<Answer, 'value' | 'active'> = { value: undefined, active: undefined };
    let reason: string | undefined;
    try {
      told = await tell();
    } catch (thrown) {
      reason = thrown instanceof Error ? thrown.message : String(thrown);
    }
    clearInterval(clock);
    return { at: performance.now(), tookMs: turns * TURN_MS, ...told, reason };
  }

  const watching = (async () => {
    while (!stopped.signal.aborted) {
      answers.push(await ask());
      await delay(EVERY_MS, undefined, { signal: stopped.signal }).catch(() => undefined);
    }
  })();

  const isRight = ({ value, active }: Answer): boolean => value === truth && active === true;
  return {
    name,
    truth,
    answers,
    tally() {
      const count = (which: (answer: Answer) => boolean): number => answers.filter(which).length;
      return {
        readings: answers.length,
        right: count(isRight),
        unknown: count(({ reason }) => reason !== undefined),
        zero: count(({ value }) => value === 0 && truth > 0),
        above: count(({ value = 0 }) => value > truth),
        below: count(({ value = 0 }) => value > 0 && value < truth),
        inactive: count(({ active }) => active === false),
        slow: count(({ tookMs }) => tookMs > SLOW_MS),
      };
    },
    wrong: (since, from = -Infinity) =>
      answers
        .filter((answer) => answer.at >= from && answer.reason === undefined && !isRight(answer))
        .map(({ at, value, active }) => `${((at - since) / 1000).toFixed(1)} s: value ${value ?? '?'}, active ${active ?? '?'}`),
    settled(forMs) {
      const recent = answers.filter(({ at }) => at > performance.now() - forMs);
      return recent.length > 0 && recent.every(isRight);
    },
    rightSince(since) {
      const lastWrong = answers.findLastIndex((answer) => !isRight(answer));
      const first = answers[lastWrong + 1];
      return first === undefined ? undefined : Math.max(0, first.at - since);
    },
    async stop() {
      stopped.abort();
      await watching;
    },
  };
}

/** The tallies as an aligned table, with a sum; witnesses of one name share a line. */
export function tallyTable(witnesses: readonly Witness[]): string {
  const columns = ['readings', 'right', 'unknown', 'zero', 'above', 'below', 'inactive', 'slow'] as const;
  const sumOf = (some: readonly Witness[]): number[] => {
    const tallies = some.map((witness) => witness.tally());
    return columns.map((column) => tallies.reduce((total, tally) => total + tally[column], 0));
  };
  const row = (name: string, cells: readonly (string | number)[]): string =>
    `${name.padEnd(48)}${cells.map((cell) => String(cell).padStart(9)).join('')}`;
  const names = [...new Set(witnesses.map(({ name }) => name))];
  return [
    row('', columns),
    ...names.map((name) => row(name, sumOf(witnesses.filter((witness) => witness.name === name)))),
    row('all', sumOf(witnesses)),
  ].join('\n');
}
