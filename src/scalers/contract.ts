/**
 * The contract between the scalers and everything above them: how metadata becomes a trigger, a trigger a question to a broker,
 * and a reading a decision. Nothing here speaks to KEDA, and only a {@link BrokerClient} speaks to a broker.
 */
import { fingerprint } from '../auth/secret.ts';
import { TriggerError, type Fault } from '../errors.ts';
import { readKeys, type KeyTable, type Values } from './metadata.ts';
import type { Advice } from './advice.ts';
import type { Known, Measures, Reading } from './reading.ts';
import type { BrokerEvents, BrokerIdentity } from './brokerEvents.ts';

/** What the HPA is told of a trigger. */
export interface MetricSpec {
  readonly name: string;
  /** Target of the metric, above zero. */
  readonly target: number;
}

/** What a trigger's reading means. */
export interface Decision {
  /** The metric's value: finite, not negative. */
  readonly value: number;
  readonly active: boolean;
  /** The steps from the figures to the value and the activity, one sentence each. */
  readonly because: readonly string[];
}

/** One thing to ask a broker. Questions with one key are one question, whichever triggers ask it. */
export interface Question {
  readonly key: string;
  /** For a person: the queue or queues asked for. */
  readonly subject: string;
  /** How long the last known reading may stand in while the answer is unknown, in ms. */
  readonly staleAfterMs: number;
}

/** Takes the answer to the question of that key. May be called more than once and after the sweep has ended: each answer stands for itself. */
export type Report = (key: string, reading: Reading) => void;

/** Whoever wants to hear of a question's readings as they come. */
export interface Watcher {
  /** True while nobody works on the queue, so that the next message must be noticed soonest. */
  sleeping(): boolean;
  /** Whether the question is read in full every few seconds without the watch, as it is asked for so often. */
  isReadAnyway?(): boolean;
  /** `afresh`: its work has come after a time in which there was none, which no reading need have shown. */
  report(reading: Reading, afresh?: boolean): void;
}

/** Whether one of them waits for work, for which all are then looked at soonest. */
export function someSleep(watchers: Iterable<Pick<Watcher, 'sleeping'>>): boolean {
  for (const watcher of watchers) if (watcher.sleeping()) return true;
  return false;
}

/** The one client of one broker; opens its connections when first needed and mends them by itself until closed. */
export interface BrokerClient<Q extends Question> {
  /**
   * Asks all questions in as few requests as possible and reports each answer as soon as it is had, so that a question that
   * hangs holds up no other. A trouble of one question is that question's reading; rejecting makes all unanswered ones unknown.
   */
  readBatch(questions: readonly Q[], report: Report, signal: AbortSignal): Promise<void>;
  /** Keeps reporting the question's readings, soonest after work arrives, until the returned function is called. */
  watch(question: Q, watcher: Watcher): () => void;
  /**
   * Whether what a watch reported last of the question is still so, because the broker tells of every change and has told of none. Left
   * out where the broker tells nothing; where there is doubt, false.
   */
  isCurrent?(question: Q): boolean;
  /** Ends all connections; never rejects, and takes at most a second. */
  close(): Promise<void>;
}

/** A kind of broker: how one is spoken to, whichever scalers ask it. */
export interface BrokerKind<Connection, Q extends Question> {
  /** One word; clients of two kinds are never shared. */
  readonly name: string;
  /** For a person: scheme, host and port, never user or password. */
  label(connection: Connection): string;
  /** Opens nothing yet. All that makes two clients differ is in `connection`. */
  open(connection: Connection, broker: BrokerIdentity, events: BrokerEvents): BrokerClient<Q>;
}

/** A trigger with all it needs to be read. */
export interface Bound {
  readonly broker: BrokerIdentity;
  readonly question: Question;
  /** Pure, and of the measures alone. A figure that the decision needs and the reading lacks throws a {@link QueueError}. */
  readonly decide: (reading: Known) => Decision;
  readonly open: (events: BrokerEvents) => BrokerClient<Question>;
}

/** Figures as people compare them: messages that wait, and messages that a worker holds. Absent where nothing is known of them. */
export interface Backlog {
  readonly waiting: number | undefined;
  readonly held: number | undefined;
}

