/**
 * Whatever is done to a stream and its group, the lag is what the group would still be given: the entries behind its last delivered id.
 * A failure prints fast-check's seed and the shortest steps that lead to it; such seeds are kept below.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { noEvents } from '../../../src/scalers/brokerEvents.ts';
import type { BrokerClient } from '../../../src/scalers/contract.ts';
import { unknown, type Reading } from '../../../src/scalers/reading.ts';
import { ProcessError } from '../../../src/errors.ts';
import { createRedisClient } from '../../../src/scalers/redis/client.ts';
import type { RedisQuestion } from '../../../src/scalers/redis/question.ts';
import { standalone } from '../../../src/scalers/redis/topology/standalone.ts';
import { fieldsOf, type Reply } from '../../../src/scalers/redis/wire/reply.ts';
import { startRedis, type RedisServer } from '../../bed/redis.ts';

const SEEDS = [20_261_127, 1, 2, 3, 4, 5, 6];
const STEPS = 50;
const RUNS = 10;
const HIGHEST_ID = '18446744073709551615-18446744073709551615';
const STREAM = 's';
const QUESTION: RedisQuestion = {
  kind: 'stream',
  key: 'fuzz',
  subject: 's (group g)',
  stream: STREAM,
  group: 'g',
  mode: 'lag',
  requireMatch: false,
  staleAfterMs: 0,
  notes: [],
};

let server: RedisServer;
let redis: Redis;
beforeAll(async () => {
  // Small nodes, so that approximate trimming trims.
  server = await startRedis({ config: { 'stream-node-max-entries': '4' } });
  redis = new Redis({ port: server.port, protocol: 2 });
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});

type Call = (string | number)[];
/** A step, made of what the stream holds at its time: ids of entries in order, ids that were delivered and not acknowledged. */
type StepMaker = (entries: readonly string[], pending: readonly string[]) => Call;
interface NamedStep {
  readonly name: string;
  readonly make: StepMaker;
}

const named = (name: string, make: StepMaker): NamedStep => ({ name, make });
/** An id: of an entry, beside it, or one that no entry has. */
const anyId = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(fc.double({ min: 0, max: 0.999, noNaN: true }), fc.constantFrom('at', 'before', 'after')) },
  { weight: 1, arbitrary: fc.constantFrom('0', '0-1', '$', HIGHEST_ID, '99999999999999-0') },
);
function idOf(which: string | [number, string], entries: readonly string[]): string {
  if (typeof which === 'string') return which;
  const [ms = '1', sequence = '1'] = (entries[Math.floor(which[0] * entries.length)] ?? '1-1').split('-');
  const change = { at: 0, before: -1, after: 1 }[which[1]] ?? 0;
  return `${ms}-${Math.max(0, Number(sequence) + change)}`;
}
const portion = fc.double({ min: 0, max: 0.999, noNaN: true });

/** `most` entries at most are added or read by one step. What the server refuses is no step. */
function steps(most: number, honest: boolean): fc.Arbitrary<NamedStep> {
  const count = fc.integer({ min: 1, max: most });
  const add = count.map((entries) => named(`add ${entries}`, () => ['add', entries]));
  const read = fc
    .tuple(count, fc.boolean())
    .map(([entries, noAck]) =>
      named(`read ${entries}${noAck ? ' NOACK' : ''}`, () => [
        ...['XREADGROUP', 'GROUP', 'g', 'c', 'COUNT', entries, ...(noAck ? ['NOACK'] : [])],
        ...['STREAMS', STREAM, '>'],
      ]),
    );
  const acknowledge = portion.map((share) =>
    named(`ack ${share}`, (_, pending) => ['XACK', STREAM, 'g', ...pending.slice(0, 1 + Math.floor(share * pending.length))]),
  );
  const remove = portion.map((at) =>
    named(`del ${at}`, (entries) => ['XDEL', STREAM, entries[Math.floor(at * entries.length)] ?? '1-1']),
  );
  const trim = fc
    .tuple(portion, fc.constantFrom('=', '~'))
    .map(([share, how]) =>
      named(`trim ${how} ${share}`, (entries) => ['XTRIM', STREAM, 'MAXLEN', how, Math.floor(share * entries.length)]),
    );
  const trimBelow = fc
    .tuple(anyId, fc.constantFrom('=', '~'))
    .map(([id, how]) =>
      named(`trim ${how} below ${String(id)}`, (entries) => ['XTRIM', STREAM, 'MINID', how, idOf(id, entries)]),
    );
  const told = honest ? fc.constant(undefined) : fc.option(fc.integer({ min: 0, max: 60 }), { nil: undefined });
  const read0 = (number: number | undefined): Call => (number === undefined ? [] : ['ENTRIESREAD', number]);
  const setId = fc
    .tuple(anyId, told)
    .map(([id, number]) =>
      named(`SETID ${String(id)} ${number ?? ''}`, (entries) => [
        'XGROUP',
        'SETID',
        STREAM,
        'g',
        idOf(id, entries),
        ...read0(number),
      ]),
    );
  const create = fc
    .tuple(anyId, told)
    .map(([id, number]) =>
      named(`create at ${String(id)} ${number ?? ''}`, (entries) => ['create', idOf(id, entries), ...read0(number)]),
    );
  const setStream = fc
    .tuple(anyId, fc.integer({ min: 0, max: 90 }), anyId, fc.boolean())
    .map(([id, added, deleted, all]) =>
      named(`XSETID ${String(id)} ${all ? `${added} ${String(deleted)}` : ''}`, (entries) => [
        ...['XSETID', STREAM, idOf(id, entries)],
        ...(all ? ['ENTRIESADDED', added, 'MAXDELETEDID', idOf(deleted, entries)] : []),
      ]),
    );
  return fc.oneof(
    { weight: 10, arbitrary: add },
    { weight: 10, arbitrary: read },
    { weight: 4, arbitrary: acknowledge },
    { weight: 3, arbitrary: remove },
    { weight: 3, arbitrary: trim },
    { weight: 1, arbitrary: trimBelow },
    ...(honest
      ? []
      : [
          { weight: 2, arbitrary: setId },
          { weight: 1, arbitrary: create },
          { weight: 1, arbitrary: setStream },
        ]),
  );
}

