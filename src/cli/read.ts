/**
 * `queue-scaler read FILE…`: asks the brokers of the triggers in the files once, or again and again, and prints what was read, what
 * KEDA would get and why, without metadata or credentials.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Command, InvalidArgumentError } from 'commander';
import { isExternal } from '../keda.ts';
import { readManifests } from '../auth/files.ts';
import { openKubernetes } from '../auth/kubernetes/reader.ts';
import { createResolver } from '../auth/resolver.ts';
import { endpointKeysOf } from '../scalers/registry.ts';
import { toQueueScalerError } from '../errors.ts';
import { noEvents } from '../scalers/brokerEvents.ts';
import { explainError, explainSample, type Explanation } from '../scalers/explanation.ts';
import { createBrokerPool } from '../scalers/brokerPool.ts';
import { createTriggers, type Triggers } from '../scalers/triggers.ts';
import { processIo, type Io } from './io.ts';
import { explainCron } from './read/cron.ts';
import { explainFormula } from './read/formula.ts';
import { layeredReader, subjectsOf, type Subject } from './read/subjects.ts';
import { ONLY_IN_CLUSTER, readingText, resourceText } from './read/text.ts';

/** Longest wait for one reading. A zero that has to last before it is sure is waited for no longer than this. */
const READ_MS = 20_000;
/** A question that is unknown for now is asked again after this. */
const AGAIN_MS = 500;
const WATCH_MS = 1_000;

export interface ReadOptions {
  readonly trigger?: number;
  readonly json?: boolean;
  /** Until the signal aborts. */
  readonly watch?: boolean;
  readonly kubeconfig?: string;
}

const EXIT_KNOWN = 0;
const EXIT_UNKNOWN = 1;
const EXIT_NOTHING = 2;

/** Resolves with the exit code: 1 where a trigger's state is unknown. */
export async function read(paths: readonly string[], options: ReadOptions, io: Io, signal: AbortSignal): Promise<number> {
  const manifests = await readManifests(paths);
  for (const { position, object, path, message } of manifests.faults) {
    const where = [object, path.join('.')].filter((word) => word !== undefined && word !== '').join(' ');
    io.stderr.write(`${position.file}:${position.line}:${position.column}: ${where} ${message}\n`);
  }
  const cluster = options.kubeconfig === undefined ? undefined : await openKubernetes({ kubeconfig: options.kubeconfig });
  const reader = layeredReader(manifests, cluster, process.env);
  const credentials = createResolver({ reader, endpointKeysOf });
  const brokers = createBrokerPool(noEvents);
  try {
    const triggers = createTriggers(credentials, brokers);
    const all = await subjectsOf(manifests, reader, signal);
    const subjects = options.trigger === undefined ? all : all.filter(({ index }) => index === options.trigger);
    if (!subjects.some(({ type }) => isExternal(type))) {
      io.stderr.write(
        `no external trigger${options.trigger === undefined ? '' : ` ${options.trigger}`} is in the files; KEDA’s own triggers: queue-scaler convert\n`,
      );
      return manifests.faults.length > 0 ? EXIT_UNKNOWN : EXIT_NOTHING;
    }
    let known = true;
    do {
      const explained = await explainAll(triggers, subjects, options.watch === true, signal);
      known = explained.every(({ explanation }) => explanation === undefined || explanation.reading !== undefined);
      print(explained, options, io);
      if (options.watch === true) await sleep(WATCH_MS, undefined, { signal }).catch(() => undefined);
    } while (options.watch === true && !signal.aborted);
    if (options.json !== true && options.watch !== true)
      io.stderr.write(
        known
          ? 'next: kubectl apply, or --watch to see it change\n'
          : 'next: mend what is unknown by its remedy, and read again\n',
      );
    return known && manifests.faults.length === 0 ? EXIT_KNOWN : EXIT_UNKNOWN;
  } catch (thrown) {
    io.stderr.write(`${toQueueScalerError(thrown).message}\n`);
    return EXIT_UNKNOWN;
  } finally {
    await brokers.close();
    await credentials.close();
  }
}

