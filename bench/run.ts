/**
 * `npm run bench [-- NAME …]`: runs the benchmarks of this folder one after the other, each with brokers of its own, and prints
 * their figures. The exit code tells only whether all could be run.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { cpus } from 'node:os';
import { createReport, type Benchmark } from './report.ts';

const notBenchmarks = new Set(['run.ts', 'report.ts']);
const all = readdirSync(import.meta.dirname)
  .filter((name) => name.endsWith('.ts') && !notBenchmarks.has(name))
  .map((name) => name.replace(/\.ts$/, ''))
  .sort();
const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !all.includes(name));
if (unknown.length > 0) {
  process.stderr.write(`no such benchmark: ${unknown.join(', ')}; there are ${all.join(', ')}\n`);
  process.exit(2);
}

const write = (line: string): void => void process.stdout.write(`${line}\n`);
write(`Node ${process.version}, ${cpus().length} cores. Ratios are ours against a baseline in the same run; lower is better.`);

const missed: string[] = [];
let broken = 0;
for (const name of wanted.length > 0 ? wanted : all) {
  const tally = createReport(name, write);
  try {
    const module = (await import(join(import.meta.dirname, `${name}.ts`))) as { readonly default: Benchmark };
    await module.default(tally.report);
  } catch (error) {
    broken++;
    process.stderr.write(
      `${name} could not be run: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
    );
  }
  missed.push(...tally.missed);
}
if (missed.length > 0) write(`\nGoals missed on this machine, this time:\n  ${missed.join('\n  ')}`);
else write(broken === 0 ? '\nAll goals met.' : '\nNo goal missed by what could be run.');
process.exit(broken === 0 ? 0 : 1);
