/**
 * Passive declares over a pool of channels, one under way on each. A queue that does not answer keeps the channel it was asked on, and
 * holds up nobody else.
 */
import type { Channel } from 'amqplib';
import { BrokerError, type QueueScalerError } from '../../../errors.ts';
import type { Declared } from './declared.ts';
import { answeredForShard, connectionClosed, declareFailed, noAnswer } from './refusals.ts';

/** Channels at most, as a hung queue keeps one until the broker gives it up. */
export const MAX_CHANNELS = 512;
/** For queues that are expected to answer. Measured: the broker's work falls until 16, and a sweep of 1000 queues gets shorter until 64. */
const CHANNELS = 64;
/** For queues that lately did not answer or were missing, as a 404 ends its channel and a new one costs the broker 4 ms. */
const SUSPECT_CHANNELS = 2;
/** Declares to a channel, one after the other, while all is well: a channel takes 22 KiB and four processes at the broker. */
const DECLARES_PER_CHANNEL = 4;
/** An idle channel is closed after this long, in ms: more than the usual polling intervals. */
const IDLE_MS = 120_000;
/** A declare that is silent for this long, in ms, is left alone with its channel, and others take new channels. */
const SILENT_MS = 150;
/** A channel's opening is answered by the node itself: if that takes this long, in ms, the node hangs and not the queue. */
const PROBE_MS = 600;
/** Longest wait for a channel while others are being answered, in ms. */
const LONGEST_WAIT_MS = 10_000;
const TICK_MS = 50;
/** Names of suspects that are remembered at most; the oldest are forgotten first. */
const MAX_SUSPECTS = 10_000;

export type Answer = Declared | QueueScalerError;

export interface Channels {
  /**
   * Resolves in any case: `timeoutMs` after the declare was sent or the row before it last moved, and within
   * {@link LONGEST_WAIT_MS} and `timeoutMs`. Who asks for a queue that is being asked for shares its answer. */
  readonly declare: (queue: string) => Promise<Answer>;
  /** Answers all that waits, and whatever is asked from now on. */
  end(error: QueueScalerError): void;
}

export interface ChannelsOptions {
  readonly vhost: string;
  /** Of the connection, for messages. */
  readonly label: string;
  /** Longest wait for one queue, in ms. */
  readonly timeoutMs: number;
  /** Channels at most; the broker may allow fewer still. */
  readonly maxChannels: number;
  readonly createChannel: () => Promise<Channel>;
  /** Ends the connection. */
  readonly fail: (thrown: unknown) => void;
}

interface Ask {
  readonly queue: string;
  readonly lane: Lane;
  readonly answer: Promise<Answer>;
  readonly settle: (answer: Answer) => void;
  readonly askedAt: number;
  sentAt: number;
  /** Silent ones have their channel to themselves; those given up are settled, and still under way at the broker. */
  state: 'waiting' | 'sent' | 'silent' | 'givenUp';
}

interface Lane {
  readonly limit: number;
  readonly waiting: Ask[];
  /** Used last, taken first, so that those at the front may be closed. */
  idle: { readonly channel: Channel; readonly usedAt: number }[];
  opening: number;
  sent: number;
  silent: number;
  /** When a channel last became free or was replaced. */
  movedAt: number;
}