interface Explained {
  readonly subject: Subject;
  /** Absent where only a cluster knows the metric. */
  readonly explanation: Explanation | undefined;
}

/** Formulas after the triggers that they compute with. */
async function explainAll(
  triggers: Triggers,
  subjects: readonly Subject[],
  once: boolean,
  signal: AbortSignal,
): Promise<readonly Explained[]> {
  const read = new Map<Subject, Explanation>();
  await Promise.all(
    subjects.map(async (subject) => {
      if (isExternal(subject.type)) read.set(subject, await explain(triggers, subject, once, signal));
      else if (subject.type === 'cron') read.set(subject, explainCron(subject.metadata, new Date()));
    }),
  );
  return subjects.map((subject) => {
    if (subject.type !== 'formula') return { subject, explanation: read.get(subject) };
    const beside = [...read].flatMap(([{ object, index }, explanation]) =>
      object !== subject.object || index === undefined ? [] : [[index, explanation] as const],
    );
    return { subject, explanation: explainFormula(subject, new Map(beside)) };
  });
}

/** What may pass by itself is asked again until it is known or time is up; a watch shows it as it is. */
async function explain(triggers: Triggers, subject: Subject, once: boolean, signal: AbortSignal): Promise<Explanation> {
  const deadline = performance.now() + READ_MS;
  const { namespace, name, metadata } = subject;
  let metric = { name: '(none)', target: 0 };
  for (;;) {
    try {
      const trigger = triggers.find({ namespace, name, metadata });
      metric = trigger.spec;
      return explainSample(metric, await trigger.read(AbortSignal.any([signal, AbortSignal.timeout(READ_MS)])));
    } catch (thrown) {
      const { code } = toQueueScalerError(thrown);
      const passing = code === 'ZERO_UNCONFIRMED' || code === 'FIELD_MISSING';
      if (once || !passing || signal.aborted || performance.now() > deadline) return explainError(metric, thrown);
      await sleep(AGAIN_MS, undefined, { signal }).catch(() => undefined);
    }
  }
}

function print(explained: readonly Explained[], options: ReadOptions, io: Io): void {
  if (options.json === true) {
    for (const { subject, explanation } of explained)
      io.stdout.write(
        `${JSON.stringify({ trigger: subject.label, at: new Date().toISOString(), ...(explanation ?? { note: ONLY_IN_CLUSTER }) })}\n`,
      );
    return;
  }
  // Home and clear, where there is a screen.
  if (options.watch === true && io.colour) io.stdout.write('\u001b[H\u001b[J');
  else if (options.watch === true) io.stdout.write(`--- ${new Date().toISOString()}\n`);
  io.stdout.write(
    explained
      .map(({ subject, explanation }) => (explanation === undefined ? resourceText(subject) : readingText(subject, explanation)))
      .join('\n'),
  );
}

export function readCommand(): Command {
  return new Command('read')
    .description('read the queues of triggers once and explain what KEDA and the HPA would make of it')
    .argument('<file...>', 'manifests of ScaledObjects or ScaledJobs and what they name; a folder stands for its .yaml files')
    .option('--trigger <index>', 'only the trigger of that index', (text) => {
      if (!/^\d+$/.test(text)) throw new InvalidArgumentError('must be a whole number from 0');
      return Number(text);
    })
    .option('--watch', 'again each second, until Ctrl-C')
    .option('--kubeconfig <file>', 'look up in that cluster what the files do not hold')
    .option('--json', 'one JSON object a reading')
    .addHelpText(
      'after',
      '\nVariables that no workload of the files sets are taken from this process’s environment.\nExit code: 0 all known, 1 something is unknown, 2 no trigger to read.',
    )
    .action(async (paths: string[], options: ReadOptions) => {
      const stop = new AbortController();
      const onSignal = (): void => {
        stop.abort();
      };
      process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
      process.exitCode = await read(paths, options, processIo(), stop.signal);
    });
}
