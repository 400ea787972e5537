/**
 * Reads tubes by `stats-tube`, all of them in one round trip, and watches them by polling.
 */
import { QueueError } from '../../src/errors.ts';
import type { BrokerEvents } from '../../src/scalers/brokerEvents.ts';
import type { BrokerClient, BrokerIdentity, Question } from '../../src/scalers/contract.ts';
import type { Address } from '../../src/scalers/net/address.ts';
import { createPipeline } from '../../src/scalers/net/pipeline.ts';
import type { TlsSettings } from '../../src/scalers/net/tls.ts';
import { pollingClient } from '../../src/scalers/polling.ts';
import { unknown, type Reading } from '../../src/scalers/reading.ts';

const MISSING = 'NOT_FOUND';

export interface Connection {
  readonly endpoints: readonly [Address, ...Address[]];
  readonly tls: TlsSettings | undefined;
  readonly timeoutMs: number;
  readonly wakeBudget: number;
}

export interface TubeQuestion extends Question {
  readonly tube: string;
}

export function openClient(connection: Connection, broker: BrokerIdentity, events: BrokerEvents): BrokerClient<TubeQuestion> {
  const pipeline = createPipeline({ ...connection, broker, events, parse });
  return pollingClient({
    budget: connection.wakeBudget,
    async readBatch(questions, report) {
      const replies = await pipeline.request(questions.map(({ tube }) => `stats-tube ${tube}\r\n`));
      for (const [index, { key, tube }] of questions.entries()) report(key, readingOf(tube, replies[index]));
    },
    close: () => {
      pipeline.close();
    },
  });
}

/** The statistics of a tube, as YAML, or `NOT_FOUND`. */
function parse(received: Buffer): { readonly reply: string; readonly length: number } | undefined {
  const start = received.indexOf('\r\n') + 2;
  if (start < 2) return undefined;
  const line = received.toString('latin1', 0, start - 2);
  if (line === MISSING) return { reply: line, length: start };
  const [, bytes] = /^OK (\d{1,9})$/.exec(line) ?? [];
  if (bytes === undefined) throw new Error(`no reply to stats-tube: ${JSON.stringify(line.slice(0, 60))}`);
  const end = start + Number(bytes);
  return received.length < end + 2 ? undefined : { reply: received.toString('utf8', start, end), length: end + 2 };
}

function readingOf(tube: string, reply = ''): Reading {
  const figure = (name: string): number =>
    reply === MISSING ? 0 : Number(new RegExp(`^current-jobs-${name}: (\\d{1,15})$`, 'm').exec(reply)?.[1]);
  const measures = { ready: figure('ready'), processing: figure('reserved'), delayed: figure('delayed') };
  if (Object.values(measures).some(Number.isNaN))
    return unknown(new QueueError('FIELD_MISSING', `tube ${tube}: the server gives no count of its jobs`));
  return {
    known: true,
    at: performance.now(),
    reader: 'stats-tube',
    measures,
    queues: [{ queue: tube, reader: 'stats-tube', measures }],
    // A tube is made by the first who uses it, and goes with its last job and client.
    notes: reply === MISSING ? ['the server has no such tube, so it has no job, and no worker holds one'] : [],
  };
}
