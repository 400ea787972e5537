/**
 * Passive declares pipelined over a few channels of one connection. One queue that does not answer must never hold up the others,
 * and no answer may be given to another queue's question. It is long because what waits on a channel, for how long, and what becomes of it
 * when the channel ends are one state.
 */
import { BrokerError, type QueueScalerError } from '../../../errors.ts';
import { encode, ProtocolError, type Method } from './frames.ts';
import type { Declared } from './declared.ts';
import { answeredForShard, declareFailed, noAnswer } from './refusals.ts';

/** Channels for queues that are expected to answer. Measured: beyond four the broker's work falls no further. */
const CHANNELS = 4;
/** Channels for queues that lately did not answer or were missing, one declare at a time each. */
const SUSPECT_CHANNELS = 2;
/** Declares under way on one channel: enough to hide the round trip, few enough to ask again when a missing queue ends the channel. */
const WINDOW = 64;
/**
 * What waits behind a declare that is silent for so long is asked again on other channels, in ms. The broker answers the declares of
 * a channel one after the other, so that one queue of a hung node would hold up all behind it for 77 s.
 */
const BYPASS_MS = 150;
/** While a declare is silent others may be about to be: then each waits alone, on so many channels side by side. */
const CAREFUL_CHANNELS = 64;
/** Channels at most. Each hung queue keeps one until the broker gives it up. */
const MAX_CHANNELS = 512;
/** A channel's opening is answered by the node itself: if that takes so long, the node hangs and not the queue. */
const PROBE_MS = 600;

export type Settle = (answer: Declared | QueueScalerError) => void;

/** A method that concerns one channel. */
export type ChannelMethod = Extract<Method, { readonly name: `channel.${string}` | `queue.${string}` }>;

export interface Channels {
  /** Exactly one call of `settle` for each ask, within twice `timeoutMs` and {@link PROBE_MS}. */
  ask(queue: string, settle: Settle): void;
  /** Throws a {@link ProtocolError} where the broker answers out of turn. */
  take(id: number, method: ChannelMethod): void;
  /** Hands waiting asks to channels that can take them; all bytes go out in one write. */
  pump(): void;
  /** Gives up what has not been answered in time; the error is that of a node which does not answer at all. */
  tick(now: number): QueueScalerError | undefined;
  /** Answers all that waits, and whatever is asked from now on. */
  end(error: QueueScalerError): void;
}

export interface ChannelsOptions {
  readonly vhost: string;
  /** Of the connection, for messages. */
  readonly label: string;
  /** Longest wait for one queue, in ms. */
  readonly timeoutMs: number;
  /** The most that the broker allows; 0 is no limit. */
  readonly channelMax: number;
  readonly write: (bytes: Buffer) => void;
}

interface Ask {
  readonly queue: string;
  /** Undefined once answered: the broker's own answer is then only counted. */
  settle: Settle | undefined;
  readonly askedAt: number;
  sentAt: number;
}

interface Channel {
  readonly id: number;
  readonly suspects: boolean;
  state: 'opening' | 'open' | 'stuck';
  askedOpenAt: number;
  /** Declares sent and not yet answered, oldest first. */
  waiting: Ask[];
  repliedAt: number;
}

