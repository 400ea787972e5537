/**
 * Opens a TCP or TLS socket to one endpoint, whoever speaks the protocol over it: within a deadline, contained, and with the reason
 * where it cannot be had.
 */
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { onAbort } from '../../abort.ts';
import { BrokerError } from '../../errors.ts';
import { addressText, type Address } from './address.ts';
import { containListeners } from './containment.ts';
import { describeNetworkError } from './networkErrors.ts';
import { tlsOptions, type TlsSettings } from './tls.ts';

const KEEP_ALIVE_MS = 10_000;
/** Extra time for what is late but still arriving, granted again and again up to twice the timeout. */
const LATE_MS = 100;

export interface SocketOptions {
  readonly address: Address;
  readonly tls: TlsSettings | undefined;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  /**
   * The error of a socket that could not be had: whether it broke in the TLS handshake, and by what, which is a `TimeoutError` after
   * `timeoutMs`, and missing where the peer closed the connection without a word.
   */
  readonly describe?: (inHandshake: boolean, cause: Error | undefined) => BrokerError;
  /** The error of a socket whose listeners threw: it destroys the socket. */
  readonly unexpected?: (thrown: unknown) => Error;
}

/** Resolves to a connected socket, with `tls` after the handshake. Rejects with what `describe` makes of the reason. */
export function openSocket({ address, tls, timeoutMs, signal, describe, unexpected }: SocketOptions): Promise<Socket> {
  const where = addressText(address);
  return new Promise((resolve, reject) => {
    let socket: Socket;
    const fail = (thrown: unknown): void =>
      void socket.destroy(unexpected?.(thrown) ?? (thrown instanceof Error ? thrown : new Error(String(thrown))));
    try {
      socket = tls === undefined ? connectTcp({ ...address }) : connectTls({ ...address, ...tlsOptions(tls, address.host) });
    } catch (thrown) {
      // Node reads certificates and keys before it connects.
      reject(new BrokerError('TLS_FAILED', `the TLS certificate or key for ${where} cannot be used`, { cause: thrown }));
      return;
    }
    containListeners(socket, fail);
    let connected = false;
    const stopTimer = whenLate(socket, timeoutMs, () => {
      socket.destroy(new DOMException('the time is up', 'TimeoutError'));
    });
    const stopListening = signal && onAbort(signal, () => socket.destroy(signal.reason as Error));
    const stopWaiting = (): void => {
      stopTimer();
      stopListening?.();
    };
    // Stays: an error of a socket that nobody listens to would end the process.
    socket.on('error', () => undefined);
    onClosed(socket, (cause) => {
      stopWaiting();
      const inHandshake = connected && tls !== undefined;
      if (describe !== undefined) reject(describe(inHandshake, cause));
      else if (!inHandshake) reject(describeNetworkError(cause, where));
      else reject(new BrokerError('TLS_FAILED', `no TLS session with ${where}; is it a port without TLS?`, { cause }));
    });
    socket.once('connect', () => (connected = true));
    socket.once(tls === undefined ? 'connect' : 'secureConnect', () => {
      stopWaiting();
      socket.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE_MS);
      resolve(socket);
    });
  });
}

/** Calls `act` when the socket has closed, also if it has already: with the error that closed it, if it was one. */
export function onClosed(socket: Socket, act: (cause: Error | undefined) => void): void {
  const closed = (): void => {
    act(socket.errored ?? undefined);
  };
  if (socket.closed) closed();
  else socket.once('close', closed);
}

/**
 * Calls `expire` when the time is up, until the result is called. A process that was busy itself finds its timers due before it has
 * read what came meanwhile: that is read first, and while more comes there is more time.
 */
export function whenLate(socket: Socket, ms: number, expire: () => void): () => void {
  const startedAt = performance.now();
  let cancelled = false;
  const progress = (): string => `${socket.connecting} ${socket.bytesRead}`;
  const due = (): void => {
    const before = progress();
    setImmediate(() => {
      if (cancelled) return;
      if (progress() === before || performance.now() - startedAt >= 2 * ms) expire();
      else timer = setTimeout(due, LATE_MS);
    });
  };
  let timer = setTimeout(due, ms);
  return () => {
    cancelled = true;
    clearTimeout(timer);
  };
}
