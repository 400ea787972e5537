/**
 * `queue-scaler check FILE…`: the faults of manifests, before KEDA meets them. Asks no cluster and no broker.
 */
import { Command, Option } from 'commander';
import { checkFiles, type CheckResult } from './check/check.ts';
import { asGithub } from './check/output/github.ts';
import { asJson } from './check/output/json.ts';
import { asSarif } from './check/output/sarif.ts';
import { asText } from './check/output/text.ts';
import { processIo, type Io } from './io.ts';
import { loadKnownScalers } from './knownScalers.ts';
import { readYamlFiles } from '../yaml/files.ts';

const PRINTERS = { text: asText, json: asJson, github: asGithub, sarif: asSarif };
export type Format = keyof typeof PRINTERS;

export interface CheckOptions {
  readonly format?: Format;
  /** Warnings fail too. */
  readonly strict?: boolean;
  /** Leaves notes out. */
  readonly quiet?: boolean;
}

/** Nothing that will not work was found. */
const EXIT_CLEAN = 0;
const EXIT_FAULTS = 1;
/** There was nothing to check. */
const EXIT_NOTHING = 2;

/** Resolves with the exit code. */
export async function check(paths: readonly string[], options: CheckOptions, io: Io): Promise<number> {
  const found = checkFiles(await readYamlFiles(paths, io.stdin), await loadKnownScalers());
  const result =
    options.quiet === true ? { ...found, findings: found.findings.filter(({ severity }) => severity !== 'note') } : found;
  io.stdout.write(PRINTERS[options.format ?? 'text'](result, io.colour));
  const { findings, objects } = result;
  if (objects > 0 && (options.format ?? 'text') === 'text') io.stderr.write(`next: ${nextStep(result)}\n`);
  if (findings.some(({ severity }) => severity === 'error' || (severity === 'warning' && options.strict === true)))
    return EXIT_FAULTS;
  if (objects > 0) return EXIT_CLEAN;
  io.stderr.write('no ScaledObject, ScaledJob or TriggerAuthentication is in the files\n');
  return EXIT_NOTHING;
}

function nextStep({ findings }: CheckResult): string {
  const has = (test: (finding: CheckResult['findings'][number]) => boolean): boolean => findings.some(test);
  if (has(({ rule }) => rule === 'template-not-rendered')) return 'render the template, and check what comes out';
  if (has(({ severity }) => severity === 'error')) return 'mend the errors, and check again';
  if (has(({ rule }) => rule === 'built-in-trigger')) return 'queue-scaler convert makes KEDA’s own triggers ones of this scaler';
  if (has(({ severity }) => severity === 'warning'))
    return 'mend the warnings, or allow what is meant by a comment: # check: allow RULE';
  return 'queue-scaler read tells what the triggers see now; then kubectl apply';
}

export function checkCommand(): Command {
  return new Command('check')
    .description('find the faults of ScaledObjects, ScaledJobs and TriggerAuthentications')
    .argument('<file...>', 'manifests, folders of manifests, or - for the standard input')
    .addOption(new Option('--format <format>', 'how findings are printed').choices(Object.keys(PRINTERS)).default('text'))
    .option('--json', 'short for --format json')
    .option('--strict', 'warnings fail too')
    .option('--quiet', 'leave notes out')
    .addHelpText('after', '\nExit code: 0 no error, 1 errors (with --strict also warnings), 2 nothing to check.')
    .action(async (paths: string[], options: CheckOptions & { json?: boolean }) => {
      process.exitCode = await check(paths, options.json === true ? { ...options, format: 'json' } : options, processIo());
    });
}
