/** What a run of the demo comes to. */
import type { Account } from './record.ts';

export interface BrokerSummary extends Account {
  readonly published: number;
  readonly peakReplicas: number;
  readonly finalReplicas: number;
  /** From the first message to the start of the first worker. */
  readonly firstWorkerMs: number | null;
}

/** By the broker's name. */
export type Summary = Readonly<Record<string, BrokerSummary>>;

export function succeeded(summary: Summary): boolean {
  return Object.values(summary).every(({ lost, finalReplicas }) => lost === 0 && finalReplicas === 0);
}

const ROWS: readonly (readonly [string, keyof BrokerSummary])[] = [
  ['messages published', 'published'],
  ['messages processed', 'processed'],
  ['messages lost', 'lost'],
  ['messages redelivered', 'redelivered'],
  ['most replicas', 'peakReplicas'],
  ['replicas at the end', 'finalReplicas'],
  ['first message to first worker, ms', 'firstWorkerMs'],
];

/** `stoppedBusy` is the number of workers, by broker, that were scaled in while messages were waiting. */
export function summaryTable(summary: Summary, stoppedBusy: ReadonlyMap<string, number>): string {
  const names = Object.keys(summary);
  const line = (label: string, cells: readonly unknown[]): string =>
    `${label.padEnd(40)}${cells.map((cell) => String(cell).padStart(10)).join('')}`;
  return [
    line('', names),
    ...ROWS.map(([label, key]) =>
      line(
        label,
        names.map((name) => summary[name]?.[key] ?? '-'),
      ),
    ),
    line(
      'workers stopped with messages waiting',
      names.map((name) => stoppedBusy.get(name) ?? 0),
    ),
  ].join('\n');
}
