/**
 * How a benchmark tells its figures: ratios against a baseline measured in the same run, medians, and the goal beside them. It must
 * never judge by itself: machines are noisy, and a goal missed is a thing to look at.
 */

export interface Report {
  /** `ours` and `baseline` in the same unit; `goal` is the ratio ours/baseline that is aimed at, as a number such as 1/10. */
  ratio(name: string, ours: number, baseline: number, unit: string, goal?: number): void;
  /** A figure of its own; `goal` is the largest value aimed at, or the smallest where `atLeast` is set. */
  figure(name: string, value: number, unit: string, goal?: number, options?: { readonly atLeast?: boolean }): void;
  /** A sentence about how the figures were had. */
  note(text: string): void;
}

export interface Tally {
  readonly report: Report;
  readonly missed: string[];
}

/** One module of `bench/`: its default export measures and reports. */
export type Benchmark = (report: Report) => Promise<void>;

export function createReport(section: string, write: (line: string) => void): Tally {
  const missed: string[] = [];
  write(`\n## ${section}\n`);
  const verdict = (name: string, met: boolean): string => {
    if (!met) missed.push(`${section}: ${name}`);
    return met ? 'met' : 'MISSED';
  };
  const report: Report = {
    ratio(name, ours, baseline, unit, goal) {
      const ratio = ours / baseline;
      const aim = goal === undefined ? '' : `  goal ≤ ${showRatio(goal)}  ${verdict(name, ratio <= goal)}`;
      write(`${name.padEnd(70)} ${showRatio(ratio)}  (${show(ours)} against ${show(baseline)} ${unit})${aim}`);
    },
    figure(name, value, unit, goal, options) {
      const atLeast = options?.atLeast === true;
      const aim =
        goal === undefined
          ? ''
          : `  goal ${atLeast ? '≥' : '≤'} ${show(goal)}  ${verdict(name, atLeast ? value >= goal : value <= goal)}`;
      write(`${name.padEnd(70)} ${show(value)} ${unit}${aim}`);
    },
    note: (text) => {
      write(text);
    },
  };
  return { report, missed };
}

/** The value below which the share `part` (0 to 1) of the values lies; NaN for none. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((left, right) => left - right);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? NaN;
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

function show(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 1 ? value.toFixed(1) : value.toPrecision(2);
}

function showRatio(ratio: number): string {
  return ratio < 0.5 && ratio > 0 ? `1/${show(1 / ratio)}` : ratio.toFixed(2);
}
