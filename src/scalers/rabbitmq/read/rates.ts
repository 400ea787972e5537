/**
 * Rates of a queue from its counters over a window. The broker's own rates jump to absurd values at times, and a counter that
 * falls means that the node forgot it; neither may become a rate. Pure.
 */
import { QueueError } from '../../../errors.ts';
import { NODE_CHANGE_MS } from '../management/clusterState.ts';
import { implausible, type Counters, type Traffic } from '../management/queueStats.ts';
import type { CounterSample, RateTrack } from './queueMemory.ts';

/** Messages a second, over the window or the broker's own. */
export interface Rates extends Traffic {
  readonly source: string;
}

/** More than one queue can carry: RabbitMQ's queue process handles some ten thousand messages a second. */
const MAX_PER_SECOND = 100_000;
/** Counters are refreshed every 5 s; shorter windows see zero or two refreshes. */
const MIN_SPAN_MS = 4_500;
/** Answers closer together than that hold the same counters. */
const MIN_STEP_MS = 1_000;
/** After more outliers in a row, counting starts again from them. */
const MAX_OUTLIERS = 3;

const NAMES = ['published', 'delivered', 'acknowledged'] as const;

export function newTrack(windowMs: number): RateTrack {
  return { windowMs, samples: [], outliers: 0, restarted: false };
}

/**
 * Adds an answer of the time `at`, in ms, to the queue's track: its counters, that it has `none` as nothing was counted yet, or why they
 * are not known. The result is an error while no rate is known.
 */
export function observeRates(
  queue: string,
  before: RateTrack,
  counters: Counters | 'none' | QueueError,
  at: number,
): { readonly track: RateTrack; readonly rates: Rates | QueueError } {
  if (counters instanceof Error || counters === 'none') return withoutCounters(queue, before, counters, at);
  const { published, delivered, acknowledged } = counters;
  const track = add(before, { at, published, delivered, acknowledged });
  return { track, rates: ratesOf(queue, track, counters.rates) };
}

/** What comes back need not have been published just now, so a new track begins, and no zero is ever its first sample. */
function withoutCounters(
  queue: string,
  before: RateTrack,
  counters: 'none' | QueueError,
  at: number,
): { readonly track: RateTrack; readonly rates: Rates | QueueError } {
  const areMissing = before.samples.length > 0 || counters instanceof Error;
  const missingSince = before.missingSince ?? (areMissing ? at : undefined);
  const track = { ...before, samples: [], outliers: 0, missingSince, restarted: before.restarted || areMissing };
  if (counters instanceof Error) return { track, rates: counters };
  if (missingSince !== undefined && at - missingSince < NODE_CHANGE_MS) {
    return { track, rates: new QueueError('FIELD_MISSING', `queue ${queue}: its counters are missing now`) };
  }
  return { track, rates: { published: 0, delivered: 0, acknowledged: 0, source: 'no counters, as nothing was counted yet' } };
}

function add(track: RateTrack, sample: CounterSample): RateTrack {
  const last = track.samples.at(-1);
  if (last === undefined) return { ...track, samples: [sample], outliers: 0, missingSince: undefined };
  if (sample.at - last.at < MIN_STEP_MS) return track;
  if (NAMES.some((name) => sample[name] < last[name])) return { ...track, samples: [sample], restarted: true };
  const seconds = (sample.at - last.at) / 1000;
  if (NAMES.some((name) => (sample[name] - last[name]) / seconds > MAX_PER_SECOND)) {
    if (track.outliers < MAX_OUTLIERS) return { ...track, outliers: track.outliers + 1 };
    return { ...track, samples: [sample], outliers: 0, restarted: true };
  }
  // The oldest kept is the youngest that is at least a window old.
  const oldest = track.samples.findLastIndex((each) => sample.at - each.at >= track.windowMs);
  return { ...track, samples: [...track.samples.slice(Math.max(0, oldest)), sample], outliers: 0 };
}

function ratesOf(queue: string, { samples, outliers, restarted }: RateTrack, own: Counters['rates']): Rates | QueueError {
  const [first] = samples;
  const last = samples.at(-1);
  if (first !== undefined && last !== undefined && last.at - first.at >= MIN_SPAN_MS) {
    const seconds = (last.at - first.at) / 1000;
    const rate = (name: (typeof NAMES)[number]): number => (last[name] - first[name]) / seconds;
    return {
      published: rate('published'),
      delivered: rate('delivered'),
      acknowledged: rate('acknowledged'),
      source: `counters over ${Math.round(seconds)} s`,
    };
  }
  if (restarted || outliers > 0) {
    return new QueueError('FIELD_MISSING', `queue ${queue}: its counters began anew; a rate needs ${MIN_SPAN_MS / 1000} s`);
  }
  if (own === undefined) {
    return new QueueError('FIELD_MISSING', `queue ${queue}: a rate needs ${MIN_SPAN_MS / 1000} s of counters`);
  }
  if (NAMES.some((name) => own[name] > MAX_PER_SECOND)) {
    return implausible(queue, 'the broker’s rates cannot be true');
  }
  return { ...own, source: 'the broker’s own rates' };
}