export function createChannels({ vhost, label, timeoutMs, maxChannels, createChannel, fail }: ChannelsOptions): Channels {
  const healthy: Lane = { limit: CHANNELS, waiting: [], idle: [], opening: 0, sent: 0, silent: 0, movedAt: 0 };
  const suspect: Lane = { limit: SUSPECT_CHANNELS, waiting: [], idle: [], opening: 0, sent: 0, silent: 0, movedAt: 0 };
  const asks = new Map<string, Ask>();
  const suspects = new Set<string>();
  const openings = new Set<{ readonly since: number }>();
  let channels = 0;
  let limit = maxChannels;
  let heardAt = performance.now();
  let tickedAt = heardAt;
  let stoodStill = false;
  let ended: QueueScalerError | undefined;
  const ticker = setInterval(tick, TICK_MS);

  /** Suspects find channels even where the healthy ones have taken all that they may. */
  function hasRoom(lane: Lane): boolean {
    return channels < (lane === healthy && limit > SUSPECT_CHANNELS ? limit - SUSPECT_CHANNELS : limit);
  }

  function open(lane: Lane): void {
    if (!hasRoom(lane)) return;
    const opening = { since: performance.now() };
    openings.add(opening);
    channels++;
    lane.opening++;
    const over = (): void => {
      openings.delete(opening);
      lane.opening--;
    };
    createChannel().then(
      (channel) => {
        over();
        // Without a listener amqplib ends the connection for it.
        channel.on('error', () => undefined);
        channel.on('close', () => {
          channels--;
          lane.idle = lane.idle.filter((each) => each.channel !== channel);
        });
        idle(lane, channel);
      },
      (thrown: unknown) => {
        over();
        channels--;
        const refusal = closedBy(thrown);
        if (thrown instanceof Error && thrown.message.startsWith('No channels left')) limit = channels;
        else fail(refusal === undefined ? thrown : connectionClosed(label, 'ready', refusal.code, refusal.text));
      },
    );
  }

  function idle(lane: Lane, channel: Channel): void {
    heardAt = lane.movedAt = performance.now();
    lane.idle.push({ channel, usedAt: heardAt });
    pump(lane);
  }

  function pump(lane: Lane): void {
    if (ended !== undefined) return;
    for (let free; lane.waiting.length > 0 && (free = lane.idle.pop()) !== undefined;) {
      const ask = lane.waiting.shift();
      if (ask !== undefined) send(ask, free.channel);
    }
    if (lane.waiting.length === 0) return;
    // While one is silent others may be about to be: then nobody waits behind another.
    const declares = (lane.waiting.length + lane.sent) / (lane.silent > 0 ? 1 : DECLARES_PER_CHANNEL);
    while (lane.opening + lane.sent < Math.min(lane.limit, declares) && hasRoom(lane)) open(lane);
  }

  function send(ask: Ask, channel: Channel): void {
    const { queue, lane } = ask;
    ask.sentAt = performance.now();
    ask.state = 'sent';
    lane.sent++;
    channel.checkQueue(queue).then(
      (answer) => {
        forget(ask);
        const at = performance.now();
        if (answer.queue === queue) {
          suspects.delete(queue);
          ask.settle({ ready: answer.messageCount, consumers: answer.consumerCount, serviceMs: at - ask.sentAt, at });
        } else ask.settle(answeredForShard(queue));
        idle(lane, channel);
      },
      (thrown: unknown) => {
        const refusal = closedBy(thrown);
        if (refusal === undefined) {
          fail(thrown);
          return;
        }
        heardAt = lane.movedAt = performance.now();
        forget(ask);
        doubt(queue);
        ask.settle(declareFailed(queue, vhost, refusal.code, refusal.text));
        pump(lane);
      },
    );
  }

  function forget({ queue, lane, state }: Ask): void {
    asks.delete(queue);
    if (state === 'sent') lane.sent--;
    if (state === 'silent') lane.silent--;
  }

  function doubt(queue: string): void {
    suspects.delete(queue);
    suspects.add(queue);
    const [oldest] = suspects;
    if (suspects.size > MAX_SUSPECTS && oldest !== undefined) suspects.delete(oldest);
  }

  function tick(): void {
    const now = performance.now();
    // After this process has stood still the broker's answers may be there, unread: they are read before anybody is given up.
    stoodStill = !stoodStill && now - tickedAt > 2 * TICK_MS;
    tickedAt = now;
    if (stoodStill) return;
    for (const { since } of openings) {
      if (now - since > PROBE_MS) fail(new BrokerError('BROKER_TIMEOUT', `${label}: the node does not answer`));
    }
    for (const ask of asks.values()) watch(ask, now);
    for (const lane of [healthy, suspect]) {
      pump(lane);
      const [coldest] = lane.idle;
      if (coldest === undefined || now - coldest.usedAt < IDLE_MS) continue;
      lane.idle.shift();
      coldest.channel.close().catch(fail);
    }
  }

  function watch(ask: Ask, now: number): void {
    const { queue, lane } = ask;
    if (ask.state === 'waiting') {
      // As when more queues hang than there may be channels. A long row that moves is no reason to give up yet.
      if (now - Math.max(ask.askedAt, lane.movedAt) <= timeoutMs && now - ask.askedAt <= LONGEST_WAIT_MS) return;
      lane.waiting.splice(lane.waiting.indexOf(ask), 1);
      forget(ask);
      ask.settle(noAnswer(queue, timeoutMs));
      return;
    }
    if (ask.state === 'sent' && now - ask.sentAt > SILENT_MS) {
      ask.state = 'silent';
      lane.sent--;
      lane.silent++;
    }
    if (ask.state !== 'silent') return;
    // Where nothing at all has been heard since, a channel's opening shows whether the node still answers.
    if (openings.size === 0 && heardAt < ask.sentAt + SILENT_MS) open(lane);
    if (now - ask.sentAt <= timeoutMs) return;
    lane.silent--;
    ask.state = 'givenUp';
    doubt(queue);
    ask.settle(noAnswer(queue, timeoutMs));
  }

  return {
    declare(queue) {
      if (ended !== undefined) return Promise.resolve(ended);
      const earlier = asks.get(queue);
      // A declare that hangs is still under way: another would only hang as well.
      if (earlier?.state === 'givenUp') return Promise.resolve(noAnswer(queue, timeoutMs));
      if (earlier !== undefined) return earlier.answer;
      let settle: (answer: Answer) => void = () => undefined;
      const answer = new Promise<Answer>((resolve) => (settle = resolve));
      const lane = suspects.has(queue) ? suspect : healthy;
      const ask: Ask = { queue, lane, answer, settle, askedAt: performance.now(), sentAt: 0, state: 'waiting' };
      asks.set(queue, ask);
      lane.waiting.push(ask);
      pump(lane);
      return answer;
    },

    end(error) {
      ended = error;
      clearInterval(ticker);
      for (const ask of asks.values()) ask.settle(error);
      asks.clear();
    },
  };
}

/** The broker's reason for closing a channel, as amqplib words it; undefined where the broker did not. */
function closedBy(thrown: unknown): { readonly code: number; readonly text: string } | undefined {
  if (!(thrown instanceof Error) || !('code' in thrown) || typeof thrown.code !== 'number') return undefined;
  return { code: thrown.code, text: /with message "([^]*)"$/.exec(thrown.message)?.[1] ?? thrown.message };
}
