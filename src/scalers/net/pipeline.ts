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
import { openSocket } from './socket.ts';
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
  resolve(replies: readonly Reply[]): void;
  reject(error: BrokerError): void;
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
    const socket = await openSocket(address, options.tls, timeoutMs, closing.signal).catch((error: unknown) => {
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

    function take(chunk: Buffer): void {
      received = Buffer.concat([received, chunk]);
      while (received.length > 0) {
        const [exchange] = awaited;
        if (exchange === undefined) throw nonsense(endpoint, 'a reply that nobody asked for');
        const parsed = options.parse(received);
        if (parsed === undefined) break;
        received = received.subarray(parsed.length);
        exchange.replies.push(parsed.reply);
        if (exchange.replies.length === exchange.count) awaited.shift()?.resolve(exchange.replies);
      }
      if (received.length > MAX_REPLY_BYTES) throw nonsense(endpoint, `a reply of more than ${MAX_REPLY_BYTES} bytes`);
    }

    socket.on('data', (chunk: Buffer) => {
      if (socket.destroyed) return;
      try {
        take(chunk);
      } catch (thrown) {
        socket.destroy(thrown instanceof BrokerError ? thrown : nonsense(endpoint, 'what is no reply', thrown));
      }
    });
    socket.once('error', (error) => (failure = describeNetworkError(error, endpoint)));
    socket.once('close', () => {
      const error = (failure ??= new BrokerError('BROKER_UNREACHABLE', `${endpoint} closed the connection`));
      onEnd(error);
      for (const exchange of awaited.splice(0)) exchange.reject(error);
    });

    return {
      request: (requests) =>
        new Promise((resolve, reject) => {
          if (socket.destroyed) throw failure ?? new BrokerError('BROKER_UNREACHABLE', `${endpoint} has gone`);
          const timer = setTimeout(() => {
            // Replies that came while this process was busy are read before it is said that there are none.
            setImmediate(() => {
              if (!awaited.includes(exchange)) return;
              socket.destroy(new BrokerError('BROKER_TIMEOUT', `${endpoint} has not answered within ${timeoutMs} ms`));
            });
          }, timeoutMs);
          const settled =
            <T>(settle: (result: T) => void) =>
            (result: T): void => {
              clearTimeout(timer);
              settle(result);
            };
          const exchange = { replies: [], count: requests.length, resolve: settled(resolve), reject: settled(reject) };
          awaited.push(exchange);
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
