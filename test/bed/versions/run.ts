/**
 * `npm run test:brokers`: gets each version of the brokers and runs its tests, the kinds side by side. It ends with the plain line
 * `N passed, N failed`; a version that can't be had here is skipped with the reason, and counts as neither.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { plans, type Plan, type TestRun } from './plan.ts';
import { provision } from './provision.ts';

const ROOT = new URL('../../..', import.meta.url);

interface Outcome {
  readonly name: string;
  readonly version: string;
  readonly passed: number;
  readonly failed: number;
  /** Why the version can't be had here, where it can't. */
  readonly skipped: string | undefined;
  readonly minutes: number;
}

const say = (line: string): void => void process.stdout.write(`${line}\n`);

/** The last `N passed, N failed` of the run; a run that ends without one, or badly in spite of it, has failed. */
async function runTests({ version: { name } }: Plan, { files, only }: TestRun): Promise<{ passed: number; failed: number }> {
  const args = ['vitest', 'run', '--config', 'vitest.brokers.config.ts', ...files, ...(only === undefined ? [] : ['-t', only])];
  say(`[${name}] ${args.join(' ')}`);
  const child = spawn('npx', args, {
    cwd: ROOT,
    env: { ...process.env, BROKER: name, NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const counts = { passed: 0, failed: 0 };
  const tell = (line: string): void => {
    say(`[${name}] ${line}`);
    const [, passed, failed] = /^(\d+) passed, (\d+) failed$/.exec(line) ?? [];
    if (passed !== undefined) Object.assign(counts, { passed: Number(passed), failed: Number(failed) });
  };
  for (const output of [child.stdout, child.stderr]) createInterface({ input: output }).on('line', tell);
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  if (counts.passed === 0 || code !== 0) counts.failed = Math.max(counts.failed, 1);
  return counts;
}

async function runPlan(plan: Plan): Promise<Outcome> {
  const { name } = plan.version;
  const startedAt = performance.now();
  const got = await provision(plan.version, say);
  if (typeof got === 'string') return { name, version: '-', passed: 0, failed: 0, skipped: got, minutes: 0 };
  say(`[${name}] version ${got.version} of Debian ${got.suite}`);
  let [passed, failed] = [0, 0];
  for (const run of plan.runs) {
    const counts = await runTests(plan, run);
    passed += counts.passed;
    failed += counts.failed;
  }
  const minutes = (performance.now() - startedAt) / 60_000;
  return { name, version: `${got.version} (${got.suite})`, passed, failed, skipped: undefined, minutes };
}

async function inTurn(lane: readonly Plan[]): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const plan of lane) outcomes.push(await runPlan(plan));
  return outcomes;
}

const { values, positionals } = parseArgs({ allowPositionals: true, options: { all: { type: 'boolean', default: false } } });
const chosen = plans(positionals, values.all || positionals.length > 0);
const lanes = (['rabbitmq', 'redis'] as const).map((kind) => chosen.filter(({ version }) => version.kind === kind));
const outcomes = (await Promise.all(lanes.map(inTurn))).flat();

say('');
for (const { name, version, passed, failed, skipped, minutes } of outcomes) {
  const result = skipped === undefined ? `${passed} passed, ${failed} failed, ${minutes.toFixed(1)} min` : `skipped: ${skipped}`;
  say(`${name.padEnd(20)} ${version.padEnd(16)} ${result}`);
}
const sum = (of: (outcome: Outcome) => number): number => outcomes.reduce((total, outcome) => total + of(outcome), 0);
const skipped = outcomes.filter((outcome) => outcome.skipped !== undefined).length;
const [passed, failed] = [sum((outcome) => outcome.passed), sum((outcome) => outcome.failed)];
say(`\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
process.exitCode = failed > 0 ? 1 : 0;
