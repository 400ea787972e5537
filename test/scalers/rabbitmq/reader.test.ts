/** What is told of queues by what their readers say. More than 300 lines because each law is tried on the same readers, which stand here once. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { BrokerError, QueueError, type QueueScalerError } from '../../../src/errors.ts';
import type { Reading } from '../../../src/scalers/reading.ts';
import type { Declared } from '../../../src/scalers/rabbitmq/amqp/declared.ts';
import { NODE_CHANGE_MS, type ClusterState } from '../../../src/scalers/rabbitmq/management/clusterState.ts';
import type { QueueStats } from '../../../src/scalers/rabbitmq/management/queueStats.ts';
import type { RabbitQuestion } from '../../../src/scalers/rabbitmq/question.ts';
import type { VhostReaders } from '../../../src/scalers/rabbitmq/read/collect.ts';
import { createQuestionReader } from '../../../src/scalers/rabbitmq/read/questionReader.ts';
import { createQueueMemory } from '../../../src/scalers/rabbitmq/read/queueMemory.ts';
import { createQueueSets } from '../../../src/scalers/rabbitmq/read/queueSet.ts';
import { ask, CHANGED, STABLE, stats } from './questionFixture.ts';

/** What the broker says about its queues through each reader; a test changes them. */
let listed: Map<string, QueueStats | undefined>;
let declared: Map<
  string,
  { readonly ready: number; readonly serviceMs?: number; readonly consumers?: number } | QueueScalerError
>;
let listFailure: QueueScalerError | undefined;
let lists: number;
let changedAt: number;
/** What else the cluster is like, and how often its nodes were looked at. */
let state: Partial<ClusterState>;
let looks: number;

beforeEach(() => {
  vi.useFakeTimers();
  listed = new Map();
  declared = new Map();
  listFailure = undefined;
  lists = 0;
  changedAt = -Infinity;
  state = {};
  looks = 0;
});
afterEach(() => {
  vi.useRealTimers();
});

function nodeEvent(): void {
  changedAt = performance.now();
}

/** The totals list names streams without figures. */
function totalsOf(each: QueueStats): QueueStats {
  return each.type === 'stream' ? { ...each, ready: undefined, unacknowledged: undefined, messages: undefined } : each;
}

function readerOf(amqp: boolean): (question: RabbitQuestion) => Promise<Reading> {
  const readers: VhostReaders = {
    declare: amqp
      ? (queue) => {
          const found = declared.get(queue) ?? new QueueError('QUEUE_MISSING', `queue ${queue} does not exist`);
          if (found instanceof Error) return Promise.resolve(found);
          return Promise.resolve<Declared>({ consumers: 0, serviceMs: 1, at: performance.now(), ...found });
        }
      : undefined,
    lists: {
      get(kind) {
        lists++;
        if (listFailure !== undefined) return Promise.reject(listFailure);
        const queues = new Map(
          [...listed].flatMap(([name, each]) => (each === undefined ? [] : [[name, totalsOf(each)] as const])),
        );
        return Promise.resolve({ kind: kind === 'statistics' ? kind : 'totals', at: performance.now(), queues });
      },
      learnType: () => Promise.resolve(),
      typeOf: (queue) => listed.get(queue)?.type,
      size: 10,
      tookMs: 0,
    },
    prometheusAvailable: () => false,
    single: (name) => {
      const found = listed.get(name);
      return Promise.resolve(found === undefined ? undefined : { ...found, at: performance.now() });
    },
  };
  const cluster = {
    refresh: () => Promise.resolve(),
    seeNodes: () => {
      looks++;
      state = { ...state, nodesAskedAt: performance.now() };
      return Promise.resolve();
    },
    state: () => ({ ...(performance.now() - changedAt < NODE_CHANGE_MS ? CHANGED : STABLE), ...state }),
  };
  const reader = createQuestionReader({ readers, cluster, memory: createQueueMemory(), sets: createQueueSets() });
  return (question) => reader.read(question, 1);
}

const queue = ask({ kind: 'queue', name: 'q' });
const set = ask({ kind: 'pattern', pattern: '^q' });

