/**
 * Takes connections, plain or by TLS, within limits and hands them on. TLS is ours and not grpc-js's, so that a certificate changes
 * under a running server by Node's own stable means. Nobody whose certificate is not allowed may reach a handler.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { alternativeNames, type Certificates } from '../certificates.ts';

const HANDSHAKE_TIMEOUT_MS = 10_000;
const MIN_TLS_VERSION = 'TLSv1.2';

/** Connections of all peers together; KEDA opens one. */
const MAX_CONNECTIONS = 2_000;
/** Connections from one address. */
const MAX_CONNECTIONS_PER_PEER = 500;

export type Refusal = 'too_many_connections' | 'too_many_of_one_peer' | 'handshake' | 'name_not_allowed';

export interface ListenerOptions {
  /** TLS if given. Clients must show a certificate if there is an authority for it. */
  readonly certificates?: Certificates;
  /** DNS and URI names of which a client's certificate must have one; all are allowed if undefined. */
  readonly clientNames?: readonly string[];
  connection(socket: Socket): void;
  refused(why: Refusal, detail: string): void;
}

export interface Listener {
  /** To listen with. */
  readonly server: Server;
  /** Connections now. */
  readonly open: () => number;
  /** For handshakes from now on; connections that are open stay. */
  readonly useCertificates: (certificates: Certificates) => void;
  /** Takes no more connections. */
  stop(): Promise<void>;
  /** Breaks all connections. */
  drop(): void;
}

export function createListener(options: ListenerOptions): Listener {
  const sockets = new Map<Socket, string>();
  const perPeer = new Map<string, number>();

  function admit(socket: Socket): boolean {
    const peer = socket.remoteAddress ?? '';
    const ofPeer = perPeer.get(peer) ?? 0;
    const why =
      sockets.size >= MAX_CONNECTIONS
        ? 'too_many_connections'
        : ofPeer >= MAX_CONNECTIONS_PER_PEER
          ? 'too_many_of_one_peer'
          : undefined;
    // What breaks a connection is told by the calls on it; a socket that is no peer of ours just ends.
    socket.on('error', () => socket.destroy());
    if (why !== undefined) {
      options.refused(why, peer);
      socket.destroy();
      return false;
    }
    sockets.set(socket, peer);
    perPeer.set(peer, ofPeer + 1);
    socket.once('close', () => {
      sockets.delete(socket);
      const left = (perPeer.get(peer) ?? 1) - 1;
      if (left > 0) perPeer.set(peer, left);
      else perPeer.delete(peer);
    });
    return true;
  }

  const { certificates } = options;
  if (certificates === undefined) {
    const server = createServer({ noDelay: true }, (socket) => {
      if (admit(socket)) options.connection(socket);
    });
    return { server, open: () => sockets.size, useCertificates: () => undefined, stop: () => stop(server), drop };
  }

  const tls = createTlsServer({
    ...secureOptions(certificates),
    ALPNProtocols: ['h2'],
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
    requestCert: certificates.ca !== undefined,
    rejectUnauthorized: certificates.ca !== undefined,
  });
  // Counted from the first packet on, so that handshakes that never end are counted too.
  const server = createServer({ noDelay: true }, (socket) => {
    if (admit(socket)) tls.emit('connection', socket);
  });
  tls.on('tlsClientError', (error, socket) => {
    options.refused('handshake', error.message);
    socket.destroy();
  });
  tls.on('secureConnection', (socket) => {
    socket.on('error', () => socket.destroy());
    if (socket.alpnProtocol !== 'h2') {
      options.refused('handshake', 'the client does not offer h2');
      socket.destroy();
    } else if (!nameAllowed(socket, options.clientNames)) {
      options.refused(
        'name_not_allowed',
        `${socket.remoteAddress ?? 'a client'} shows a certificate for none of the allowed names`,
      );
      socket.destroy();
    } else options.connection(socket);
  });
  return {
    server,
    open: () => sockets.size,
    useCertificates: (changed) => {
      tls.setSecureContext(secureOptions(changed));
    },
    stop: () => stop(server),
    drop,
  };

  function drop(): void {
    for (const socket of sockets.keys()) socket.destroy();
  }
}

function stop(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => {
      resolve();
    });
  });
}

function secureOptions({ cert, key, ca }: Certificates) {
  return { cert, key, ...(ca === undefined ? {} : { ca }), minVersion: MIN_TLS_VERSION } as const;
}

function nameAllowed(socket: TLSSocket, allowed: readonly string[] | undefined): boolean {
  if (allowed === undefined) return true;
  const names = alternativeNames(socket.getPeerX509Certificate()?.subjectAltName);
  return names.some((name) => allowed.includes(name));
}
