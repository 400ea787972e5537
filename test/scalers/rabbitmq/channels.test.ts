import type { Channel } from 'amqplib';
import { EventEmitter } from 'node:events';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createChannels, type Answer, type Channels } from '../../../src/scalers/rabbitmq/amqp/channels.ts';

const TIMEOUT_MS = 1_000;
const TICK_MS = 50;

/** A channel whose declares wait until {@link FakeChannel.answer} or {@link FakeChannel.refuse} is called. */
interface FakeChannel extends EventEmitter {
  readonly asked: string[];
  readonly answer: () => void;
  readonly refuse: (text: string) => void;
}

let opened: FakeChannel[];
let open: Set<FakeChannel>;
let brokersLimit: number;
let channels: Channels;
let failed: unknown;
let nowMs: number;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  nowMs = 0;
  vi.spyOn(performance, 'now').mockImplementation(() => nowMs);
  [opened, open, brokersLimit, failed] = [[], new Set(), Infinity, undefined];
  channels = createChannels({
    vhost: '/',
    label: 'fake',
    timeoutMs: TIMEOUT_MS,
    maxChannels: 512,
    createChannel: () => (open.size < brokersLimit ? Promise.resolve(fakeChannel()) : Promise.reject(noChannelsLeft())),
    fail: (thrown) => {
      failed = thrown;
    },
  });
});
afterEach(() => {
  expect(failed).toBeUndefined();
  vi.restoreAllMocks();
  vi.useRealTimers();
});

/** As amqplib says it. */
const noChannelsLeft = (): Error => new Error('No channels left to allocate');

function fakeChannel(): Channel {
  const asked: string[] = [];
  let waiting: PromiseWithResolvers | undefined;
  const channel: FakeChannel = Object.assign(new EventEmitter(), {
    asked,
    answer: () => waiting?.resolve({ queue: asked.at(-1) ?? '', messageCount: 1, consumerCount: 0 }),
    refuse(text: string) {
      open.delete(channel);
      waiting?.reject(
        Object.assign(new Error(`Operation failed: QueueDeclare; 404 (NOT-FOUND) with message "${text}"`), { code: 404 }),
      );
      channel.emit('error', new Error('closed'));
      channel.emit('close');
    },
    checkQueue(queue: string) {
      asked.push(queue);
      return new Promise((resolve, reject) => {
        waiting = { resolve, reject };
      });
    },
    close() {
      open.delete(channel);
      channel.emit('close');
      return Promise.resolve();
    },
  });
  opened.push(channel);
  open.add(channel);
  return channel as unknown as Channel;
}

interface PromiseWithResolvers {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** Lets promises settle. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Runs the pool's ticks over `ms`, a tick at a time. */
async function pass(ms: number): Promise<void> {
  for (const end = nowMs + ms; nowMs < end;) {
    nowMs += TICK_MS;
    vi.advanceTimersByTime(TICK_MS);
    await turn();
  }
}

async function answerAll(queues: readonly string[]): Promise<Answer[]> {
  const answers = Promise.all(queues.map(channels.declare));
  const over = Symbol();
  while ((await Promise.race([answers, turn().then(() => over)])) === over) {
    for (const channel of open) channel.answer();
  }
  return answers;
}

const names = (count: number): string[] => Array.from({ length: count }, (_, index) => `q${index}`);

describe('the pool of channels', () => {
  it('has a channel for each four declares, and no more than 64', async () => {
    await answerAll(names(10));
    expect(opened).toHaveLength(3);
    for (let round = 0; round < 2; round++) {
      await answerAll(names(1_000));
      expect(opened).toHaveLength(64);
    }
  });

  it('closes those that have been idle for two minutes, and no others', async () => {
    await answerAll(names(100));
    expect(open.size).toBe(25);
    for (let round = 0; round < 4; round++) {
      await pass(40_000);
      await answerAll(names(4));
    }
    expect(open.size).toBe(4);
    await pass(130_000);
    expect(open.size).toBe(0);
    expect(await answerAll(['q'])).toMatchObject([{ ready: 1 }]);
    channels.end(new Error('over') as never);
  });

  it('makes do with as many as the broker allows', async () => {
    brokersLimit = 3;
    expect(await answerAll(names(100))).toMatchObject(names(100).map(() => ({ ready: 1 })));
    expect(opened).toHaveLength(3);
  });

  it('gives nobody up in a long row that moves, and everybody once it has stopped', async () => {
    const answers = Promise.all(names(3_000).map(channels.declare));
    await turn();
    for (let round = 0; round < 50; round++) {
      await pass(2 * TICK_MS);
      for (const channel of open) channel.answer();
    }
    expect(nowMs).toBeGreaterThan(4 * TIMEOUT_MS);
    expect((await answers).filter((answer) => answer instanceof Error)).toEqual([]);

    const stopped = Promise.all(names(3_000).map(channels.declare));
    await pass(4 * TIMEOUT_MS);
    expect(await stopped).toMatchObject(names(3_000).map(() => ({ code: 'QUEUE_DOWN' })));
  });

  it('asks a queue that was missing on channels where no other is asked', async () => {
    for (let round = 0; round < 10; round++) {
      const answers = Promise.all([channels.declare('there'), channels.declare('missing')]);
      for (let times = 0; times < 3; times++) {
        await turn();
        for (const channel of open) {
          if (channel.asked.at(-1) === 'missing') channel.refuse("NOT_FOUND - no queue 'missing' in vhost '/'");
          else channel.answer();
        }
      }
      expect(await answers).toMatchObject([{ ready: 1 }, { code: 'QUEUE_MISSING' }]);
    }
    const shared = opened.filter(({ asked }) => asked.includes('missing') && asked.includes('there'));
    expect(shared.length).toBeLessThanOrEqual(1);
  });

  it('reads what has come while this process stood still before it gives anybody up', async () => {
    let answer: Answer | undefined;
    void channels.declare('q').then((settled) => (answer = settled));
    await turn();
    nowMs += 10 * TIMEOUT_MS;
    vi.advanceTimersByTime(TICK_MS);
    await turn();
    expect(answer).toBeUndefined();
    opened[0]?.answer();
    await turn();
    expect(answer).toMatchObject({ ready: 1 });

    void channels.declare('r').then((settled) => (answer = settled));
    await turn();
    nowMs += 10 * TIMEOUT_MS;
    vi.advanceTimersByTime(TICK_MS);
    await pass(TICK_MS);
    expect(answer).toMatchObject({ code: 'QUEUE_DOWN' });
  });
});
