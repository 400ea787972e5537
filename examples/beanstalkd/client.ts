/**
 * Reads tubes by `stats-tube`, as many as are asked about in one round trip, and watches them by polling.
 */
import { QueueError } from '../../src/errors.ts';
import type { BrokerKind, Question } from '../../src/scalers/contract.ts';
import { addressText, type Address } from '../../src/scalers/net/address.ts';
import { createPipeline } from '../../src/scalers/net/pipeline.ts';
import type { TlsSettings } from '../../src/scalers/net/tls.ts';
import { pollingClient } from '../../src/scalers/polling.ts';
import { unknown, type Reading } from '../../src/scalers/reading.ts';

export interface Connection {
  readonly endpoints: readonly [Address, ...Address[]];
  readonly tls: TlsSettings | undefined;
  readonly timeoutMs: number;
  readonly wakeBudget: number;
}
export type TubeQuestion = Question & { readonly tube: string };
/** Jobs of a tube that are ready, held by a worker, and not due yet. */
export type Measures = Readonly<Record<'ready' | 'reserved' | 'delayed', number>>;

const NOT_FOUND = 'NOT_FOUND';

export const beanstalkdServer: BrokerKind<Connection, TubeQuestion> = {
  name: 'beanstalkd',
  label: ({ endpoints }) => `beanstalkd://${endpoints.map(addressText).join(',')}`,
  open(connection, broker, events) {
    const pipeline = createPipeline({ ...connection, broker, events, parse });
    return pollingClient({
      budget: connection.wakeBudget,
      async readBatch(questions, report) {
        const replies = await pipeline.request(questions.map(({ tube }) => `stats-tube ${tube}\r\n`));
        for (const [index, { key, tube }] of questions.entries()) report(key, readingOf(tube, replies[index]));
      },
      close: pipeline.close,
    });
  },
};

/** The statistics of a tube, as YAML, or {@link NOT_FOUND}. */
function parse(received: Buffer): { readonly reply: string; readonly length: number } | undefined {
  const start = received.indexOf('\r\n') + 2;
  if (start < 2) return undefined;
  const line = received.toString('latin1', 0, start - 2);
  if (line === NOT_FOUND) return { reply: line, length: start };
  const [, bytes] = /^OK (\d{1,9})$/.exec(line) ?? [];
  if (bytes === undefined) throw new Error('no reply to stats-tube');
  const end = start + Number(bytes);
  return received.length < end + 2 ? undefined : { reply: received.toString('latin1', start, end), length: end + 2 };
}

function readingOf(tube: string, reply = ''): Reading<Measures> {
  // A tube is made by the first who uses it, and goes with its last job and client: one that is missing has no job for certain.
  const missing = reply === NOT_FOUND;
  const jobs = (state: string): number =>
    missing ? 0 : Number(new RegExp(`^current-jobs-${state}: (\\d{1,15})$`, 'm').exec(reply)?.[1]);
  const measures = { ready: jobs('ready'), reserved: jobs('reserved'), delayed: jobs('delayed') };
  if (Object.values(measures).some(Number.isNaN))
    return unknown(new QueueError('FIELD_MISSING', `tube ${tube}: the server gives no count of its jobs`));
  const reader = 'stats-tube';
  const notes = missing ? ['the server has no such tube, so no job of it'] : [];
  return { known: true, at: performance.now(), reader, measures, queues: [{ queue: tube, reader, measures }], notes };
}
