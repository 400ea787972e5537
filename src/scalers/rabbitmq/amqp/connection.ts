/**
 * One AMQP connection to one vhost that only ever asks for queues' counts: its opening, its heartbeat and its end. It must never
 * outlive a peer that has fallen silent, and never show a login to anyone but that peer.
 */
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Secret } from '../../../auth/secret.ts';
import { BrokerError, type QueueScalerError } from '../../../errors.ts';
import { describeNetworkError } from '../../net/networkErrors.ts';
import { tlsOptions, type TlsSettings } from '../../net/tls.ts';
import { createChannels, type Channels, type Settle } from './channels.ts';
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
import { connectionClosed } from './refusals.ts';

/** Asked of the broker; twice as long without a byte from it, and the connection is given up. */
const HEARTBEAT_S = 10;
const TICK_MS = 50;
const CLOSE_MS = 500;

export interface AmqpAddress {
  readonly host: string;
  readonly port: number;
  /** For messages: never user or password. */
  readonly label: string;
  readonly tls: TlsSettings | undefined;
}

/** Undefined: SASL EXTERNAL, in which the client's certificate names the user. */
export type AmqpLogin = { readonly user: string; readonly password: Secret } | undefined;

export interface AmqpConnection {
  /** Exactly one call of `settle` for each ask; see {@link Channels.ask}. */
  declare(queue: string, settle: Settle): void;
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
  return connectTls({ host, port, ...tlsOptions(tls, host) }).setNoDelay(true);
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
  let phase: 'start' | 'login' | 'open' | 'ready' | 'closing' | 'over' = 'start';
  /** Undefined until the connection is open. */
  let channels: Channels | undefined;
  let heartbeatMs = 0;
  let channelMax = 0;
  let heardAt = performance.now();
  let wroteAt = heardAt;
  let tickedAt = heardAt;
  let stoodStill = false;
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
    channels?.end(error);
    closed?.();
    if (before === 'start' || before === 'login' || before === 'open') refused(error);
    else options.onEnd(before === 'closing' ? undefined : error);
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
    channels?.pump();
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
        channelMax = method.channelMax;
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
        fail(connectionClosed(label, phase, method.code, method.text));
        return;
      case 'connection.close-ok':
        fail(new BrokerError('BROKER_UNREACHABLE', `${label}: closed`));
        return;
      case 'connection.blocked':
      case 'connection.unblocked':
        // Concerns publishers only.
        return;
      case 'channel.open-ok':
      case 'channel.close':
      case 'channel.close-ok':
      case 'queue.declare-ok':
        if (channels === undefined) throw new ProtocolError(`AMQP out of turn (${method.name})`);
        channels.take(id, method);
    }
  }

  function expectPhase(expected: typeof phase, method: Method): void {
    if (phase !== expected) throw new ProtocolError(`AMQP out of turn (${method.name})`);
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
    const opening = createChannels({ vhost, label, timeoutMs, channelMax, write });
    channels = opening;
    tickedAt = performance.now();
    ticker = setInterval(tick, TICK_MS);
    opened({
      declare: (queue, settle) => {
        opening.ask(queue, settle);
      },
      get ended() {
        return phase === 'over' || phase === 'closing';
      },
      close,
    });
  }

  function tick(): void {
    const now = performance.now();
    if (now - wroteAt > heartbeatMs / 2) write(HEARTBEAT);
    if (now - heardAt > heartbeatMs * 2) {
      fail(new BrokerError('BROKER_TIMEOUT', `${label}: nothing heard for ${Math.round(now - heardAt)} ms`));
      return;
    }
    // After this process has stood still the broker's answers may be there, unread: they are read before anybody is given up.
    stoodStill = !stoodStill && now - tickedAt > 2 * TICK_MS;
    tickedAt = now;
    if (stoodStill) return;
    const error = channels?.tick(now);
    if (error !== undefined) fail(error);
  }

  function close(): Promise<void> {
    if (phase === 'over') return Promise.resolve();
    return new Promise((resolve) => {
      closed = resolve;
      phase = 'closing';
      write(encode.close());
      // The broker answers nothing more than the closing.
      channels?.end(new BrokerError('BROKER_UNREACHABLE', `${label}: closed`));
      setTimeout(() => {
        fail(new BrokerError('BROKER_UNREACHABLE', `${label}: closed`));
      }, CLOSE_MS).unref();
    });
  }

  return { onData, fail };
}
