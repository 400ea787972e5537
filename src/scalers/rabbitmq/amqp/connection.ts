/**
 * One AMQP connection to one vhost that only ever asks for queues' counts, by passive declares pipelined over a few channels.
 * One queue that does not answer must never hold up the others, and no answer may be given to another queue's question.
 *
 * Long because the states of a connection and of its channels only make sense together.
 */
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Secret } from '../../../auth/secret.ts';
import { BrokerError, QueueError, type QueueScalerError } from '../../../errors.ts';
import { describeNetworkError } from '../failures.ts';
import type { TlsSettings } from '../tls.ts';
import {
  createFrameReader,
  encode,
  HEARTBEAT,
  MAX_FRAME_BYTES,
  ProtocolError,
  PROTOCOL_HEADER,
  saslPlain,
  type Method,
} from './frames.ts';

/** Channels for queues that are expected to answer. Measured: beyond four the broker's work falls no further. */
const CHANNELS = 4;
/** Channels for queues that lately did not answer or were missing, one declare at a time each. */
const SUSPECT_CHANNELS = 2;
/** Declares under way on one channel: enough to hide the round trip, few enough to ask again when a missing queue ends the channel. */
const WINDOW = 64;
/** Channels that may wait for a hung queue at once; each ends when the broker gives up, after 77 s. */
const MAX_STUCK = 32;
const HEARTBEAT_S = 10;
const TICK_MS = 50;
const CLOSE_MS = 500;
/** A channel's opening is answered by the node itself: if that takes so long, the node hangs and not the queue. */
const PROBE_MS = 600;

export interface AmqpAddress {
  readonly host: string;
  readonly port: number;
  /** For messages: never user or password. */
  readonly label: string;
  readonly tls: TlsSettings | undefined;
}

/** Undefined: SASL EXTERNAL, in which the client's certificate names the user. */
export type AmqpLogin = { readonly user: string; readonly password: Secret } | undefined;

export interface Declared {
  readonly ready: number;
  readonly consumers: number;
  /** Time from the broker being free to answer until its answer, in ms. */
  readonly serviceMs: number;
  /** When the answer came, in ms of `performance.now()`. */
  readonly at: number;
}

export interface AmqpConnection {
  /** Exactly one call of `settle` for each ask, within twice `timeoutMs` and {@link PROBE_MS}. */
  declare(queue: string, settle: (answer: Declared | QueueScalerError) => void): void;
  readonly ended: boolean;
  close(): Promise<void>;
}

