import { beforeEach, describe, expect, it } from 'vitest';
import { BrokerError, QueueError, type QueueScalerError } from '../../../src/errors.ts';
import type { Reading } from '../../../src/scalers/reading.ts';
import type { Declared } from '../../../src/scalers/rabbitmq/amqp/channels.ts';
import type { QueueStats } from '../../../src/scalers/rabbitmq/management/queueStats.ts';
import type { RabbitQuestion } from '../../../src/scalers/rabbitmq/question.ts';
import { createRateTracker } from '../../../src/scalers/rabbitmq/read/rates.ts';
import { createQuestionReader } from '../../../src/scalers/rabbitmq/read/questionReader.ts';
import type { VhostSources } from '../../../src/scalers/rabbitmq/read/sources.ts';
import { createZeros, type Zeros } from '../../../src/scalers/rabbitmq/read/zero.ts';
import { ask } from './questionFixture.ts';

/** What the broker says of its queues by each road; a test changes them. */
let listed: Map<string, QueueStats | undefined>;
let declared: Map<string, { readonly ready: number; readonly serviceMs?: number } | QueueScalerError>;
let listFailure: QueueScalerError | undefined;
let nowMs: number;
let zeros: Zeros;

beforeEach(() => {
  listed = new Map();
  declared = new Map();
  listFailure = undefined;
  nowMs = 0;
  zeros = createZeros(() => nowMs);
});

function row(name: string, messages: number, more: Partial<QueueStats> = {}): QueueStats {
  const figures = { ready: messages, unacknowledged: 0, messages, consumers: 0 };
  return { name, type: 'classic', replicated: false, ...figures, counters: undefined, error: undefined, ...more };
}

/** The totals list names streams without figures. */
function totalsOf(each: QueueStats): QueueStats {
  return each.type === 'stream' ? { ...each, ready: undefined, unacknowledged: undefined, messages: undefined } : each;
}

function readerOf(amqp: boolean): (question: RabbitQuestion) => Promise<Reading> {
  const sources: VhostSources = {
    declare: amqp
      ? (queue) => {
          const found = declared.get(queue) ?? new QueueError('QUEUE_MISSING', `queue ${queue} does not exist`);
          if (found instanceof Error) return Promise.resolve(found);
          return Promise.resolve<Declared>({ consumers: 0, serviceMs: 1, at: performance.now(), ...found });
        }
      : undefined,
    lists: {
      get(kind) {
        if (listFailure !== undefined) return Promise.reject(listFailure);
        const rows = new Map(
          [...listed].flatMap(([name, each]) => (each === undefined ? [] : [[name, totalsOf(each)] as const])),
        );
        return Promise.resolve({ kind: kind === 'prometheus' ? 'totals' : kind, at: performance.now(), queues: rows });
      },
      learnType: () => Promise.resolve(),
      typeOf: (queue) => listed.get(queue)?.type,
      size: 10,
      tookMs: 0,
    },
    queue: (name) => {
      const found = listed.get(name);
      return Promise.resolve(found === undefined ? undefined : { ...found, at: performance.now() });
    },
    managementIsAbsent: () => false,
    prepare: () => Promise.resolve({ queues: 10, prometheus: false }),
    noCounters: () => undefined,
    clusterStable: () => !zeros.recentNodeChange(),
    expectedListMs: () => 0,
    nodeNames: () => undefined,
    partitionedNodes: () => [],
    zeros,
    rates: createRateTracker(),
  };
  const reader = createQuestionReader(sources);
  return (question) => reader.read(question, 1);
}

const queue = ask({ kind: 'queue', name: 'q' });
const set = ask({ kind: 'pattern', pattern: '^q' });

/** The number of messages, or the code of the error in their place. */
function told(reading: Reading): number | string | undefined {
  return reading.known ? reading.measures.messages : reading.error.code;
}

