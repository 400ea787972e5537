/**
 * Opens a TCP or TLS socket to one endpoint for protocols that no client library speaks for us: within a deadline, contained, and
 * with the reason where it cannot be had.
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

/**
 * Resolves to a connected socket, with `tls` after the handshake. Rejects with a {@link BrokerError}: `TLS_FAILED` for whatever goes
 * wrong in the handshake, `BROKER_TIMEOUT` after `timeoutMs` or the signal's abort, otherwise `BROKER_UNREACHABLE`. What a listener
 * of the socket throws later destroys the socket, with what was thrown as its error.
 */
export function openSocket(
  address: Address,
  tls: TlsSettings | undefined,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Socket> {
  const where = addressText(address);
  return new Promise((resolve, reject) => {
    let socket: Socket;
    try {
      socket = tls === undefined ? connectTcp({ ...address }) : connectTls({ ...address, ...tlsOptions(tls, address.host) });
    } catch (thrown) {
      // Node reads certificates and keys before it connects.
      reject(new BrokerError('TLS_FAILED', `the TLS certificate or key for ${where} cannot be used`, { cause: thrown }));
      return;
    }
    const destroy = (thrown: unknown): void => void socket.destroy(thrown instanceof Error ? thrown : new Error(String(thrown)));
    containListeners(socket, destroy);
    let handshaking = false;
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    const stopWaiting = onAbort(deadline, () => {
      destroy(deadline.reason);
    });
    const failed = (thrown: unknown): void => {
      stopWaiting();
      reject(
        handshaking
          ? new BrokerError('TLS_FAILED', `no TLS session with ${where}; is it a port without TLS?`, { cause: thrown })
          : describeNetworkError(thrown, where),
      );
    };
    // Stays: an error of a socket that nobody listens to would end the process.
    socket.on('error', failed);
    socket.once('close', failed);
    socket.once('connect', () => {
      handshaking = tls !== undefined;
    });
    socket.once(tls === undefined ? 'connect' : 'secureConnect', () => {
      stopWaiting();
      socket.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE_MS);
      resolve(socket);
    });
  });
}
