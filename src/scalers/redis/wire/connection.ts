/**
 * One TCP or TLS connection to one Redis server, spoken to by ioredis: commands go out in batches, replies come back in order. A
 * connection that is late once is of no more use and ends; nothing is queued for a server that is not there.
 *
 * The socket is ours and handed to ioredis when it is open, as ioredis leaves open what this adds: deadlines that end the
 * connection, bounds, the reasons why it could not be had, and that whatever a server sends ends this connection only.
 */
import { AbstractConnector, Redis, ReplyError } from 'ioredis';
import { AsyncResource } from 'node:async_hooks';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { BrokerError } from '../../../errors.ts';
import { contained, containListeners } from '../../net/containment.ts';
import { codeOf } from '../../net/networkErrors.ts';
import { tlsOptions, type TlsSettings } from '../../net/tls.ts';
import { addressText, type Address } from '../../net/address.ts';
import { closedUnheard, connectionError, unexpectedBytes } from './failures.ts';
import { createFrameCheck } from './framing.ts';
import { listenToPushes, type OnPush } from './pushes.ts';
import { ErrorReply, type Command, type Reply } from './reply.ts';

export interface Connection {
  readonly where: string;
  /**
   * The replies to the commands, in order; error replies are values. Rejects with a {@link BrokerError} when the connection ends
   * first, or when `timeoutMs` after they were sent replies are missing, which ends the connection.
   */
  request(commands: readonly Command[], timeoutMs: number): Promise<readonly Reply[]>;
  /** Resolves with the reason when the connection has ended. */
  readonly ended: Promise<BrokerError>;
  isOpen(): boolean;
  close(): void;
}

interface Request {
  readonly commands: readonly Command[];
  readonly timeoutMs: number;
  readonly resolve: (replies: readonly Reply[]) => void;
  readonly reject: (error: BrokerError) => void;
  timer: NodeJS.Timeout | undefined;
}

/** Extra time for what is late but still arriving, granted again and again up to twice the timeout. */
const LATE_MS = 100;
/** Commands under way at once: their replies may all arrive in one turn of the event loop, at some 5 µs each. */
const MOST_IN_FLIGHT = 400;

