/** One TLS handshake with a gRPC address, for tests of who is shown which certificate. It must never leave its socket open. */
import { connect, type ConnectionOptions } from 'node:tls';

/** Resolves to the serial number of the certificate that was shown; rejects if the handshake fails or the certificate is not believed. */
export function handshake(
  address: string,
  options: Pick<ConnectionOptions, 'ca' | 'maxVersion'>,
  deadlineMs: number,
): Promise<string> {
  const [host, port] = address.split(':');
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port: Number(port), servername: 'localhost', ALPNProtocols: ['h2'], ...options });
    socket.setTimeout(deadlineMs, () => socket.destroy(new Error('the handshake timed out')));
    socket.once('error', reject);
    socket.once('secureConnect', () => {
      const { serialNumber } = socket.getPeerCertificate();
      socket.once('close', () => {
        resolve(serialNumber);
      });
      socket.end();
    });
  });
}