export interface AmqpOptions {
  readonly address: AmqpAddress;
  readonly login: AmqpLogin;
  readonly vhost: string;
  /** Longest wait for the connection as a whole, in ms. */
  readonly connectTimeoutMs: number;
  /** Longest wait for one queue, in ms. */
  readonly timeoutMs: number;
  /** Told once when the connection is over, with the reason unless {@link AmqpConnection.close} was called. */
  readonly onEnd: (error: QueueScalerError | undefined) => void;
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

/** Rejects with a {@link BrokerError} that says whether address, TLS, login or vhost is at fault. */
export function openAmqp(options: AmqpOptions): Promise<AmqpConnection> {
  return new Promise((resolve, reject) => {
    const socket = openSocket(options.address);
    const connection = createConnection(socket, options, resolve, reject);
    socket.on('data', connection.onData);
    socket.on('error', (error) => {
      connection.fail(describeNetworkError(error, `AMQP at ${options.address.label}`));
    });
    socket.on('close', () => {
      connection.fail(new BrokerError('BROKER_UNREACHABLE', `AMQP at ${options.address.label}: the connection was closed`));
    });
    socket.once(options.address.tls === undefined ? 'connect' : 'secureConnect', () => socket.write(PROTOCOL_HEADER));
  });
}

function openSocket({ host, port, tls }: AmqpAddress): Socket {
  // Nagle's algorithm would add 40 ms to most answers.
  if (tls === undefined) return connectTcp({ host, port, noDelay: true });
  return connectTls({ host, port, ...(isIP(host) === 0 ? { servername: host } : {}), ...tls }).setNoDelay(true);
}

function createConnection(
  socket: Socket,
  options: AmqpOptions,
  opened: (connection: AmqpConnection) => void,
  refused: (error: QueueScalerError) => void,
) {
  const { vhost, timeoutMs } = options;
  const label = `AMQP at ${options.address.label}`;
  const readFrames = createFrameReader();
  const channels = new Map<number, Channel>();
  const suspects = new Set<string>();
  const stuckQueues = new Set<string>();
  let backlog: Ask[] = [];
  let suspectBacklog: Ask[] = [];
  let phase: 'start' | 'login' | 'open' | 'ready' | 'closing' | 'over' = 'start';
  let nextChannel = 1;
  let heartbeatMs = 0;
  let heardAt = performance.now();
  let wroteAt = heardAt;
  let ticker: NodeJS.Timeout | undefined;
  let closed: (() => void) | undefined;
  const connectTimer = setTimeout(() => {
    fail(
      new BrokerError('BROKER_TIMEOUT', `${label}: no AMQP session within ${options.connectTimeoutMs} ms; is it an AMQP port?`),
    );
  }, options.connectTimeoutMs);

  function write(bytes: Buffer): void {
    wroteAt = performance.now();
    socket.write(bytes);
  }

  function fail(error: QueueScalerError): void {
    if (phase === 'over') return;
    const before = phase;
    phase = 'over';
    clearTimeout(connectTimer);
    clearInterval(ticker);
    socket.destroy();
    const asks = [...backlog, ...suspectBacklog, ...[...channels.values()].flatMap((channel) => channel.waiting)];
    backlog = [];
    suspectBacklog = [];
    channels.clear();
    for (const ask of asks) answer(ask, error);
    closed?.();
    if (before === 'start' || before === 'login' || before === 'open') refused(error);
    else options.onEnd(before === 'closing' ? undefined : error);
  }

  function answer(ask: Ask, result: Declared | QueueScalerError): void {
    const { settle } = ask;
    ask.settle = undefined;
    settle?.(result);
  }

  function onData(chunk: Buffer): void {
    heardAt = performance.now();
    try {
      for (const { channel, method } of readFrames(chunk)) {
        if (method !== undefined) take(channel, method);
        // A method may have ended the connection.
        if (isOver()) return;
      }
    } catch (thrown) {
      if (!(thrown instanceof ProtocolError)) throw thrown;
      const tls = thrown.message.startsWith('TLS');
      const message = `${label}: the peer speaks ${thrown.message}${tls ? '; use amqps' : ''}`;
      fail(new BrokerError(tls ? 'TLS_FAILED' : 'BROKER_REPLY_INVALID', message, { cause: thrown }));
      return;
    }
    pump();
  }

  function isOver(): boolean {
    return phase === 'over';
  }

  function take(id: number, method: Method): void {
    switch (method.name) {
      case 'connection.start':
        expectPhase('start', method);
        login(method.mechanisms);
        return;
      case 'connection.tune': {
        expectPhase('login', method);
        const frameMax = method.frameMax === 0 ? MAX_FRAME_BYTES : Math.min(method.frameMax, MAX_FRAME_BYTES);
        const heartbeatS = method.heartbeatS === 0 ? HEARTBEAT_S : Math.min(method.heartbeatS, HEARTBEAT_S);
        heartbeatMs = heartbeatS * 1000;
        write(Buffer.concat([encode.tuneOk(method.channelMax, frameMax, heartbeatS), encode.open(vhost)]));
        phase = 'open';
        return;
      }
      case 'connection.open-ok':
        expectPhase('open', method);
        ready();
        return;
      case 'connection.close':
        write(encode.closeOk());
        fail(connectionClosed(method.code, method.text));
        return;
      case 'connection.close-ok':
        fail(new BrokerError('BROKER_UNREACHABLE', `${label}: closed`));
        return;
      case 'connection.blocked':
      case 'connection.unblocked':
        // Concerns publishers only.
        return;
      case 'channel.open-ok': {
        const channel = channelOf(id, method);
        if (channel.state !== 'opening') throw new ProtocolError('an opening of a channel that is open');
        channel.state = 'open';
        channel.changedAt = channel.repliedAt = performance.now();
        return;
      }
      case 'channel.close':
        channelClosed(channelOf(id, method), method.code, method.text);
        return;
      case 'channel.close-ok':
        return;
      case 'queue.declare-ok':
        declared(channelOf(id, method), method);
        return;
    }
  }

  function expectPhase(expected: typeof phase, method: Method): void {
    if (phase !== expected) throw new ProtocolError(`AMQP out of turn (${method.name})`);
  }

  function channelOf(id: number, method: Method): Channel {
    const channel = channels.get(id);
    if (channel === undefined) throw new ProtocolError(`AMQP out of turn (${method.name} on channel ${id})`);
    return channel;
  }

  function login(mechanisms: readonly string[]): void {
    const mechanism = options.login === undefined ? 'EXTERNAL' : 'PLAIN';
    if (!mechanisms.includes(mechanism)) {
      const offered = mechanisms.slice(0, 8).join(', ').slice(0, 100);
      fail(new BrokerError('BROKER_REFUSED', `${label} does not offer the login ${mechanism}, only ${offered}`));
      return;
    }
    const response =
      options.login === undefined ? Buffer.alloc(0) : saslPlain(options.login.user, options.login.password.reveal());
    write(encode.startOk(mechanism, response, 'keda-queue-scaler'));
    phase = 'login';
  }

  function ready(): void {
    phase = 'ready';
    clearTimeout(connectTimer);
    for (let count = 0; count < CHANNELS + SUSPECT_CHANNELS; count++) openChannel(count >= CHANNELS);
    ticker = setInterval(tick, TICK_MS);
    opened({
      declare,
      get ended() {
        return phase === 'over' || phase === 'closing';
      },
      close,
    });
  }

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
      answer(failed, declareFailed(failed.queue, code, text));
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

  /** Hands waiting asks to channels that can take them; all bytes go out in one write. */
  function pump(): void {
    if (phase !== 'ready' || (backlog.length === 0 && suspectBacklog.length === 0)) return;
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

  function tick(): void {
    const now = performance.now();
    if (now - wroteAt > heartbeatMs / 2) write(HEARTBEAT);
    if (now - heardAt > heartbeatMs * 2) {
      fail(new BrokerError('BROKER_TIMEOUT', `${label}: nothing heard for ${Math.round(now - heardAt)} ms`));
      return;
    }
    for (const channel of [...channels.values()]) {
      if (channel.state === 'opening' && now - channel.changedAt > PROBE_MS) {
        fail(new BrokerError('BROKER_TIMEOUT', `${label}: the node does not answer`));
        return;
      }
      const head = channel.waiting[0];
      if (channel.state !== 'open' || head === undefined) continue;
      if (now - Math.max(head.sentAt, channel.repliedAt) > timeoutMs) suspend(channel, head);
    }
    pump();
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

  function declare(queue: string, settle: (answer: Declared | QueueScalerError) => void): void {
    if (phase !== 'ready') {
      settle(new BrokerError('BROKER_UNREACHABLE', `${label}: the connection has ended`));
      return;
    }
    // The declare that hangs is still under way: another would only hang as well.
    if (stuckQueues.has(queue)) {
      settle(noAnswer(queue));
      return;
    }
    (suspects.has(queue) ? suspectBacklog : backlog).push({ queue, settle, sentAt: 0 });
    schedulePump();
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

  function close(): Promise<void> {
    if (phase === 'over') return Promise.resolve();
    return new Promise((resolve) => {
      closed = resolve;
      phase = 'closing';
      write(encode.close());
      setTimeout(() => {
        fail(new BrokerError('BROKER_UNREACHABLE', `${label}: closed`));
      }, CLOSE_MS).unref();
    });
  }

  function declareFailed(queue: string, code: number, text: string): QueueScalerError {
    if (code === 404 && text.startsWith("NOT_FOUND - no queue '"))
      return new QueueError('QUEUE_MISSING', `queue ${queue} does not exist in vhost ${vhost}`);
    if (code === 404) return new QueueError('QUEUE_DOWN', `queue ${queue}: ${text}`);
    if (code === 405) return new QueueError('QUEUE_LOCKED', `queue ${queue} is exclusive to another connection`);
    if (code === 403) return new BrokerError('BROKER_FORBIDDEN', `queue ${queue}: ${text}`);
    return new BrokerError('BROKER_BUSY', `queue ${queue}: ${code} ${text}`);
  }

  function connectionClosed(code: number, text: string): BrokerError {
    const message = `${label}: ${code} ${text}`;
    if (phase === 'login' && code === 403) return new BrokerError('BROKER_REFUSED', `${label}: the login is refused`);
    if (phase === 'open' && code === 530 && text.includes('is down')) return new BrokerError('BROKER_BUSY', message);
    if (phase === 'open' && (code === 530 || code === 403)) return new BrokerError('BROKER_FORBIDDEN', message);
    if (code === 320) return new BrokerError('BROKER_UNREACHABLE', message);
    return new BrokerError('BROKER_BUSY', message);
  }

  return { onData, fail };
}
