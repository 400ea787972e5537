/**
 * Passive declares pipelined over a few channels of one connection. One queue that does not answer must never hold up the others,
 * and no answer may be given to another queue's question.
 */
import { BrokerError, QueueError, type QueueScalerError } from '../../../errors.ts';
import { encode, ProtocolError, type Method } from './frames.ts';
import { declareFailed } from './refusals.ts';

/** Channels for queues that are expected to answer. Measured: beyond four the broker's work falls no further. */
const CHANNELS = 4;
/** Channels for queues that lately did not answer or were missing, one declare at a time each. */
const SUSPECT_CHANNELS = 2;
/** Declares under way on one channel: enough to hide the round trip, few enough to ask again when a missing queue ends the channel. */
const WINDOW = 64;
/** Channels that may wait for a hung queue at once; each ends when the broker gives up, after 77 s. */
const MAX_STUCK = 32;
/** A channel's opening is answered by the node itself: if that takes so long, the node hangs and not the queue. */
const PROBE_MS = 600;

export interface Declared {
  readonly ready: number;
  readonly consumers: number;
  /** Time from the broker being free to answer until its answer, in ms. */
  readonly serviceMs: number;
  /** When the answer came, in ms of `performance.now()`. */
  readonly at: number;
}

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
  readonly write: (bytes: Buffer) => void;
}

interface Ask {
  readonly queue: string;
  /** Undefined once answered: the broker's own answer is then only counted. */
  settle: ((answer: Declared | QueueScalerError) => void) | undefined;
  sentAt: number;
}

interface Channel {
  readonly id: number;
  readonly suspects: boolean;
  state: 'opening' | 'open' | 'stuck';
  changedAt: number;
  /** Declares sent and not yet answered, oldest first. */
  waiting: Ask[];
  repliedAt: number;
}

/** Opens the channels at once. */
export function createChannels({ vhost, label, timeoutMs, write }: ChannelsOptions): Channels {
  const channels = new Map<number, Channel>();
  const suspects = new Set<string>();
  const stuckQueues = new Set<string>();
  let backlog: Ask[] = [];
  let suspectBacklog: Ask[] = [];
  let nextChannel = 1;
  let ended: QueueScalerError | undefined;
  for (let count = 0; count < CHANNELS + SUSPECT_CHANNELS; count++) openChannel(count >= CHANNELS);

  function openChannel(forSuspects: boolean): void {
    const now = performance.now();
    const channel: Channel = {
      id: nextChannel++,
      suspects: forSuspects,
      state: 'opening',
      changedAt: now,
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
    // The sharding plugin answers for one shard of the exchange of that name.
    const message = `${ask.queue} is no queue but a sharded exchange (the broker answered for one shard); use shardedExchange`;
    answer(ask, new QueueError('QUEUE_WRONG_TYPE', message));
  }

  function recovered(channel: Channel, queue: string): void {
    if (channel.state !== 'stuck') return;
    stuckQueues.delete(queue);
    channel.state = 'open';
    channel.changedAt = performance.now();
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
    channel.changedAt = performance.now();
  }

  function putBack(ask: Ask): void {
    (suspects.has(ask.queue) ? suspectBacklog : backlog).unshift(ask);
  }

  function pump(): void {
    if (backlog.length === 0 && suspectBacklog.length === 0) return;
    const frames: Buffer[] = [];
    const now = performance.now();
    let taken = 0;
    let suspectsTaken = 0;
    for (const channel of channels.values()) {
      if (channel.state !== 'open') continue;
      const source = channel.suspects ? suspectBacklog : backlog;
      const window = channel.suspects ? 1 : WINDOW;
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

  /** Leaves a channel to the queue that does not answer, and moves the others to a new one. */
  function suspend(channel: Channel, head: Ask): void {
    channel.state = 'stuck';
    channel.changedAt = performance.now();
    suspects.add(head.queue);
    stuckQueues.add(head.queue);
    answer(head, noAnswer(head.queue));
    for (const ask of channel.waiting.slice(1).reverse()) {
      if (ask.settle === undefined) continue;
      const { queue, settle } = ask;
      // What was sent is still answered some day, so the place in the row stays, with nobody behind it.
      ask.settle = undefined;
      putBack({ queue, settle, sentAt: 0 });
    }
    const stuck = [...channels.values()].filter(({ state }) => state === 'stuck').length;
    if (stuck <= MAX_STUCK) openChannel(channel.suspects);
  }

  function noAnswer(queue: string): QueueError {
    return new QueueError(
      'QUEUE_DOWN',
      `queue ${queue} has not answered within ${timeoutMs} ms: the node that holds it may hang`,
    );
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
      if (ended !== undefined) settle(ended);
      // The declare that hangs is still under way: another would only hang as well.
      else if (stuckQueues.has(queue)) settle(noAnswer(queue));
      else {
        (suspects.has(queue) ? suspectBacklog : backlog).push({ queue, settle, sentAt: 0 });
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
          channel.changedAt = channel.repliedAt = performance.now();
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
        if (channel.state === 'opening' && now - channel.changedAt > PROBE_MS) {
          return new BrokerError('BROKER_TIMEOUT', `${label}: the node does not answer`);
        }
        const head = channel.waiting[0];
        if (channel.state !== 'open' || head === undefined) continue;
        if (now - Math.max(head.sentAt, channel.repliedAt) > timeoutMs) suspend(channel, head);
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