/** Opens the channels at once. */
export function createChannels({ vhost, label, timeoutMs, channelMax, write }: ChannelsOptions): Channels {
  const channels = new Map<number, Channel>();
  const suspects = new Set<string>();
  /** Declares that are silent and not given up yet. */
  const silent = new Map<string, Ask>();
  const stuckQueues = new Set<string>();
  let backlog: Ask[] = [];
  let suspectBacklog: Ask[] = [];
  const limit = channelMax === 0 ? MAX_CHANNELS : Math.min(MAX_CHANNELS, channelMax);
  let ended: QueueScalerError | undefined;
  for (let count = 0; count < CHANNELS + SUSPECT_CHANNELS; count++) openChannel(count >= CHANNELS);

  function openChannel(forSuspects: boolean): void {
    if (channels.size >= limit) return;
    const now = performance.now();
    const channel: Channel = {
      id: channels.size + 1,
      suspects: forSuspects,
      state: 'opening',
      askedOpenAt: now,
      waiting: [],
      repliedAt: now,
    };
    channels.set(channel.id, channel);
    write(encode.channelOpen(channel.id));
  }

  function answer(ask: Ask, result: Declared | QueueScalerError): void {
    const { settle } = ask;
    ask.settle = undefined;
    settle?.(result);
  }

  function declared(channel: Channel, method: Extract<Method, { name: 'queue.declare-ok' }>): void {
    const ask = channel.waiting.shift();
    if (ask === undefined) throw new ProtocolError('an answer that nobody waits for');
    const at = performance.now();
    const serviceMs = at - Math.max(ask.sentAt, channel.repliedAt);
    channel.repliedAt = at;
    recovered(channel, ask.queue);
    if (method.queue === ask.queue) {
      suspects.delete(ask.queue);
      answer(ask, { ready: method.ready, consumers: method.consumers, serviceMs, at });
      return;
    }
    answer(ask, answeredForShard(ask.queue));
  }

  function recovered(channel: Channel, queue: string): void {
    if (channel.state !== 'stuck') return;
    stuckQueues.delete(queue);
    silent.delete(queue);
    channel.state = 'open';
  }

  function channelClosed(channel: Channel, code: number, text: string): void {
    const [failed, ...rest] = channel.waiting;
    channel.waiting = [];
    if (failed !== undefined) {
      recovered(channel, failed.queue);
      suspects.add(failed.queue);
      answer(failed, declareFailed(failed.queue, vhost, code, text));
    }
    // The broker has dropped the declares behind it: they are asked again, not failed.
    for (const ask of rest.reverse()) if (ask.settle !== undefined) putBack(ask);
    write(Buffer.concat([encode.channelCloseOk(channel.id), encode.channelOpen(channel.id)]));
    channel.state = 'opening';
    channel.askedOpenAt = performance.now();
  }

  function putBack(ask: Ask): void {
    (suspects.has(ask.queue) ? suspectBacklog : backlog).unshift(ask);
  }

  function pump(): void {
    if (backlog.length === 0 && suspectBacklog.length === 0) return;
    const frames: Buffer[] = [];
    const now = performance.now();
    const careful = isCareful();
    let taken = 0;
    let suspectsTaken = 0;
    for (const channel of channels.values()) {
      if (channel.state !== 'open') continue;
      const source = channel.suspects ? suspectBacklog : backlog;
      const window = channel.suspects || careful ? 1 : WINDOW;
      while (channel.waiting.length < window) {
        const ask = source[channel.suspects ? suspectsTaken : taken];
        if (ask === undefined) break;
        if (channel.suspects) suspectsTaken++;
        else taken++;
        ask.sentAt = now;
        channel.waiting.push(ask);
        frames.push(encode.declarePassive(channel.id, ask.queue));
      }
    }
    backlog.splice(0, taken);
    suspectBacklog.splice(0, suspectsTaken);
    if (frames.length > 0) write(Buffer.concat(frames));
  }

  function isCareful(): boolean {
    return [...channels.values()].some(({ state }) => state === 'stuck');
  }

  /** Leaves a channel to the declare that is silent, and asks what waits behind it on others. */
  function bypass(channel: Channel, head: Ask): void {
    silent.set(head.queue, head);
    channel.state = 'stuck';
    for (const ask of channel.waiting.slice(1).reverse()) {
      if (ask.settle === undefined) continue;
      const { queue, settle, askedAt } = ask;
      // What was sent is still answered some day, so the place in the row stays, with nobody behind it.
      ask.settle = undefined;
      putBack({ queue, settle, askedAt, sentAt: 0 });
    }
    const wanted = channel.suspects ? SUSPECT_CHANNELS : CAREFUL_CHANNELS;
    const isFree = (each: Channel): boolean => each.state !== 'stuck' && each.suspects === channel.suspects;
    for (let free = [...channels.values()].filter(isFree).length; free < wanted; free++) openChannel(channel.suspects);
  }

  function giveUp(head: Ask): void {
    silent.delete(head.queue);
    suspects.add(head.queue);
    stuckQueues.add(head.queue);
    answer(head, noAnswer(head.queue, timeoutMs));
  }

  /** Ends the waiting of what found no channel, as when more queues hang than there may be channels. */
  function dropOverdue(asks: readonly Ask[], now: number): Ask[] {
    const isOverdue = ({ askedAt }: Ask): boolean => now - askedAt > 2 * timeoutMs;
    for (const ask of asks.filter(isOverdue)) answer(ask, noAnswer(ask.queue, timeoutMs));
    return asks.filter((ask) => !isOverdue(ask));
  }

  let pumpScheduled = false;
  function schedulePump(): void {
    if (pumpScheduled) return;
    pumpScheduled = true;
    queueMicrotask(() => {
      pumpScheduled = false;
      pump();
    });
  }

  return {
    ask(queue, settle) {
      const earlier = silent.get(queue);
      if (ended !== undefined) settle(ended);
      else if (earlier?.settle !== undefined) {
        const { settle: first } = earlier;
        earlier.settle = (answered) => {
          first(answered);
          settle(answered);
        };
      }
      // The declare that hangs is still under way: another would only hang as well.
      else if (stuckQueues.has(queue)) settle(noAnswer(queue, timeoutMs));
      else {
        (suspects.has(queue) ? suspectBacklog : backlog).push({ queue, settle, askedAt: performance.now(), sentAt: 0 });
        schedulePump();
      }
    },

    take(id, method) {
      const channel = channels.get(id);
      if (channel === undefined) throw new ProtocolError(`AMQP out of turn (${method.name} on channel ${id})`);
      switch (method.name) {
        case 'channel.open-ok':
          if (channel.state !== 'opening') throw new ProtocolError('an opening of a channel that is open');
          channel.state = 'open';
          channel.repliedAt = performance.now();
          return;
        case 'channel.close':
          channelClosed(channel, method.code, method.text);
          return;
        case 'channel.close-ok':
          return;
        case 'queue.declare-ok':
          declared(channel, method);
          return;
      }
    },

    pump,

    tick(now) {
      for (const channel of [...channels.values()]) {
        if (channel.state === 'opening' && now - channel.askedOpenAt > PROBE_MS) {
          return new BrokerError('BROKER_TIMEOUT', `${label}: the node does not answer`);
        }
        const head = channel.waiting[0];
        if (head === undefined || channel.state === 'opening') continue;
        const silentMs = now - Math.max(head.sentAt, channel.repliedAt);
        if (silentMs > BYPASS_MS && channel.state === 'open') bypass(channel, head);
        if (silentMs > timeoutMs && head.settle !== undefined) giveUp(head);
      }
      if (backlog.length > 0 || suspectBacklog.length > 0) {
        backlog = dropOverdue(backlog, now);
        suspectBacklog = dropOverdue(suspectBacklog, now);
      }
      pump();
      return undefined;
    },

    end(error) {
      ended = error;
      const asks = [...backlog, ...suspectBacklog, ...[...channels.values()].flatMap((channel) => channel.waiting)];
      backlog = [];
      suspectBacklog = [];
      channels.clear();
      for (const ask of asks) answer(ask, error);
    },
  };
}
