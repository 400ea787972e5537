/**
 * One TCP or TLS connection to one Redis server, spoken to by ioredis: commands go out in batches, replies come back in order. A
 * connection that is late once is of no more use and ends; nothing is queued for a server that is not there.
 *
 * ioredis gets a socket that is open, as it lacks what is added here: deadlines that end the connection, bounds, the reasons why it
 * could not be had, and that whatever a server sends ends this connection only.
 */
import { AbstractConnector, Redis, ReplyError } from 'ioredis';
import type { Socket } from 'node:net';
import { BrokerError } from '../../../errors.ts';
import { containListeners } from '../../net/containment.ts';
import type { TlsSettings } from '../../net/tls.ts';
import { addressText, type Address } from '../../net/address.ts';
import { onClosed, openSocket, whenLate } from '../../net/socket.ts';
import { brokenBy, openingError, unexpectedBytes } from './failures.ts';
import { createFrameCheck } from './framing.ts';
import { listenToPushes, type OnPush } from './pushes.ts';
import { ErrorReply, type Command, type Reply } from './reply.ts';

export interface Connection {
  readonly where: string;
  /**
   * The replies to the commands, in order; error replies are values. Rejects with a {@link BrokerError} when the connection ends
   * first; it ends where replies are late.
   */
  request(commands: readonly Command[]): Promise<readonly Reply[]>;
  /** Resolves with the reason when the connection has ended. */
  readonly ended: Promise<BrokerError>;
  isOpen(): boolean;
  close(): void;
}

interface Request {
  readonly commands: readonly Command[];
  readonly resolve: (replies: readonly Reply[]) => void;
  readonly reject: (error: BrokerError) => void;
}

/** Commands under way at once: their replies may all arrive in one turn of the event loop, at some 5 µs each. */
const MOST_IN_FLIGHT = 400;

/**
 * Opens a connection; `timeoutMs` is the longest wait for it, and for the replies to a request. `onPush` gets what the server sends
 * unasked. Rejects with a {@link BrokerError}.
 */
export async function openConnection(
  address: Address,
  tls: TlsSettings | undefined,
  timeoutMs: number,
  onPush: OnPush,
): Promise<Connection> {
  const where = addressText(address);
  const socket = await openSocket({
    address,
    tls,
    timeoutMs,
    describe: (inHandshake, cause) => openingError(where, inHandshake, cause, timeoutMs),
    unexpected: (thrown) => unexpectedBytes(thrown, where),
  });
  let receivedBytes = 0;
  let failure: BrokerError | undefined;
  const waiting: Request[] = [];
  /** Requests that were sent, and what takes back their deadlines. */
  const sent = new Map<Request, () => void>();
  let inFlight = 0;
  let pumping = false;

  const fail = (error: BrokerError): void => {
    failure ??= error;
    socket.destroy();
  };
  const failThrown = (thrown: unknown): void => {
    fail(unexpectedBytes(thrown, where));
  };
  const broken = (cause: Error | undefined): BrokerError => (failure ??= brokenBy(where, cause, receivedBytes));
  // Before ioredis hears of it, and reports it as an error of its own.
  socket.once('error', broken);
  const ended = new Promise<BrokerError>((settle) => {
    onClosed(socket, (cause) => {
      const reason = broken(cause);
      for (const stopTimer of sent.values()) stopTimer();
      for (const request of [...sent.keys(), ...waiting.splice(0)]) request.reject(reason);
      sent.clear();
      settle(reason);
    });
  });
  checkFrames(socket, (chunk) => (receivedBytes += chunk.length));
  containListeners(socket, failThrown);
  const client = clientOn(socket);
  client.on('error', failThrown);
  listenToPushes(client, { onPush, fail: failThrown });

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
    const { commands } = request;
    inFlight += commands.length;
    const stopTimer = whenLate(socket, timeoutMs, () => {
      fail(new BrokerError('BROKER_TIMEOUT', `${where} has not answered within ${timeoutMs} ms`));
    });
    sent.set(request, stopTimer);
    const replies: Reply[] = [];
    let missing = commands.length;
    const settle = (at: number, reply: Reply): void => {
      replies[at] = reply;
      if (--missing > 0) return;
      stopTimer();
      sent.delete(request);
      inFlight -= commands.length;
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

  await client.connect().catch(async () => {
    throw await ended;
  });
  return {
    where,
    ended,
    isOpen: () => !socket.destroyed,
    request: (commands) =>
      new Promise((resolve, reject) => {
        if (socket.destroyed) reject(failure ?? new BrokerError('BROKER_UNREACHABLE', `the connection to ${where} has ended`));
        else if (commands.length === 0) resolve([]);
        else {
          waiting.push({ commands, resolve, reject });
          if (!pumping) pump();
        }
      }),
    close() {
      fail(new BrokerError('BROKER_UNREACHABLE', `the connection to ${where} was closed by us`));
    },
  };
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
