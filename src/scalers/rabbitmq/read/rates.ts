/**
 * Rates of a queue from its counters over a window. The broker's own rates jump to absurd values at times, and a counter that
 * falls means that the node forgot it; neither may become a rate.
 */
import { QueueError } from '../../../errors.ts';
import { implausible, type Counters } from '../management/queueStats.ts';

/** Messages a second, over the window or the broker's own. */
export interface Rates {
  readonly published: number;
  readonly delivered: number;
  readonly acknowledged: number;
  readonly source: string;
}

export interface RateTracker {
  /** Throws a {@link QueueError} while no rate can be told. `at` is the time of the answer, in ms. */
  observe(queue: string, counters: Counters, at: number, windowMs: number): Rates;
  forget(queue: string): void;
}

/** More than one queue can carry: RabbitMQ's queue process handles some ten thousand messages a second. */
const MAX_PER_SECOND = 100_000;
/** Counters are renewed each 5 s, so that a shorter time would give rates of nothing or of twice too much. */
const MIN_SPAN_MS = 4_500;
/** Answers closer together than that hold the same counters. */
const MIN_STEP_MS = 1_000;
/** After so many outliers in a row they are the truth from which to count on. */
const MAX_OUTLIERS = 3;

const NAMES = ['published', 'delivered', 'acknowledged'] as const;

interface Sample {
  readonly at: number;
  readonly counters: Counters;
}

interface Track {
  samples: Sample[];
  outliers: number;
  /** The counters began anew: the broker's own rates are then in doubt as well. */
  restarted: boolean;
}

export function createRateTracker(): RateTracker {
  const tracks = new Map<string, Track>();

  function add(track: Track, sample: Sample, windowMs: number): void {
    const last = track.samples.at(-1);
    if (last !== undefined) {
      if (sample.at - last.at < MIN_STEP_MS) return;
      if (NAMES.some((name) => sample.counters[name] < last.counters[name])) {
        track.samples = [sample];
        track.restarted = true;
        return;
      }
      const seconds = (sample.at - last.at) / 1000;
      if (NAMES.some((name) => (sample.counters[name] - last.counters[name]) / seconds > MAX_PER_SECOND)) {
        if (++track.outliers <= MAX_OUTLIERS) return;
        track.samples = [];
        track.restarted = true;
      }
    }
    track.outliers = 0;
    track.samples.push(sample);
    // The oldest kept is the youngest that is at least a window old.
    while (track.samples[1] !== undefined && sample.at - track.samples[1].at >= windowMs) track.samples.shift();
  }

  return {
    observe(queue, counters, at, windowMs) {
      const key = `${windowMs} ${queue}`;
      let track = tracks.get(key);
      if (track === undefined) tracks.set(key, (track = { samples: [], outliers: 0, restarted: false }));
      add(track, { at, counters }, windowMs);
      const [first] = track.samples;
      const last = track.samples.at(-1);
      if (first !== undefined && last !== undefined && last.at - first.at >= MIN_SPAN_MS) {
        const seconds = (last.at - first.at) / 1000;
        const rate = (name: (typeof NAMES)[number]): number => (last.counters[name] - first.counters[name]) / seconds;
        return {
          published: rate('published'),
          delivered: rate('delivered'),
          acknowledged: rate('acknowledged'),
          source: `counters over ${Math.round(seconds)} s`,
        };
      }
      const own = counters.rates;
      if (track.restarted || track.outliers > 0) {
        throw new QueueError('FIELD_MISSING', `queue ${queue}: its counters began anew; a rate needs ${MIN_SPAN_MS / 1000} s`);
      }
      if (own === undefined || NAMES.some((name) => own[name] > MAX_PER_SECOND)) {
        throw implausible(queue, 'the broker’s rates cannot be true');
      }
      return { ...own, source: 'the broker’s own rates' };
    },
    forget: (queue) => {
      for (const key of tracks.keys()) if (key.endsWith(` ${queue}`)) tracks.delete(key);
    },
  };
}
