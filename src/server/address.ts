/**
 * Addresses to listen on: `HOST:PORT`, `[IPV6]:PORT` or `:PORT` (all interfaces). Port 0 takes a free one, and what was bound is told.
 */
import type { Server } from 'node:net';

export interface Address {
  readonly host: string;
  readonly port: number;
}

const MAX_PORT = 65_535;

/** Undefined if the text is no address. */
export function parseAddress(text: string): Address | undefined {
  const match = /^(?:\[([0-9a-fA-F:.%]+)\]|([^\s:[\]/]*)):(\d{1,5})$/.exec(text);
  if (match === null || Number(match[3]) > MAX_PORT) return undefined;
  const host = match[1] ?? match[2] ?? '';
  return { host: host === '' ? '0.0.0.0' : host, port: Number(match[3]) };
}

function formatAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Listens and resolves to what was bound; rejects with the system's error, such as EADDRINUSE. */
export function listen(server: Server, text: string): Promise<string> {
  const address = parseAddress(text);
  if (address === undefined) return Promise.reject(new TypeError(`${JSON.stringify(text)} is no address like 0.0.0.0:6000`));
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: address.host, port: address.port }, () => {
      server.removeListener('error', reject);
      const bound = server.address();
      if (bound === null || typeof bound === 'string') reject(new TypeError('listening on no port'));
      else resolve(formatAddress({ host: bound.address, port: bound.port }));
    });
  });
}
