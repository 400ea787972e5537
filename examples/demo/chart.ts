/** Depth and replicas over time: drawn again and again in a terminal, a plain line now and then elsewhere. */

export interface Sample {
  /** Since the first message, in s. */
  readonly atS: number;
  readonly depth: number;
  readonly replicas: number;
}

/** Samples by broker. */
export type History = ReadonlyMap<string, readonly Sample[]>;

export interface Chart {
  /** Shows the history with its newest samples. */
  update(history: History): void;
}

const BLOCKS = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'] as const;
const LABEL_WIDTH = 20;
const FIGURE_WIDTH = 7;
const MAX_BARS = 80;
const PLAIN_EVERY_MS = 2000;

export function createChart(out: NodeJS.WriteStream): Chart {
  if (!out.isTTY) {
    let shownAt = -Infinity;
    return {
      update(history) {
        if (performance.now() - shownAt < PLAIN_EVERY_MS) return;
        shownAt = performance.now();
        out.write(`${plainLine(history)}\n`);
      },
    };
  }
  let drawn = 0;
  return {
    update(history) {
      const lines = drawChart(history, out.columns);
      out.write(`${drawn === 0 ? '' : `\x1b[${drawn}A`}${lines.map((line) => `\x1b[2K${line}\n`).join('')}`);
      drawn = lines.length;
    },
  };
}

export function plainLine(history: History): string {
  const parts = [...history].map(([name, samples]) => {
    const { depth, replicas } = samples.at(-1) ?? { depth: 0, replicas: 0 };
    return `${name} ${String(depth).padStart(5)} waiting, ${replicas} workers`;
  });
  const atS = Math.max(0, ...[...history.values()].map((samples) => samples.at(-1)?.atS ?? 0));
  return `${atS.toFixed(1).padStart(5)} s  ${parts.join('   ')}`;
}

/** Two rows a broker, one bar a second (or as many seconds as it takes to fit `columns`). */
export function drawChart(history: History, columns: number): string[] {
  const bars = Math.min(MAX_BARS, Math.max(10, columns - LABEL_WIDTH - FIGURE_WIDTH));
  const lastS = Math.max(0, ...[...history.values()].map((samples) => samples.at(-1)?.atS ?? 0));
  const secondsPerBar = Math.max(1, Math.ceil((lastS + 1) / bars));
  return [...history].flatMap(([name, samples]) => [
    drawRow(`${name} waiting`, samples, (sample) => sample.depth, secondsPerBar, bars),
    drawRow(`${name} workers`, samples, (sample) => sample.replicas, secondsPerBar, bars),
  ]);
}

function drawRow(
  label: string,
  samples: readonly Sample[],
  figure: (sample: Sample) => number,
  secondsPerBar: number,
  bars: number,
): string {
  const heights: number[] = [];
  for (const sample of samples) heights[Math.floor(sample.atS / secondsPerBar)] = figure(sample);
  const top = Math.max(1, ...samples.map(figure));
  let before = 0;
  const row = Array.from({ length: Math.min(bars, heights.length) }, (_, index) => {
    before = heights[index] ?? before;
    // The lowest block is for one alone, so that only nothing looks like nothing.
    return BLOCKS[Math.ceil((before / top) * (BLOCKS.length - 1))] ?? '';
  }).join('');
  const latest = samples.at(-1);
  return `${label.padEnd(LABEL_WIDTH)}${row.padEnd(bars)}${String(latest === undefined ? 0 : figure(latest)).padStart(FIGURE_WIDTH)}`;
}