async function take(call: Call): Promise<void> {
  const [name = '', ...args] = call;
  const refused = (): undefined => undefined;
  if (name === 'add') {
    await Promise.all(Array.from({ length: Number(args[0]) }, () => redis.call('XADD', STREAM, '*', 'f', 'v').catch(refused)));
  } else if (name === 'create') {
    await redis.call('XGROUP', 'DESTROY', STREAM, 'g').catch(refused);
    await redis.call('XGROUP', 'CREATE', STREAM, 'g', ...args).catch(refused);
  } else await redis.call(String(name), ...args).catch(refused);
}

const idsIn = (entries: unknown): string[] => (entries as [string][]).map(([id]) => id);

interface Truth {
  readonly unread: number;
  readonly pending: readonly string[];
  readonly entries: readonly string[];
}

async function truth(): Promise<Truth> {
  const entries = idsIn(await redis.call('XRANGE', STREAM, '-', '+'));
  const [group] = (await redis.call('XINFO', 'GROUPS', STREAM)) as Reply[];
  if (group === undefined) return { unread: entries.length, pending: [], entries };
  const delivered = fieldsOf(group).get('last-delivered-id') as string;
  const behind = delivered === HIGHEST_ID ? [] : idsIn(await redis.call('XRANGE', STREAM, `(${delivered}`, '+'));
  const pending = idsIn(await redis.call('XPENDING', STREAM, 'g', '-', '+', 10_000));
  return { unread: behind.length, pending, entries };
}

function open(): BrokerClient<RedisQuestion> {
  const access = { kind: 'standalone' as const, username: undefined, password: undefined, tls: undefined, database: 0 };
  return createRedisClient({ key: 'fuzz', label: 'fuzz' }, noEvents, (listener) =>
    standalone({ host: '127.0.0.1', port: server.port }, access, listener),
  );
}

async function read(client: BrokerClient<RedisQuestion>): Promise<Reading> {
  let reading: Reading = unknown(new ProcessError('INTERNAL', 'no answer'));
  await client.readBatch([QUESTION], (_key, told) => (reading = told), AbortSignal.timeout(5_000));
  return reading;
}

/** Takes the steps, and has each checked. */
async function play(all: readonly NamedStep[], check: (reading: Reading, truth: Truth) => void): Promise<void> {
  const client = open();
  try {
    await redis.call('DEL', STREAM);
    await redis.call('XGROUP', 'CREATE', STREAM, 'g', '0', 'MKSTREAM');
    let now = await truth();
    for (const step of all) {
      await take(step.make(now.entries, now.pending));
      now = await truth();
      check(await read(client), now);
    }
  } finally {
    await client.close();
  }
}

const shown = (step: NamedStep): string => step.name;
const scenario = (most: number, honest: boolean): fc.Arbitrary<NamedStep[]> =>
  fc.array(
    steps(most, honest).map((step) => ({ ...step, [fc.toStringMethod]: () => shown(step) })),
    {
      minLength: STEPS,
      maxLength: STEPS,
    },
  );

describe('the lag of a group', () => {
  it.each(SEEDS)('is exact after each of 500 steps on a short stream, seed %i', async (seed) => {
    await fc.assert(
      fc.asyncProperty(scenario(8, false), async (all) => {
        await play(all, (reading, { unread, pending, entries }) => {
          if (entries.length > 100) return;
          expect(reading).toMatchObject({ known: true, measures: { lag: unread, pending: pending.length } });
        });
      }),
      { seed, numRuns: RUNS },
    );
  });

  it('is never below the truth nor zero on a long stream, and exact again once little is left', async () => {
    await fc.assert(
      fc.asyncProperty(scenario(250, true), async (taken) => {
        await play(
          [...taken, named('read all', () => ['XREADGROUP', 'GROUP', 'g', 'c', 'STREAMS', STREAM, '>'])],
          (reading, now) => {
            if (!reading.known) {
              expect(now.unread).toBeGreaterThan(100);
              return;
            }
            const lag = reading.measures['lag'] ?? NaN;
            expect(lag).toBeGreaterThanOrEqual(now.unread);
            expect(lag).toBeLessThanOrEqual(now.entries.length);
            if (now.unread <= 100) expect(lag).toBe(now.unread);
          },
        );
      }),
      { seed: 7, numRuns: 10 },
    );
  });
});