/** Opens a connection. Rejects with a {@link BrokerError}. `onPush` gets what the server sends unasked. */
export function openConnection(
  address: Address,
  tls: TlsSettings | undefined,
  timeoutMs: number,
  onPush: OnPush,
): Promise<Connection> {
  const where = addressText(address);
  return new Promise((resolve, reject) => {
    let stage: 'connecting' | 'handshake' | 'open' = 'connecting';
    let receivedBytes = 0;
    let failure: BrokerError | undefined;
    const waiting: Request[] = [];
    const sent = new Set<Request>();
    let inFlight = 0;
    let pumping = false;
    let settleEnd: (reason: BrokerError) => void = () => undefined;
    const ended = new Promise<BrokerError>((settle) => {
      settleEnd = settle;
    });

    const fail = (error: BrokerError): void => {
      failure ??= error;
      socket.destroy();
    };
    const failThrown = (thrown: unknown): void => {
      fail(unexpectedBytes(thrown, where));
    };
    let socket: Socket;
    try {
      socket = contained(failThrown, () =>
        tls === undefined ? connectTcp({ ...address }) : connectTls({ ...address, ...tlsOptions(tls, address.host) }),
      );
    } catch (thrown) {
      // Node reads certificates and keys before it connects.
      reject(new BrokerError('TLS_FAILED', `the TLS certificate or key for ${where} cannot be used`, { cause: thrown }));
      return;
    }
    checkFrames(socket, (chunk) => (receivedBytes += chunk.length));
    containListeners(socket, failThrown);
    const client = clientOn(socket);
    client.on('error', failThrown);
    // What a push sets going is ours, and its faults are not the connection's.
    listenToPushes(client, AsyncResource.bind(onPush));

    /**
     * Calls `expire` when the time is up. A process that was busy itself finds its timers due before it has read what came
     * meanwhile: that is read first, and while more comes there is more time.
     */
    function deadline(ms: number, isOver: () => boolean, expire: () => void, keep: (timer: NodeJS.Timeout) => void): void {
      const startedAt = performance.now();
      const due = (): void => {
        const before = `${stage} ${socket.bytesRead}`;
        setImmediate(() => {
          if (failure !== undefined || isOver()) return;
          if (`${stage} ${socket.bytesRead}` === before || performance.now() - startedAt >= 2 * ms) expire();
          else keep(setTimeout(due, LATE_MS));
        });
      };
      keep(setTimeout(due, ms));
    }

    /** Sends one request a turn of the event loop, as long as there is room. */
    function pump(): void {
      pumping = false;
      const [next] = waiting;
      if (next === undefined || (inFlight > 0 && inFlight + next.commands.length > MOST_IN_FLIGHT)) return;
      waiting.shift();
      send(next);
      pumpSoon();
    }
    function pumpSoon(): void {
      if (pumping || waiting.length === 0) return;
      pumping = true;
      setImmediate(pump);
    }

    function send(request: Request): void {
      const { commands, timeoutMs: ms } = request;
      sent.add(request);
      inFlight += commands.length;
      const isOver = (): boolean => !sent.has(request);
      const expire = (): void => {
        fail(new BrokerError('BROKER_TIMEOUT', `${where} has not answered within ${ms} ms`));
      };
      deadline(ms, isOver, expire, (timer) => (request.timer = timer));
      const replies: Reply[] = [];
      let missing = commands.length;
      const settle = (at: number, reply: Reply): void => {
        replies[at] = reply;
        if (--missing > 0) return;
        sent.delete(request);
        inFlight -= commands.length;
        clearTimeout(request.timer);
        request.resolve(replies);
        pumpSoon();
      };
      socket.cork();
      for (const [at, [name, ...args]] of commands.entries()) {
        client.call(name, args).then(
          (reply) => {
            settle(at, reply as Reply);
          },
          (thrown: unknown) => {
            if (thrown instanceof ReplyError) settle(at, new ErrorReply((thrown as Error).message));
            else failThrown(thrown);
          },
        );
      }
      socket.uncork();
    }

    const connection: Connection = {
      where,
      ended,
      isOpen: () => failure === undefined && !socket.destroyed,
      request(commands, ms) {
        return new Promise((resolveRequest, rejectRequest) => {
          if (!connection.isOpen())
            rejectRequest(failure ?? new BrokerError('BROKER_UNREACHABLE', `the connection to ${where} has ended`));
          else if (commands.length === 0) resolveRequest([]);
          else {
            waiting.push({ commands, timeoutMs: ms, resolve: resolveRequest, reject: rejectRequest, timer: undefined });
            if (!pumping) contained(failThrown, pump);
          }
        });
      },
      close() {
        fail(new BrokerError('BROKER_UNREACHABLE', `the connection to ${where} was closed by us`));
      },
    };

    let opening: NodeJS.Timeout | undefined;
    const expireOpening = (): void => {
      fail(
        tls !== undefined && stage === 'handshake'
          ? new BrokerError(
              'TLS_FAILED',
              `${where} took no part in a TLS handshake for ${timeoutMs} ms; is it a port without TLS?`,
            )
          : new BrokerError('BROKER_UNREACHABLE', `${where} took no connection within ${timeoutMs} ms`),
      );
    };
    deadline(
      timeoutMs,
      () => stage === 'open',
      expireOpening,
      (timer) => (opening = timer),
    );
    const open = (): void => {
      stage = 'open';
      clearTimeout(opening);
      // Rejects only when the socket has closed, which is handled below.
      contained(failThrown, () => client.connect()).then(
        () => {
          resolve(connection);
        },
        () => undefined,
      );
    };
    socket.once('connect', () => {
      stage = 'handshake';
      if (tls === undefined) open();
    });
    if (tls !== undefined) socket.once('secureConnect', open);
    socket.on('error', (error) => {
      failure ??=
        stage === 'open' && receivedBytes === 0 && codeOf(error) === 'ECONNRESET'
          ? closedUnheard(where, false)
          : connectionError(error, where, stage, tls !== undefined);
    });
    socket.on('close', () => {
      clearTimeout(opening);
      failure ??=
        receivedBytes > 0
          ? new BrokerError('BROKER_UNREACHABLE', `${where} closed the connection`)
          : closedUnheard(where, tls !== undefined && stage === 'handshake');
      for (const request of [...sent, ...waiting.splice(0)]) {
        clearTimeout(request.timer);
        request.reject(failure);
      }
      sent.clear();
      reject(failure);
      settleEnd(failure);
    });
  });
}

/** Has every chunk checked before anybody who listens gets it; a chunk that fails the check is given to nobody. */
function checkFrames(socket: Socket, received: (chunk: Buffer) => void): void {
  const check = createFrameCheck();
  const emit = socket.emit.bind(socket) as (event: string, ...args: unknown[]) => boolean;
  socket.emit = (event: string, ...args: unknown[]) => {
    if (event === 'data') {
      received(args[0] as Buffer);
      check(args[0] as Buffer);
    }
    return emit(event, ...args);
  };
}

/** A client that introduces nobody, reconnects never and queues nothing: all that is done by whoever holds the connection. */
function clientOn(socket: Socket): Redis {
  class OpenSocket extends AbstractConnector {
    constructor() {
      super(0);
    }
    override connect(): Promise<Socket> {
      return Promise.resolve(socket);
    }
    override disconnect(): void {
      socket.destroy();
    }
  }
  return new Redis({
    Connector: OpenSocket,
    lazyConnect: true,
    // Our own HELLO asks for version 3; the decoder reads both.
    protocol: 2,
    disableClientInfo: true,
    enableReadyCheck: false,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    retryStrategy: () => null,
    keepAlive: 10_000,
  });
}