export interface ScalerDefinition<Table extends KeyTable, Connection, Q extends Question, M extends Measures> {
  /** The name in `metadata.scaler`, which is KEDA's name of the built-in scaler. */
  readonly type: string;
  /** One sentence for the reference documentation. */
  readonly doc: string;
  readonly keys: Table;
  /**
   * Rules between keys, told to `fault` one by one. Runs also where single keys are at fault, so any value may be missing;
   * a key in `awaited` may still come from authentication. `metadata` holds KEDA's own keys too.
   */
  rules(
    values: Partial<Values<Table>>,
    fault: (key: string, message: string) => void,
    awaited: ReadonlySet<string>,
    metadata: Readonly<Record<string, string>>,
  ): void;
  /** Pure; needs nothing that may be awaited, and never throws once the rules have passed. */
  spec(values: Values<Table>): MetricSpec;
  readonly broker: BrokerKind<Connection, Q>;
  /** Which broker, and as whom: plain data, whose {@link fingerprint} is the client's identity. Complete values only, as below. */
  connection(values: Values<Table>): Connection;
  question(values: Values<Table>): Q;
  decide(values: Values<Table>, question: Q): (reading: Known<M>) => Decision;
  backlog(measures: M): Backlog;
  /** Loads what `check` and `convert` know of KEDA's own scaler of that name. */
  readonly advice?: () => Promise<Advice>;
}

/** A scaler with its types closed over, as the registry keeps it. */
export interface Scaler {
  readonly type: string;
  readonly doc: string;
  readonly keys: KeyTable;
  readonly advice?: () => Promise<Advice>;
  /** Metric name and target from metadata alone. Throws a {@link TriggerError} that lists every fault. */
  spec(metadata: Readonly<Record<string, string>>, authentication: 'none' | 'later'): MetricSpec;
  /**
   * Every fault there is, where the keys in `pending` will have values that are not known yet, such as those of variables, and
   * where with `authentication` undefined all keys that may stand there are left open.
   */
  faults(
    metadata: Readonly<Record<string, string>>,
    authentication: Readonly<Record<string, string>> | undefined,
    pending: ReadonlySet<string>,
  ): readonly Fault[];
  /** Throws a {@link TriggerError} that lists every fault. */
  bind(metadata: Readonly<Record<string, string>>, authentication: Readonly<Record<string, string>>): Bound;
  /** Of a reading of this scaler's own. */
  backlog(measures: Measures): Backlog;
}

export function defineScaler<const Table extends KeyTable, Connection, Q extends Question, M extends Measures>(
  definition: ScalerDefinition<Table, Connection, Q, M>,
): Scaler {
  const { broker: kind } = definition;
  // Without a mark the guard of other namespaces' credentials would let them go to any host that a trigger names.
  if (Object.values(definition.keys).every(({ endpoint }) => endpoint === undefined))
    throw new Error(`scaler ${definition.type}: no key is marked as an endpoint`);

  function parse(
    metadata: Readonly<Record<string, string>>,
    authentication: Readonly<Record<string, string>> | undefined,
    pending?: ReadonlySet<string>,
  ): { readonly values: Partial<Values<Table>>; readonly faults: readonly Fault[] } {
    const { values, faults, awaited } = readKeys(definition.keys, metadata, authentication, pending);
    const all: Fault[] = [...faults];
    // To the rules a key whose value is wrong is an absent one: what they say of it would send its owner the wrong way.
    const told = new Set(faults.map(({ key }) => key));
    definition.rules(values, (key, message) => told.has(key) || all.push({ key, message }), awaited, metadata);
    return { values, faults: all };
  }
  function read(
    metadata: Readonly<Record<string, string>>,
    authentication: Readonly<Record<string, string>> | undefined,
  ): Values<Table> {
    const { values, faults } = parse(metadata, authentication);
    if (faults.length > 0) throw invalidTrigger(definition.type, faults);
    return values as Values<Table>;
  }
  return {
    type: definition.type,
    doc: definition.doc,
    keys: definition.keys,
    ...(definition.advice && { advice: definition.advice }),
    spec: (metadata, authentication) => definition.spec(read(metadata, authentication === 'none' ? {} : undefined)),
    faults: (metadata, authentication, pending) => parse(metadata, authentication, pending).faults,
    bind(metadata, authentication) {
      const values = read(metadata, authentication);
      const connection = definition.connection(values);
      const broker = { key: fingerprint(kind.name, connection), label: kind.label(connection) };
      const question = definition.question(values);
      // A client is only ever asked, and its answers only decided, by scalers of its own kind.
      const decide = definition.decide(values, question) as Bound['decide'];
      return {
        broker,
        question,
        decide,
        open: (events) => kind.open(connection, broker, events),
      };
    },
    backlog: (measures) => definition.backlog(measures as M),
  };
}

/** The error of a trigger whose keys are at fault; its message lists all of them. */
export function invalidTrigger(scaler: string, faults: readonly Fault[]): TriggerError {
  const lines = faults.map(({ key, message }) => `${key} ${message}`).join('; ');
  return new TriggerError('INVALID_TRIGGER', `scaler ${scaler}: ${lines}`, { faults });
}
