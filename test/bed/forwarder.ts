/**
 * A TCP forwarder on the loopback, as stands between networks: it takes connections on a port of its own and counts them. With `tls` it
 * takes TLS and forwards what is inside.
 */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { createServer as createTlsServer, type TlsOptions } from 'node:tls';

export interface Forwarder {
  readonly port: number;
  /** Connections that were taken so far. */
  connections(): number;
  close(): Promise<void>;
}

export async function startForwarder(toPort: number, tls?: TlsOptions): Promise<Forwarder> {
  const sockets = new Set<Socket>();
  let connections = 0;
  const forward = (near: Socket): void => {
    connections++;
    const far = connect({ host: '127.0.0.1', port: toPort });
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on('error', () => undefined);
      from.on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
      from.pipe(to);
    }
  };
  const listener = tls === undefined ? createServer(forward) : createTlsServer(tls, forward);
  await new Promise<void>((resolve) => {
    listener.listen(0, '127.0.0.1', resolve);
  });
  return {
    port: (listener.address() as AddressInfo).port,
    connections: () => connections,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => listener.close(resolve));
    },
  };
}
