/**
 * Requests and replies over one kept connection, for protocols whose replies come in the order of the requests. The connection is
 * opened when first needed and again after it broke, at another endpoint where one fails. A peer that is late, or sends what it was
 * not asked for, loses its connection and nothing else.
 */
import type { Socket } from 'node:net';
import { BrokerError } from '../../errors.ts';
import type { BrokerEvents, BrokerIdentity } from '../brokerEvents.ts';
import { addressText, type Address } from './address.ts';
import { createEndpoints } from './failover.ts';
import { describeNetworkError } from './networkErrors.ts';
import { onClosed, openSocket, whenLate } from './socket.ts';
import type { TlsSettings } from './tls.ts';

/** A reply larger than this ends the connection, in bytes. */
const MAX_REPLY_BYTES = 65_536;

export interface PipelineOptions<Reply> {
  readonly broker: BrokerIdentity;
  readonly events: BrokerEvents;
  readonly endpoints: readonly [Address, ...Address[]];
  readonly tls: TlsSettings | undefined;
  /** Longest wait for a connection, and for the replies to what was sent together. */
  readonly timeoutMs: number;
  /** The first whole reply in what was received, and its length in bytes; undefined while it is not all there. Throws on nonsense. */
  readonly parse: (received: Buffer) => { readonly reply: Reply; readonly length: number } | undefined;
}

export interface Pipeline<Reply> {
  /** Sends the requests together; resolves to their replies in order, or rejects with a {@link BrokerError}. */
  readonly request: (requests: readonly string[]) => Promise<readonly Reply[]>;
  readonly close: () => void;
}

interface Exchange<Reply> {
  readonly replies: Reply[];
  readonly count: number;
  readonly resolve: (replies: readonly Reply[]) => void;
  readonly reject: (error: BrokerError) => void;
  readonly stopTimer: () => void;
}

export function createPipeline<Reply>(options: PipelineOptions<Reply>): Pipeline<Reply> {
  const { broker, events, timeoutMs } = options;
  const closing = new AbortController();
  const endpoints = createEndpoints(options.endpoints);
  const connections = new Map<Address, Promise<Pipeline<Reply>>>();

  function connectionTo(address: Address): Promise<Pipeline<Reply>> {
    let connection = connections.get(address);
    if (connection === undefined) {
      connection = open(address);
      connections.set(address, connection);
      connection.catch(() => connections.delete(address));
    }
    return connection;
  }

  async function open(address: Address): Promise<Pipeline<Reply>> {
    const endpoint = addressText(address);
    const socket = await openSocket({
      address,
      tls: options.tls,
      timeoutMs,
      signal: closing.signal,
      unexpected: (thrown) => (thrown instanceof BrokerError ? thrown : nonsense(endpoint, 'what is no reply', thrown)),
    }).catch((error: unknown) => {
      events.failure({ broker, endpoint, error: describeNetworkError(error, endpoint) });
      throw error;
    });
    events.connections({ broker, endpoint, open: 1 });
    return exchangeOver(socket, endpoint, (error) => {
      connections.delete(address);
      events.connections({ broker, endpoint, open: 0 });
      if (!closing.signal.aborted) events.failure({ broker, endpoint, error });
    });
  }

  function exchangeOver(socket: Socket, endpoint: string, onEnd: (error: BrokerError) => void): Pipeline<Reply> {
    const awaited: Exchange<Reply>[] = [];
    let received: Buffer = Buffer.alloc(0);
    let failure: BrokerError | undefined;

    socket.on('data', (chunk: Buffer) => {
      if (socket.destroyed) return;
      received = Buffer.concat([received, chunk]);
      while (received.length > 0) {
        const [exchange] = awaited;
        if (exchange === undefined) throw nonsense(endpoint, 'a reply that nobody asked for');
        const parsed = options.parse(received);
        if (parsed === undefined) break;
        received = received.subarray(parsed.length);
        exchange.replies.push(parsed.reply);
        if (exchange.replies.length < exchange.count) continue;
        awaited.shift();
        exchange.stopTimer();
        exchange.resolve(exchange.replies);
      }
      if (received.length > MAX_REPLY_BYTES) throw nonsense(endpoint, `a reply of more than ${MAX_REPLY_BYTES} bytes`);
    });
    onClosed(socket, (cause) => {
      failure =
        cause === undefined
          ? new BrokerError('BROKER_UNREACHABLE', `${endpoint} closed the connection`)
          : describeNetworkError(cause, endpoint);
      onEnd(failure);
      for (const { stopTimer, reject } of awaited.splice(0)) {
        stopTimer();
        reject(failure);
      }
    });

    return {
      request: (requests) =>
        new Promise((resolve, reject) => {
          if (socket.destroyed) throw failure ?? new BrokerError('BROKER_UNREACHABLE', `${endpoint} has gone`);
          const stopTimer = whenLate(socket, timeoutMs, () => {
            socket.destroy(new BrokerError('BROKER_TIMEOUT', `${endpoint} has not answered within ${timeoutMs} ms`));
          });
          awaited.push({ replies: [], count: requests.length, resolve, reject, stopTimer });
          socket.write(requests.join(''));
        }),
      close: () => void socket.destroy(),
    };
  }

  return {
    request: (requests) =>
      endpoints.attempt(
        async (address) => (await connectionTo(address)).request(requests),
        (thrown, address) => describeNetworkError(thrown, addressText(address)),
      ),
    close() {
      closing.abort();
      for (const connection of connections.values())
        connection.then(
          (each) => {
            each.close();
          },
          () => undefined,
        );
    },
  };
}

function nonsense(endpoint: string, what: string, cause?: unknown): BrokerError {
  return new BrokerError('BROKER_REPLY_INVALID', `${endpoint} sent ${what}`, { cause });
}
