/**
 * The figures of one trigger in the last hour, step by step. There may be ten thousand rings: figures that have never changed, as
 * those of most queues, are kept once.
 */

/** Width of one step. */
export const STEP_MS = 30_000;
export const STEPS = 120;

const SERIES = ['value', 'waiting', 'held'] as const;
export type Series = (typeof SERIES)[number];
export type Figures = Readonly<Partial<Record<Series, number>>>;

/** `first` and `last` are step numbers: floor(epoch ms / {@link STEP_MS}). */
export interface HistoryRing {
  readonly first: number;
  last: number;
  /** The figures of every step from the first to the last, as long as they never changed. */
  readonly figures: Figures;
  /** One series after the other, each step modulo {@link STEPS} and NaN where nothing is known; made when the figures first change. */
  block: Float32Array | undefined;
}

/** Adds the figures of a step; of several figures in one step the highest counts. */
export function recordFigures(ring: HistoryRing | undefined, step: number, figures: Figures): HistoryRing {
  if (ring === undefined) return { first: step, last: step, figures, block: undefined };
  const { last } = ring;
  if (ring.block === undefined) {
    if ((step === last || step === last + 1) && SERIES.every((series) => figures[series] === ring.figures[series])) {
      ring.last = step;
      return ring;
    }
    ring.block = new Float32Array(SERIES.length * STEPS).fill(Number.NaN);
    for (let at = Math.max(ring.first, last - STEPS + 1); at <= last; at++) keepHighest(ring.block, at, ring.figures);
  }
  // Steps in which nothing was said stay empty.
  for (let at = Math.max(last + 1, step - STEPS + 1); at <= step; at++)
    for (let series = 0; series < SERIES.length; series++) ring.block[placeOf(series, at)] = Number.NaN;
  ring.last = step;
  keepHighest(ring.block, step, figures);
  return ring;
}

/** Undefined where nothing is known. */
export function figureAt({ first, last, figures, block }: HistoryRing, series: Series, step: number): number | undefined {
  if (step < first || step > last || step <= last - STEPS) return undefined;
  if (block === undefined) return figures[series];
  const figure = block[placeOf(SERIES.indexOf(series), step)];
  return figure === undefined || Number.isNaN(figure) ? undefined : figure;
}

function keepHighest(block: Float32Array, step: number, figures: Figures): void {
  SERIES.forEach((series, index) => {
    const figure = figures[series];
    if (figure === undefined) return;
    const place = placeOf(index, step);
    const before = block[place] ?? Number.NaN;
    block[place] = Number.isNaN(before) ? figure : Math.max(before, figure);
  });
}

function placeOf(series: number, step: number): number {
  return series * STEPS + (step % STEPS);
}