/** The number of messages, or the code of the error in their place. */
function told(reading: Reading): number | string | undefined {
  return reading.known ? reading.measures['messages'] : reading.error.code;
}

describe.each([
  ['by AMQP and HTTP', true],
  ['by HTTP alone', false],
])('a set of queues, %s,', (_, amqp) => {
  it('is their sum only while each of them is known', async () => {
    const read = readerOf(amqp);
    for (const name of ['q1', 'q2', 'q3']) {
      listed.set(name, stats(name, 5));
      declared.set(name, { ready: 5 });
    }
    expect(told(await read(set))).toBe(15);
    const down = new QueueError('QUEUE_DOWN', 'queue q2 is down');
    listed.set('q2', stats('q2', 5, { error: down }));
    declared.set('q2', down);
    expect(told(await read(set))).toBe('QUEUE_DOWN');
  });

  it('is unknown where a queue that was listed is not now', async () => {
    const read = readerOf(amqp);
    for (const name of ['q1', 'q2']) {
      listed.set(name, stats(name, 5));
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
    listed.set('q', stats('q', 0, { type: 'quorum' }));
    declared.set('q', { ready: 0 });
    for (let ms = 0; ms < 11_000; ms += 2_500, vi.advanceTimersByTime(2_500))
      expect(told(await read(queue))).toBe('ZERO_UNCONFIRMED');
    expect(told(await read(queue))).toBe(0);
  });

  it('of a quorum queue whose declare took 250 ms is none', async () => {
    const read = readerOf(true);
    listed.set('q', stats('q', 0, { type: 'quorum' }));
    declared.set('q', { ready: 0, serviceMs: 251 });
    for (let ms = 0; ms < 60_000; ms += 2_500, vi.advanceTimersByTime(2_500))
      expect(told(await read(queue))).toBe('ZERO_UNCONFIRMED');
  });

  it('is begun anew by a node event', async () => {
    const read = readerOf(true);
    listed.set('q', stats('q', 0, { type: 'quorum' }));
    declared.set('q', { ready: 0 });
    for (let ms = 0; ms < 15_000; ms += 2_500, vi.advanceTimersByTime(2_500)) await read(queue);
    expect(told(await read(queue))).toBe(0);
    nodeEvent();
    vi.advanceTimersByTime(14_000);
    expect(told(await read(queue))).toBe('ZERO_UNCONFIRMED');
  });

  it.each(['ready', 'messages'] as const)(
    'of a classic queue counts at every read, though it is read less often than streaks of zeros last (needs %s)',
    async (needs) => {
      const read = readerOf(true);
      listed.set('q', stats('q', 0));
      declared.set('q', { ready: 0 });
      for (let look = 0; look < 5; look++, vi.advanceTimersByTime(150_000)) {
        expect(await read(ask({ kind: 'queue', name: 'q' }, { needs })), `look ${look}`).toMatchObject({ known: true });
      }
    },
  );

  it('of a classic queue that was confirmed lately is taken from the declare alone, for as long as a streak lasts', async () => {
    const read = readerOf(true);
    listed.set('q', stats('q', 0));
    declared.set('q', { ready: 0 });
    const waiting = ask({ kind: 'queue', name: 'q' }, { needs: 'ready' });
    await read(waiting);
    for (const [pauseMs, expected] of [
      [119_000, 1],
      [119_000, 1],
      [121_000, 2],
    ] as const) {
      vi.advanceTimersByTime(pauseMs);
      expect(await read(waiting)).toMatchObject({ known: true, measures: { ready: 0 } });
      expect(lists).toBe(expected);
    }
  });

  it('of a stream by HTTP alone, of which only the statistics tell, counts once it has lasted', async () => {
    const read = readerOf(false);
    listed.set('q', stats('q', 0, { type: 'stream' }));
    for (let ms = 0; ms < 11_000; ms += 2_500, vi.advanceTimersByTime(2_500))
      expect(told(await read(queue))).toBe('ZERO_UNCONFIRMED');
    expect(told(await read(queue))).toBe(0);
  });

  it('of a list alone does not count while AMQP is in trouble', async () => {
    const read = readerOf(true);
    listed.set('q', stats('q', 0));
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

describe('the zero of a quorum queue', () => {
  beforeEach(() => {
    listed.set('q', stats('q', 0, { type: 'quorum' }));
    declared.set('q', { ready: 0 });
  });

  it('counts at once in a calm cluster, whose nodes are looked at for it once', async () => {
    state = { calm: true };
    const read = readerOf(true);
    expect(await read(queue)).toMatchObject({ known: true, measures: { messages: 0 } });
    await read(queue);
    expect(looks).toBe(1);
  });

  it.each([
    ['a consumer may hold a message that lists don’t tell yet', { consumers: 1 }],
    ['the declare took as long as one that does not reach the leader', { serviceMs: 251 }],
  ])('does not where %s', async (_, more) => {
    state = { calm: true };
    declared.set('q', { ready: 0, ...more });
    const read = readerOf(true);
    expect(told(await read(queue))).toBe('ZERO_UNCONFIRMED');
  });

  it('counts at once with a consumer where held messages don’t count', async () => {
    state = { calm: true };
    declared.set('q', { ready: 0, consumers: 1 });
    const read = readerOf(true);
    expect(await read(ask({ kind: 'queue', name: 'q' }, { needs: 'ready' }))).toMatchObject({ known: true });
  });

  /** Confirmed by the time it has lasted, or almost. */
  async function readFor(read: (question: RabbitQuestion) => Promise<Reading>, ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 2_500, vi.advanceTimersByTime(2_500)) await read(queue);
  }

  it('is not withdrawn by a trigger whose rate the broker does not tell', async () => {
    const rates = ask({ kind: 'queue', name: 'q' }, { needs: 'rates' });
    const read = readerOf(true);
    await readFor(read, 10_000);
    expect(told(await read(rates))).toBe('FIELD_MISSING');
    // Nor by one to which the broker tells nothing, as it collects no statistics.
    listed.set('q', stats('q', 0, { messages: undefined, ready: undefined }));
    expect(told(await read(rates))).toBe('FIELD_MISSING');
    listed.set('q', stats('q', 0, { type: 'quorum' }));
    await readFor(read, 5_000);
    expect(told(await read(queue))).toBe(0);
  });

  it('of a queue that is missing is not withdrawn by a trigger to which that is an error', async () => {
    const read = readerOf(true);
    const missingIsZero = ask({ kind: 'queue', name: 'gone' }, { missingIsZero: true });
    for (let look = 0; look < 6; look++, vi.advanceTimersByTime(2_500)) {
      await read(missingIsZero);
      expect(told(await read(ask({ kind: 'queue', name: 'gone' })))).toBe('QUEUE_MISSING');
    }
    expect(told(await read(missingIsZero))).toBe(0);
  });

  it('is not withdrawn by a pattern of which another queue is in trouble', async () => {
    const read = readerOf(true);
    listed.set('q2', stats('q2', 1, { error: new QueueError('QUEUE_DOWN', 'queue q2 is down') }));
    declared.set('q2', new QueueError('QUEUE_DOWN', 'queue q2 is down'));
    await readFor(read, 10_000);
    expect(told(await read(set))).toBe('QUEUE_DOWN');
    await readFor(read, 5_000);
    expect(told(await read(queue))).toBe(0);
  });

  it('is not withdrawn by a broker’s list that one trigger waits for in vain', async () => {
    const read = readerOf(true);
    await readFor(read, 10_000);
    listFailure = new BrokerError('BROKER_TIMEOUT', 'the management API does not answer');
    expect(told(await read(set))).toBe('BROKER_TIMEOUT');
    listFailure = undefined;
    await readFor(read, 5_000);
    expect(told(await read(queue))).toBe(0);
  });

  it('is withdrawn when the queue itself is in doubt, whoever asks', async () => {
    const read = readerOf(true);
    await readFor(read, 10_000);
    declared.set('q', { ready: 0, serviceMs: 251 });
    expect(await read(set)).toMatchObject({ error: { message: expect.stringContaining('0 after 251 ms') as string } });
    declared.set('q', { ready: 0 });
    await readFor(read, 5_000);
    expect(told(await read(queue))).toBe('ZERO_UNCONFIRMED');
  });

  it('of messages that wait says nothing of those that consumers hold', async () => {
    const waiting = ask({ kind: 'queue', name: 'q' }, { needs: 'ready' });
    const read = readerOf(true);
    listed.set('q', stats('q', 0, { type: 'quorum', messages: 2, unacknowledged: 2 }));
    for (let look = 0; look < 6; look++, vi.advanceTimersByTime(2_500)) {
      await read(waiting);
      // Nor do held ones withdraw it.
      expect(told(await read(queue))).toBe(2);
    }
    expect(await read(waiting)).toMatchObject({ known: true });
    listed.set('q', stats('q', 0, { type: 'quorum' }));
    expect(told(await read(queue))).toBe('ZERO_UNCONFIRMED');
  });
});

describe('after a node that hung has come back,', () => {
  const counters = { published: 9, delivered: 1, acknowledged: 1, rates: { published: 1, delivered: 1, acknowledged: 1 } };
  const rates = ask({ kind: 'queue', name: 'q' }, { needs: 'rates' });

  beforeEach(() => {
    state = { rejoinedNodes: ['r3@h'], countsMessages: true };
  });

  it('a stream is what its declare says, and not twice that as by the statistics', async () => {
    listed.set('q', stats('q', 16, { type: 'stream', replicated: true }));
    declared.set('q', { ready: 8 });
    expect(told(await readerOf(true)(queue))).toBe(8);
    declared.set('q', { ready: 0 });
    expect(told(await readerOf(true)(queue))).toBe('VALUE_IMPLAUSIBLE');
    expect(told(await readerOf(false)(queue))).toBe('VALUE_IMPLAUSIBLE');
  });

  it('statistics of a queue with members on several nodes are believed only where the declare agrees', async () => {
    const read = readerOf(true);
    listed.set('q', stats('q', 14, { type: 'quorum', replicated: true, counters }));
    declared.set('q', { ready: 7 });
    expect(told(await read(rates))).toBe('VALUE_IMPLAUSIBLE');
    listed.set('q', stats('q', 14, { counters }));
    expect(told(await read(rates))).toBe('FIELD_MISSING');
  });

  it('rates are unknown, as counters may come back all at once', async () => {
    const read = readerOf(true);
    listed.set('q', stats('q', 5, { counters }));
    declared.set('q', { ready: 5 });
    expect(told(await read(rates))).toBe('FIELD_MISSING');
    state = { countsMessages: true };
    vi.advanceTimersByTime(5_000);
    expect(told(await read(rates))).toBe('FIELD_MISSING');
    vi.advanceTimersByTime(5_000);
    expect(await read(rates)).toMatchObject({ known: true, measures: { publishRate: 0 } });
  });
});

it('a stream is what its declare says also where nobody saw a node hang', async () => {
  listed.set('q', stats('q', 16, { type: 'stream', replicated: true }));
  declared.set('q', { ready: 8 });
  expect(told(await readerOf(true)(queue))).toBe(8);
});

it('a queue that answers is not missing, though a list lacks it', async () => {
  const read = readerOf(true);
  declared.set('q', { ready: 0 });
  expect(told(await read(queue))).toBe('QUEUE_DOWN');
  const missingIsZero = ask({ kind: 'queue', name: 'q' }, { missingIsZero: true, confirmZeroMs: 0 });
  expect(told(await read(missingIsZero))).toBe('QUEUE_DOWN');
});

it('a stream’s figure from the statistics alone does not count just after a node event', async () => {
  const read = readerOf(true);
  listed.set('q', stats('q', 10, { type: 'stream' }));
  declared.set('q', { ready: 5 });
  nodeEvent();
  expect(told(await read(queue))).toBe('VALUE_IMPLAUSIBLE');
  declared.set('q', { ready: 10 });
  expect(told(await read(queue))).toBe(10);
});
