/**
 * One TCP or TLS connection to one Redis server: commands go out in batches, replies come back in order. A connection that is
 * late once is of no more use and ends; nothing is ever queued for a server that is not there.
 *
 * Our own rather than a client library's: on a connection of protocol version 3 the invalidation messages of key tracking come in
 * order with the replies, which a library that hides its connections cannot promise, and stray bytes must never end the process.
 */
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { BrokerError } from '../../../errors.ts';
import { tlsOptions, type TlsSettings } from '../../net/tls.ts';
import { addressText, type Address } from '../../net/address.ts';
import { closedUnheard, connectionError } from './failures.ts';
import { createDecoder, encode, type Command, type Reply } from './resp.ts';

export interface Connection {
  readonly where: string;
  /**
   * The replies to the commands, in order; error replies are values. Rejects with a {@link BrokerError} when the connection ends
   * first, or when the deadline passes, which ends the connection: its later replies could not be told apart.
   */
  request(commands: readonly Command[], timeoutMs: number): Promise<readonly Reply[]>;
  /** Resolves with the reason when the connection has ended. */
  readonly ended: Promise<BrokerError>;
  isOpen(): boolean;
  close(): void;
}

interface Request {
  readonly replies: Reply[];
  readonly count: number;
  readonly resolve: (replies: readonly Reply[]) => void;
  readonly reject: (error: BrokerError) => void;
  /** In ms of `performance.now()`. */
  readonly sentAt: number;
  timer: NodeJS.Timeout | undefined;
}

/** What is late but coming is waited for again and again so long, up to twice its time in all. */
const LATE_MS = 100;

/** Opens a connection. Rejects with a {@link BrokerError}. `onPush` hears what the server says unasked. */
export function openConnection(
  address: Address,
  tls: TlsSettings | undefined,
  timeoutMs: number,
  onPush: (push: readonly Reply[]) => void,
): Promise<Connection> {
  const where = addressText(address);
  return new Promise((resolve, reject) => {
    let stage: 'connecting' | 'handshake' | 'open' = 'connecting';
    let heardBytes = 0;
    let failure: BrokerError | undefined;
    let requests: Request[] = [];
    let settleEnd: (reason: BrokerError) => void = () => undefined;
    const ended = new Promise<BrokerError>((settle) => {
      settleEnd = settle;
    });

    let socket: Socket;
    try {
      socket =
        tls === undefined
          ? connectTcp({ ...address, noDelay: true })
          : connectTls({ ...address, ...tlsOptions(tls, address.host) });
    } catch (thrown) {
      // Node reads certificates and keys before it connects.
      reject(new BrokerError('TLS_FAILED', `the TLS certificate or key for ${where} cannot be used`, { cause: thrown }));
      return;
    }

    const fail = (error: BrokerError): void => {
      failure ??= error;
      socket.destroy();
    };
    const startedAt = performance.now();
    let opening = setTimeout(unopened, timeoutMs);
    /** As with {@link overdue} replies: what happened while this process was busy is heard first. */
    function unopened(): void {
      const before = `${stage} ${socket.bytesRead}`;
      setImmediate(() => {
        if (stage === 'open' || failure !== undefined) return;
        if (`${stage} ${socket.bytesRead}` !== before && performance.now() - startedAt < 2 * timeoutMs) {
          opening = setTimeout(unopened, LATE_MS);
          return;
        }
        fail(
          tls !== undefined && stage === 'handshake'
            ? new BrokerError(
                'TLS_FAILED',
                `${where} took no part in a TLS handshake for ${timeoutMs} ms; is it a port without TLS?`,
              )
            : new BrokerError('BROKER_UNREACHABLE', `${where} took no connection within ${timeoutMs} ms`),
        );
      });
    }

    const decoder = createDecoder((reply) => {
      const [request] = requests;
      if (request === undefined) {
        fail(new BrokerError('BROKER_REPLY_INVALID', `${where} sent a reply that nobody asked for`));
        return;
      }
      request.replies.push(reply);
      if (request.replies.length < request.count) return;
      requests.shift();
      clearTimeout(request.timer);
      request.resolve(request.replies);
    }, onPush);

    /** A process that was busy itself finds its timers due before it has read what came meanwhile: that is read first. */
    function overdue(request: Request, deadlineMs: number): void {
      const before = heardBytes;
      setImmediate(() => {
        if (!requests.includes(request)) return;
        if (heardBytes === before || performance.now() - request.sentAt >= 2 * deadlineMs)
          fail(new BrokerError('BROKER_TIMEOUT', `${where} has not answered within ${deadlineMs} ms`));
        else {
          request.timer = setTimeout(() => {
            overdue(request, deadlineMs);
          }, LATE_MS);
        }
      });
    }

    const connection: Connection = {
      where,
      ended,
      isOpen: () => failure === undefined && !socket.destroyed,
      request(commands, deadlineMs) {
        return new Promise((resolveRequest, rejectRequest) => {
          if (failure !== undefined || socket.destroyed) {
            rejectRequest(failure ?? new BrokerError('BROKER_UNREACHABLE', `the connection to ${where} has ended`));
            return;
          }
          if (commands.length === 0) {
            resolveRequest([]);
            return;
          }
          const request: Request = {
            replies: [],
            count: commands.length,
            resolve: resolveRequest,
            reject: rejectRequest,
            sentAt: performance.now(),
            timer: undefined,
          };
          request.timer = setTimeout(() => {
            overdue(request, deadlineMs);
          }, deadlineMs);
          requests.push(request);
          socket.write(encode(commands));
        });
      },
      close() {
        fail(new BrokerError('BROKER_UNREACHABLE', `the connection to ${where} was closed by us`));
      },
    };

    const open = (): void => {
      stage = 'open';
      clearTimeout(opening);
      resolve(connection);
    };
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 10_000);
    socket.once('connect', () => {
      stage = 'handshake';
      if (tls === undefined) open();
    });
    if (tls !== undefined) socket.once('secureConnect', open);
    socket.on('data', (chunk: Buffer) => {
      heardBytes += chunk.length;
      if (failure !== undefined) return;
      try {
        decoder.write(chunk);
      } catch (thrown) {
        fail(connectionError(thrown, where, stage, tls !== undefined));
      }
    });
    socket.on('error', (error) => {
      failure ??=
        stage === 'open' && heardBytes === 0 && 'code' in error && error.code === 'ECONNRESET'
          ? closedUnheard(where, false)
          : connectionError(error, where, stage, tls !== undefined);
    });
    socket.on('close', () => {
      clearTimeout(opening);
      failure ??=
        heardBytes > 0
          ? new BrokerError('BROKER_UNREACHABLE', `${where} closed the connection`)
          : closedUnheard(where, tls !== undefined && stage === 'handshake');
      const unanswered = requests;
      requests = [];
      for (const request of unanswered) {
        clearTimeout(request.timer);
        request.reject(failure);
      }
      reject(failure);
      settleEnd(failure);
    });
  });
}
