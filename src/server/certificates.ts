/**
 * The server's certificate, key and clients' authority from files, followed as they change. Until a new pair is whole and belongs
 * together, the last good one stays.
 */
import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';

/** A mounted Secret changes all its files at once, but others write one after the other: files are read as often as this. */
const CERTIFICATE_POLL_MS = 1_000;

export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
  /** Authority that clients' certificates must come from; without it clients need none. */
  readonly clientCa?: string;
}

export interface Certificates {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly ca?: Buffer;
  readonly expiresAt: Date;
}

export interface CertificateEvents {
  changed(certificates: Certificates): void;
  /** The files are at fault since; told once until they are good again or fail otherwise. */
  failed(error: Error): void;
}

/** Reads the files and follows them until closed. Rejects if they are not good at the start. */
export async function followCertificates(
  files: CertificateFiles,
  events: CertificateEvents,
  pollMs = CERTIFICATE_POLL_MS,
): Promise<{ readonly first: Certificates; close(): void }> {
  const start = await readFiles(files);
  const first = whole(start.contents);
  let served = start.digest;
  let candidate = start.digest;
  let complaint = '';
  let closed = false;

  async function look(): Promise<void> {
    try {
      const { digest, contents } = await readFiles(files);
      if (closed) return;
      // A chain that was cut while being written can still be read: only what stays the same over two readings counts.
      const settled = digest === candidate;
      candidate = digest;
      if (!settled) return;
      if (digest !== served) {
        const certificates = whole(contents);
        served = digest;
        events.changed(certificates);
      }
      complaint = '';
    } catch (thrown) {
      const error = thrown instanceof Error ? thrown : new Error('unreadable');
      if (!closed && error.message !== complaint) events.failed(error);
      complaint = error.message;
    }
  }

  let timer = setTimeout(again, pollMs);
  timer.unref();
  function again(): void {
    void look().finally(() => {
      if (closed) return;
      timer = setTimeout(again, pollMs);
      timer.unref();
    });
  }

  return {
    first,
    close: () => {
      closed = true;
      clearTimeout(timer);
    },
  };
}

interface Contents {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly ca: Buffer | undefined;
}

async function readFiles({ cert, key, clientCa }: CertificateFiles): Promise<{ digest: string; contents: Contents }> {
  const [certBytes, keyBytes, caBytes] = await Promise.all([
    readFile(cert),
    readFile(key),
    clientCa === undefined ? undefined : readFile(clientCa),
  ]);
  const hash = createHash('sha256');
  for (const bytes of [certBytes, keyBytes, caBytes ?? Buffer.alloc(0)]) hash.update(`${bytes.length}:`).update(bytes);
  return { digest: hash.digest('hex'), contents: { cert: certBytes, key: keyBytes, ca: caBytes } };
}

/** Throws if the certificate is unreadable, is not the key's, or the authority is unreadable. */
function whole({ cert, key, ca }: Contents): Certificates {
  const leaf = new X509Certificate(cert);
  if (!leaf.checkPrivateKey(createPrivateKey(key))) throw new Error('the certificate is not that of the private key');
  // Reads the whole chain and the authority as the TLS server will.
  createSecureContext({ cert, key, ...(ca === undefined ? {} : { ca }) });
  if (ca !== undefined) new X509Certificate(ca);
  return { cert, key, ...(ca === undefined ? {} : { ca }), expiresAt: new Date(leaf.validTo) };
}

/**
 * The names a certificate stands for: its subject alternative names of the types DNS and URI (such as a SPIFFE id), without the type.
 * @param alternativeNames as Node prints them: `DNS:a, URI:b`, with a name in JSON quotes where it could be misread.
 */
export function alternativeNames(alternativeNames: string | undefined): string[] {
  const names: string[] = [];
  for (const [, type, name = ''] of (alternativeNames ?? '').matchAll(/(?:^|, )([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^,]*)/g)) {
    if (type !== 'DNS' && type !== 'URI') continue;
    names.push(name.startsWith('"') ? (JSON.parse(name) as string) : name);
  }
  return names;
}
