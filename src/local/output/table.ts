/**
 * All ScaledObjects as one table that stays in its place in a terminal, with everything else scrolling by above it.
 */
import { stripVTControlCharacters, styleText } from 'node:util';
import type { LocalEvent } from '../events.ts';
import { metricText, replicasText, sentence } from './lines.ts';

/** A person reads no faster. */
const REFRESH_MS = 100;
const HEAD = ['SCALEDOBJECT', 'METRIC', 'ACTIVE', 'REPLICAS', 'DESIRED', 'BECAUSE'] as const;

interface Row {
  metric: string;
  active: string;
  replicas: string;
  desired: string;
  because: string;
}

export interface Terminal {
  write(text: string): void;
  /** Columns and rows now. */
  size(): { readonly columns: number; readonly rows: number };
  readonly colours: boolean;
}

export interface Table {
  readonly event: (event: LocalEvent) => void;
  /** A line that scrolls by above the table. */
  readonly line: (text: string) => void;
  readonly close: () => void;
}

export function createTable(terminal: Terminal): Table {
  const rows = new Map<string, Row>();
  const above: string[] = [];
  let drawn = 0;
  let timer: NodeJS.Timeout | undefined;

  function rowOf(object: string): Row {
    const row = rows.get(object) ?? { metric: '', active: '', replicas: '', desired: '', because: '' };
    rows.set(object, row);
    return row;
  }

  function draw(): void {
    clearTimeout(timer);
    timer = undefined;
    const erase = drawn > 0 ? `\u001b[${drawn}A\u001b[J` : '';
    const lines = renderTable(rows, terminal.size(), terminal.colours);
    drawn = lines.length;
    terminal.write(`${erase}${[...above.splice(0), ...lines].map((line) => `${line}\n`).join('')}`);
  }

  function soon(): void {
    timer ??= setTimeout(draw, REFRESH_MS);
  }

  return {
    event(event) {
      const { object } = event;
      if (event.event === 'serving') for (const each of event.objects) rowOf(each);
      if (object !== undefined && 'replicas' in event) {
        const row = rowOf(object);
        row.replicas = replicasText(event);
        if (event.event === 'poll' || event.event === 'hpa') row.metric = event.metrics.map(metricText).join('; ');
        if (event.event === 'poll') row.active = event.active ? 'yes' : event.failing ? 'unknown' : 'no';
        if (event.event === 'push' && event.active) row.active = 'yes';
        if (event.event === 'hpa' || event.event === 'scale') row.desired = String(event.desired);
        // What a push of `false` does not do is no news.
        if ('reason' in event && !(event.event === 'push' && !event.active)) row.because = event.reason;
      }
      if (event.event !== 'poll' && event.event !== 'hpa') {
        above.push(`${event.time.slice(11, 19)} ${object === undefined ? '' : `${object} `}${sentence(event)}`);
      }
      soon();
    },
    line(text) {
      // A worker's own control sequences would move the table.
      above.push(stripVTControlCharacters(text));
      soon();
    },
    close: draw,
  };
}

/** At most as many lines as the terminal has rows but one, as no more can be redrawn; and none that it would break. */
function renderTable(
  rows: ReadonlyMap<string, Readonly<Row>>,
  size: { readonly columns: number; readonly rows: number },
  colours: boolean,
): readonly string[] {
  const cells = [...rows].map(([object, row]) => [object, row.metric, row.active, row.replicas, row.desired, row.because]);
  const widths = HEAD.map((title, column) => Math.max(title.length, ...cells.map((row) => (row[column] ?? '').length)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => (column === HEAD.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
      .join('  ')
      .trimEnd()
      .slice(0, Math.max(1, size.columns - 1));
  const head = line(HEAD);
  const room = Math.max(1, size.rows - 3);
  const shown =
    cells.length <= room + 1 ? cells.map(line) : [...cells.slice(0, room).map(line), `… and ${cells.length - room} more`];
  return [colours ? styleText('bold', head, { validateStream: false }) : head, ...shown];
}
