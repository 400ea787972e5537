/**
 * `queue-scaler convert FILE…`: triggers of KEDA's own scalers become triggers of this one, or back. The text goes to the standard output, or
 * with --write into the files; what changes in behaviour goes to the standard error.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { buffer } from 'node:stream/consumers';
import { Command } from 'commander';
import { checkFiles } from './check/check.ts';
import { convertText, type Conversion } from './convert/convert.ts';
import { processIo, type Io } from './io.ts';
import { loadKnownScalers, type KnownScaler } from './knownScalers.ts';
import { STDIN } from '../yaml/files.ts';
import { parseObjects } from '../yaml/objects.ts';

/** Where the manifests of this project put the scaler's Service. */
const DEFAULT_SCALER_ADDRESS = 'keda-queue-scaler.keda:6000';

export interface ConvertCommandOptions {
  readonly back?: boolean;
  readonly write?: boolean;
  readonly scalerAddress?: string;
}

const EXIT_DONE = 0;
const EXIT_FAULTS = 1;

/** Resolves with the exit code: 1 where a file cannot be read, or what came out does not pass `check`. */
export async function convert(paths: readonly string[], options: ConvertCommandOptions, io: Io): Promise<number> {
  const scalerAddress = options.scalerAddress ?? DEFAULT_SCALER_ADDRESS;
  const scalers = await loadKnownScalers();
  let code = EXIT_DONE;
  const texts: string[] = [];
  let count = 0;
  for (const path of paths) {
    const file = path === '-' ? STDIN : path;
    let text: string;
    try {
      text = path === '-' ? (await buffer(io.stdin)).toString() : await readFile(path, 'utf8');
    } catch (thrown) {
      io.stderr.write(`${file}: cannot be read: ${thrown instanceof Error ? thrown.message : 'unknown reason'}\n`);
      code = EXIT_FAULTS;
      continue;
    }
    const result = convertText(file, text, { ...(options.back === true && { back: true }), scalerAddress, scalers });
    for (const fault of result.faults) io.stderr.write(`${fault}\n`);
    if (result.faults.length > 0) code = EXIT_FAULTS;
    for (const conversion of result.conversions) io.stderr.write(describe(conversion));
    count += result.conversions.filter(({ converted }) => converted).length;
    const errors = options.back === true || result.faults.length > 0 ? [] : errorsIn(file, result.text, scalers);
    if (errors.length > 0) code = EXIT_FAULTS;
    for (const error of errors) io.stderr.write(error);
    if (options.write === true && path !== '-') {
      if (result.text !== text) await writeFile(path, result.text);
    } else texts.push(result.text);
  }
  io.stdout.write(texts.reduce((all, text) => (all === '' ? text : `${all}${all.endsWith('\n') ? '' : '\n'}---\n${text}`), ''));
  const next = count > 0 && options.back !== true ? '; next: queue-scaler check what came out' : '';
  io.stderr.write(`${count} trigger${count === 1 ? '' : 's'} converted${next}\n`);
  return code;
}

function describe({ file, line, trigger, converted, remarks }: Conversion): string {
  return [
    `${file}:${line}: ${trigger}${converted ? '' : ' is not converted'}`,
    ...remarks.map((remark) => `  - ${remark}`),
    '',
  ].join('\n');
}

function errorsIn(file: string, text: string, scalers: readonly KnownScaler[]): string[] {
  return checkFiles([parseObjects(file, text)], scalers)
    .findings.filter(({ severity }) => severity === 'error')
    .map(
      ({ position, message, fix }) =>
        `${file}:${position.line}:${position.column}: error: ${message}${fix === undefined ? '' : ` (fix: ${fix})`}\n`,
    );
}

export function convertCommand(): Command {
  return new Command('convert')
    .description('make triggers of KEDA’s own scalers triggers of this one')
    .argument('<file...>', 'manifests, or - for the standard input')
    .option('--back', 'the way back, to KEDA’s own scalers')
    .option('--write', 'change the files instead of printing')
    .option('--scaler-address <host:port>', 'where KEDA reaches this scaler', DEFAULT_SCALER_ADDRESS)
    .action(async (paths: string[], options: ConvertCommandOptions) => {
      process.exitCode = await convert(paths, options, processIo());
    });
}
