/**
 * Finds TCP ports on the loopback that nobody listens on. Another process may take one before it is used, so whoever listens on it
 * must be ready to ask again.
 */
import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

/**
 * Below the range that Linux gives to outgoing connections (from 32768), so that no client takes the port of a broker that is down
 * and wants it back.
 */
const LOWEST_PORT = 12_000;
const HIGHEST_PORT = 32_000;

export async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) {
    const port = randomInt(LOWEST_PORT, HIGHEST_PORT);
    if (!ports.has(port) && (await isFree(port))) ports.add(port);
  }
  return [...ports];
}

export async function freePort(): Promise<number> {
  const [port] = await freePorts(1);
  if (port === undefined) throw new Error('no free port');
  return port;
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => {
      resolve(false);
    });
    // On all interfaces, as a listener of another program on any of them would be in the way.
    server.listen(port, '0.0.0.0', () => {
      server.close(() => {
        resolve(true);
      });
    });
  });
}
