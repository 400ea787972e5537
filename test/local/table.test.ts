import { stripVTControlCharacters } from 'node:util';
import { describe, expect, test, vi } from 'vitest';
import type { LocalEvent } from '../../src/local/events.ts';
import { jsonLine, lineWriter } from '../../src/local/output/lines.ts';
import { createTable } from '../../src/local/output/table.ts';

const time = '2026-01-02T03:04:05.678Z';
const replicas = { replicas: 3, ready: 2, stopping: 1 };
const reading = { metric: 's0-queue', target: 5, targetType: 'AverageValue', value: 12, active: true } as const;

const poll = (value: number, object = 'shop/orders'): LocalEvent => ({
  time,
  object,
  event: 'poll',
  metrics: [{ ...reading, value }],
  active: true,
  failing: false,
  reason: 'active',
  ...replicas,
});
const scale: LocalEvent = {
  time,
  object: 'shop/orders',
  event: 'scale',
  by: 'hpa',
  from: 1,
  desired: 3,
  reason: 'work',
  ...replicas,
};

describe('lines', () => {
  function linesOf(...events: LocalEvent[]): string[] {
    const lines: string[] = [];
    events.forEach(lineWriter((line) => void lines.push(line)));
    return lines;
  }

  test('say when, which object, and what', () => {
    expect(linesOf(scale, poll(12))).toEqual([
      '03:04:05.678 shop/orders scale: 1 → 3 by hpa: work',
      '03:04:05.678 shop/orders poll: s0-queue 12/5: active (2/3 ready, 1 stopping)',
    ]);
  });

  test('are not repeated while polls say the same, object by object', () => {
    expect(linesOf(poll(12), poll(12), poll(12, 'shop/other'), poll(13))).toHaveLength(3);
  });

  test('say why a value is unknown', () => {
    const failed = { metric: 's0-queue', target: 5, targetType: 'Value', error: 'GetMetrics: UNAVAILABLE: down' } as const;
    const event: LocalEvent = {
      time,
      object: 'a/b',
      event: 'poll',
      metrics: [failed],
      active: false,
      failing: true,
      reason: 'nothing is scaled',
      ...replicas,
    };
    expect(linesOf(event)[0]).toContain('s0-queue unknown (GetMetrics: UNAVAILABLE: down)');
  });

  test('as JSON hold the whole event', () => {
    expect(JSON.parse(jsonLine(scale))).toEqual(scale);
  });
});

describe('the table', () => {
  /** What a terminal shows after the given writes: only the sequences that the table uses are understood. */
  function screenOf(written: string): string[] {
    const screen: string[] = [];
    for (const part of written.split(/(?=\u001b\[\d+A\u001b\[J)/)) {
      const up = /^\u001b\[(\d+)A/.exec(part);
      if (up !== null) screen.length -= Number(up[1]);
      screen.push(...stripVTControlCharacters(part).split('\n').slice(0, -1));
    }
    return screen;
  }

  function tableOf(
    size = { columns: 100, rows: 24 },
    colours = false,
  ): { table: ReturnType<typeof createTable>; screen: () => string[]; written: () => string } {
    let written = '';
    const table = createTable({ write: (text) => void (written += text), size: () => size, colours });
    return { table, screen: () => screenOf(written), written: () => written };
  }

  test('stays in its place, with news and other lines above it', () => {
    vi.useFakeTimers();
    const { table, screen } = tableOf();
    table.event(poll(12));
    vi.advanceTimersByTime(1000);
    table.event(scale);
    table.line('[worker] \u001b[2Jhello');
    vi.advanceTimersByTime(1000);
    table.event(poll(7));
    table.close();
    vi.useRealTimers();
    expect(screen()).toEqual([
      '03:04:05 shop/orders scale: 1 → 3 by hpa: work',
      '[worker] hello',
      'SCALEDOBJECT  METRIC        ACTIVE  REPLICAS               DESIRED  BECAUSE',
      'shop/orders   s0-queue 7/5  yes     2/3 ready, 1 stopping  3        active',
    ]);
  });

  test('is never wider or higher than the terminal', () => {
    const { table, screen } = tableOf({ columns: 40, rows: 10 });
    for (let index = 0; index < 50; index++) table.event(poll(index, `shop/orders-${index}`));
    table.close();
    expect(screen()).toHaveLength(9);
    expect(screen().at(-1)).toBe('… and 43 more');
    for (const line of screen()) expect(line.length).toBeLessThan(40);
  });

  test('is plain where colours are unwanted', () => {
    const plain = tableOf();
    plain.table.event(poll(1));
    plain.table.close();
    expect(plain.written()).not.toContain('\u001b');
    const coloured = tableOf(undefined, true);
    coloured.table.event(poll(1));
    coloured.table.close();
    expect(coloured.written()).toContain('\u001b[1m');
  });
});
