/**
 * The figures of one trigger in the last hour, step by step. It must stay small, as there are ten thousand of them: figures that have
 * never changed, as those of most queues, are kept once.
 */

/** Width of one step. */
export const STEP_MS = 30_000;
export const STEPS = 120;

const SERIES = ['value', 'waiting', 'held'] as const;
export type Series = (typeof SERIES)[number];
export type Figures = Readonly<Partial<Record<Series, number>>>;

/** Steps are counted from 1970. */
export interface Course {
  readonly first: number;
  last: number;
  /** What was said in each step from the first to the last. */
  readonly figures: Figures;
  /** One series after the other, each step modulo {@link STEPS} and NaN where nothing is known; made when the figures first change. */
  block: Float32Array | undefined;
}

/** The course with these figures in this step; of several figures in one step the highest counts. */
export function noted(course: Course | undefined, step: number, figures: Figures): Course {
  if (course === undefined) return { first: step, last: step, figures, block: undefined };
  const { last } = course;
  if (course.block === undefined) {
    if ((step === last || step === last + 1) && SERIES.every((series) => figures[series] === course.figures[series])) {
      course.last = step;
      return course;
    }
    course.block = new Float32Array(SERIES.length * STEPS).fill(Number.NaN);
    for (let at = Math.max(course.first, last - STEPS + 1); at <= last; at++) put(course.block, at, course.figures);
  }
  // Steps in which nothing was said stay empty.
  for (let at = Math.max(last + 1, step - STEPS + 1); at <= step; at++)
    for (let row = 0; row < SERIES.length; row++) course.block[placeOf(row, at)] = Number.NaN;
  course.last = step;
  put(course.block, step, figures);
  return course;
}

/** Undefined where nothing is known. */
export function figureAt({ first, last, figures, block }: Course, series: Series, step: number): number | undefined {
  if (step < first || step > last || step <= last - STEPS) return undefined;
  if (block === undefined) return figures[series];
  const figure = block[placeOf(SERIES.indexOf(series), step)];
  return figure === undefined || Number.isNaN(figure) ? undefined : figure;
}

function put(block: Float32Array, step: number, figures: Figures): void {
  SERIES.forEach((series, row) => {
    const figure = figures[series];
    if (figure === undefined) return;
    const place = placeOf(row, step);
    const before = block[place] ?? Number.NaN;
    block[place] = Number.isNaN(before) ? figure : Math.max(before, figure);
  });
}

function placeOf(row: number, step: number): number {
  return row * STEPS + (step % STEPS);
}
