import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { drawChart, plainLine, type Sample } from '../examples/demo/chart.ts';
import { account } from '../examples/demo/record.ts';
import { succeeded, type BrokerSummary, type Summary } from '../examples/demo/summary.ts';

const DEMO = fileURLToPath(new URL('../examples/demo/demo.ts', import.meta.url));
/** Three workers' worth at the manifests' target of 100 a worker, so that workers are scaled in with messages left. */
const MESSAGES = 300;

describe('the demo', () => {
  test('takes both brokers from messages to workers and back, loses nothing, and stops workers while messages are left', async () => {
    const args = ['--import', 'tsx', DEMO, '--json', '--messages', `${MESSAGES}`, '--work-ms', '60'];
    const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 100_000 });
    const lines = stdout.trimEnd().split('\n');
    const summary = JSON.parse(lines.at(-1) ?? '') as Summary;

    for (const name of ['rabbitmq', 'redis']) {
      const { firstWorkerMs, peakReplicas, ...rest } = summary[name] ?? ({} as Partial<BrokerSummary>);
      expect(rest, name).toEqual({
        published: MESSAGES,
        processed: MESSAGES,
        lost: 0,
        redelivered: 0,
        finalReplicas: 0,
      });
      expect(peakReplicas, name).toBeGreaterThan(1);
      expect(firstWorkerMs, name).toBeGreaterThan(0);
    }
    const stopped = lines.find((line) => line.startsWith('workers stopped with messages waiting'));
    expect(stopped?.match(/\d+/g)?.map(Number)).toEqual([expect.toSatisfy(isPositive), expect.toSatisfy(isPositive)]);
  }, 120_000);

  test('counts what was never done as lost, and what was taken twice as redelivered', () => {
    const record = 'taken 0\ndone 0\ntaken 1\ntaken 1\ndone 1\ntaken 2\n';
    expect(account(['0', '1', '2', '3'], record)).toEqual({ processed: 2, lost: 2, redelivered: 1 });
  });

  test('fails where a message is lost or a worker is left', () => {
    const good = { published: 1, processed: 1, lost: 0, redelivered: 0, peakReplicas: 1, finalReplicas: 0, firstWorkerMs: 9 };
    expect(succeeded({ rabbitmq: good, redis: good })).toBe(true);
    expect(succeeded({ rabbitmq: good, redis: { ...good, processed: 0, lost: 1 } })).toBe(false);
    expect(succeeded({ rabbitmq: { ...good, finalReplicas: 1 }, redis: good })).toBe(false);
  });

  test('draws a bar a second, the highest for the most', () => {
    const samples: Sample[] = [1, 8, 4, 0].map((depth, atS) => ({ atS, depth, replicas: 0 }));
    const [depth, workers] = drawChart(new Map([['redis', samples]]), 100) as [string, string];
    expect(depth).toMatch(/^redis waiting +▁█▄ +0$/);
    expect(workers).toMatch(/^redis workers +0$/);
  });

  test('fits a long run into a narrow terminal', () => {
    const samples: Sample[] = Array.from({ length: 300 }, (_, atS) => ({ atS, depth: 1, replicas: 1 }));
    for (const line of drawChart(new Map([['redis', samples]]), 50)) expect(line).toHaveLength(50);
  });

  test('tells the same in a plain line', () => {
    expect(plainLine(new Map([['redis', [{ atS: 1.25, depth: 40, replicas: 2 }]]]))).toBe(
      '  1.3 s  redis    40 waiting, 2 workers',
    );
  });
});

function isPositive(count: number): boolean {
  return count > 0;
}
