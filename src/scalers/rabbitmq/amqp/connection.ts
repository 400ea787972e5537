/**
 * One AMQP connection to one vhost that only ever asks for queues' counts: amqplib's, with a deadline for its opening, reasons for its
 * end, and nothing that a peer sends able to end more than it.
 */
import { connect as connectAmqp, credentials, type ChannelModel } from 'amqplib';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { BrokerError, isQueueScalerError, type QueueScalerError } from '../../../errors.ts';
import { describeNetworkError } from '../../net/networkErrors.ts';
import { tlsOptions, type TlsSettings } from '../../net/tls.ts';
import { endpointLabel, type Endpoint, type Login } from '../address.ts';
import { createChannels, MAX_CHANNELS, type Channels } from './channels.ts';
import { createFrameGate, MAX_FRAME_BYTES, ProtocolError } from './frameGate.ts';
import { createGatedStream, lendStream } from './gatedStream.ts';
import { connectionClosed } from './refusals.ts';

/** Asked of the broker; after two to three of them without a byte from it amqplib gives the connection up. */
const HEARTBEAT_S = 10;
const CLOSE_MS = 500;
const CLIENT_PROPERTIES = { product: 'keda-queue-scaler', connection_name: 'keda-queue-scaler' };

export interface AmqpConnection {
  readonly declare: Channels['declare'];
  close(): Promise<void>;
}

export interface AmqpOptions {
  readonly endpoint: Endpoint;
  /** For an endpoint of the scheme `amqps`. */
  readonly tls: TlsSettings;
  /** Undefined: SASL EXTERNAL, in which the client's certificate names the user. */
  readonly login: Login | undefined;
  readonly vhost: string;
  /** Longest wait for the connection as a whole, in ms. */
  readonly connectTimeoutMs: number;
  /** Longest wait for one queue, in ms. */
  readonly timeoutMs: number;
  /** Channels at most; {@link MAX_CHANNELS} where not given. */
  readonly maxChannels?: number;
  /** Called once when the connection is over, with the reason unless {@link AmqpConnection.close} was called. */
  readonly onEnd: (error: QueueScalerError | undefined) => void;
}

/** Rejects with a {@link BrokerError} that says whether address, TLS, login or vhost is at fault. */
export function openAmqp(options: AmqpOptions): Promise<AmqpConnection> {
  return new Promise((resolve, reject) => {
    const { endpoint, vhost, timeoutMs, connectTimeoutMs, maxChannels = MAX_CHANNELS } = options;
    const label = `AMQP at ${endpointLabel(endpoint)}`;
    const gate = createFrameGate();
    let phase: 'opening' | 'open' | 'closing' | 'over' = 'opening';
    let channels: Channels | undefined;
    let closed: (() => void) | undefined;

    const socket = openSocket(options);
    const { stream, release } = createGatedStream(socket, gate, fail);
    const connectTimer = setTimeout(() => {
      fail(new BrokerError('BROKER_TIMEOUT', `${label}: no AMQP session within ${connectTimeoutMs} ms; is it an AMQP port?`));
    }, connectTimeoutMs);
    socket.on('error', (error) => {
      fail(describeNetworkError(error, label));
    });
    for (const event of ['end', 'close']) {
      socket.on(event, () => {
        fail(new BrokerError('BROKER_UNREACHABLE', `${label}: the connection was closed`));
      });
    }
    const { started, onConnect } = lendStream(stream, () => login(options));
    socket.once(endpoint.scheme === 'amqps' ? 'secureConnect' : 'connect', onConnect);
    started.then(opened, fail);

    /** What ended the connection: the broker's own words where there are any. */
    function explain(thrown: unknown): QueueScalerError {
      if (gate.closed !== undefined) return connectionClosed(label, gate.phase, gate.closed.code, gate.closed.text);
      if (isQueueScalerError(thrown)) return thrown;
      const message = thrown instanceof Error ? thrown.message : '';
      if (message === 'Heartbeat timeout') {
        return new BrokerError('BROKER_TIMEOUT', `${label}: nothing heard for two heartbeats`, { cause: thrown });
      }
      if (message.startsWith('SASL mechanism')) {
        const mechanism = options.login === undefined ? 'EXTERNAL' : 'PLAIN';
        return new BrokerError('BROKER_REFUSED', `${label} does not offer the login ${mechanism}`);
      }
      if (!(thrown instanceof ProtocolError)) {
        return new BrokerError('BROKER_REPLY_INVALID', `${label}: the peer speaks AMQP out of turn`, { cause: thrown });
      }
      const tls = message.startsWith('TLS');
      const text = `${label}: the peer speaks ${message}${tls ? '; use amqps' : ''}`;
      return new BrokerError(tls ? 'TLS_FAILED' : 'BROKER_REPLY_INVALID', text, { cause: thrown });
    }

    function fail(thrown: unknown): void {
      if (phase === 'over') return;
      const before = phase;
      phase = 'over';
      clearTimeout(connectTimer);
      const error = explain(thrown);
      channels?.end(error);
      // With an error, as amqplib's timers end by that only.
      stream.destroy(error);
      if (before === 'opening') reject(error);
      else options.onEnd(before === 'closing' ? undefined : error);
      closed?.();
    }

    function opened(model: ChannelModel): void {
      if (phase !== 'opening') return;
      phase = 'open';
      clearTimeout(connectTimer);
      model.on('error', fail);
      model.on('close', fail);
      channels = createChannels({ vhost, label, timeoutMs, maxChannels, createChannel: () => model.createChannel(), fail });
      resolve({ declare: channels.declare, close: () => close(model) });
      release();
    }

    function close(model: ChannelModel): Promise<void> {
      if (phase !== 'open') return Promise.resolve();
      return new Promise((resolveClose) => {
        closed = resolveClose;
        phase = 'closing';
        const error = new BrokerError('BROKER_UNREACHABLE', `${label}: closed`);
        // The broker answers nothing more than the closing.
        channels?.end(error);
        setTimeout(fail, CLOSE_MS, error).unref();
        model.close().catch(fail);
      });
    }
  });
}

function openSocket({ endpoint: { scheme, host, port }, tls }: AmqpOptions): Socket {
  // Nagle's algorithm would add 40 ms to most answers.
  if (scheme === 'amqp') return connectTcp({ host, port, noDelay: true, keepAlive: true });
  return connectTls({ host, port, ...tlsOptions(tls, host) })
    .setNoDelay(true)
    .setKeepAlive(true);
}

function login({ login: user, vhost }: AmqpOptions): Promise<ChannelModel> {
  return connectAmqp(
    {
      protocol: 'amqp',
      // Unescaped by amqplib even where it is no part of a URL.
      vhost: encodeURIComponent(vhost),
      heartbeat: HEARTBEAT_S,
      channelMax: MAX_CHANNELS,
      frameMax: MAX_FRAME_BYTES,
      maxFrameSize: MAX_FRAME_BYTES,
    },
    {
      credentials: user === undefined ? credentials.external() : credentials.plain(user.user, user.password.reveal()),
      clientProperties: CLIENT_PROPERTIES,
    },
  );
}