describe.each([
  ['by AMQP and HTTP', true],
  ['by HTTP alone', false],
])('a set of queues, %s,', (_, amqp) => {
  it('is their sum only while each of them is known', async () => {
    const read = readerOf(amqp);
    for (const name of ['q1', 'q2', 'q3']) {
      listed.set(name, row(name, 5));
      declared.set(name, { ready: 5 });
    }
    expect(told(await read(set))).toBe(15);
    const down = new QueueError('QUEUE_DOWN', 'queue q2 is down');
    listed.set('q2', row('q2', 5, { error: down }));
    declared.set('q2', down);
    expect(told(await read(set))).toBe('QUEUE_DOWN');
  });

  it('is unknown where a queue that was listed is not now', async () => {
    const read = readerOf(amqp);
    for (const name of ['q1', 'q2']) {
      listed.set(name, row(name, 5));
      declared.set(name, { ready: 5 });
    }
    expect(told(await read(set))).toBe(10);
    listed.delete('q2');
    declared.set('q2', new QueueError('QUEUE_DOWN', 'queue q2: home node is down'));
    expect(told(await read(set))).toBe('QUEUE_DOWN');
  });
});

describe('a zero', () => {
  it('of a quorum queue is not believed before it has lasted, though both readers say it', async () => {
    const read = readerOf(true);
    listed.set('q', row('q', 0, { type: 'quorum' }));
    declared.set('q', { ready: 0 });
    for (nowMs = 0; nowMs < 11_000; nowMs += 2_500) expect(told(await read(queue))).toBe('ZERO_UNCONFIRMED');
    expect(told(await read(queue))).toBe(0);
  });

  it('of a quorum queue whose declare took 250 ms is none', async () => {
    const read = readerOf(true);
    listed.set('q', row('q', 0, { type: 'quorum' }));
    declared.set('q', { ready: 0, serviceMs: 251 });
    for (nowMs = 0; nowMs < 60_000; nowMs += 2_500) expect(told(await read(queue))).toBe('ZERO_UNCONFIRMED');
  });

  it('is begun anew by a node event', async () => {
    const read = readerOf(true);
    listed.set('q', row('q', 0, { type: 'quorum' }));
    declared.set('q', { ready: 0 });
    for (nowMs = 0; nowMs < 15_000; nowMs += 2_500) await read(queue);
    expect(told(await read(queue))).toBe(0);
    zeros.nodeEvent();
    nowMs += 14_000;
    expect(told(await read(queue))).toBe('ZERO_UNCONFIRMED');
  });

  it('of a stream by HTTP alone, of which only the statistics tell, counts once it has lasted', async () => {
    const read = readerOf(false);
    listed.set('q', row('q', 0, { type: 'stream' }));
    for (nowMs = 0; nowMs < 11_000; nowMs += 2_500) expect(told(await read(queue))).toBe('ZERO_UNCONFIRMED');
    expect(told(await read(queue))).toBe(0);
  });

  it('of a list alone does not count while AMQP is in trouble', async () => {
    const read = readerOf(true);
    listed.set('q', row('q', 0));
    declared.set('q', new BrokerError('BROKER_UNREACHABLE', 'AMQP cannot be reached'));
    expect(told(await read(queue))).toBe('BROKER_UNREACHABLE');
  });

  it('of a declare alone does not count while the management API does not tell what consumers hold', async () => {
    const read = readerOf(true);
    listFailure = new BrokerError('BROKER_TIMEOUT', 'the management API does not answer');
    declared.set('q', { ready: 0 });
    expect(told(await read(queue))).toBe('BROKER_TIMEOUT');
    // Messages that wait are a lower bound, and so enough to be active by.
    declared.set('q', { ready: 3 });
    expect(await read(queue)).toMatchObject({ known: true, measures: { ready: 3 } });
  });
});

it('a stream’s figure from the statistics alone does not count just after a node event', async () => {
  const read = readerOf(true);
  listed.set('q', row('q', 10, { type: 'stream' }));
  declared.set('q', { ready: 5 });
  zeros.nodeEvent();
  expect(told(await read(queue))).toBe('VALUE_IMPLAUSIBLE');
  declared.set('q', { ready: 10 });
  expect(told(await read(queue))).toBe(10);
});
