/** A certificate authority of a test's own, with a server's and a client's certificate, made by openssl in a folder of the caller's. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface KeyPair {
  /** PEM files. */
  readonly cert: string;
  readonly key: string;
}

export interface Certificates {
  /** PEM file of the authority. */
  readonly ca: string;
  /** For `localhost` and 127.0.0.1. */
  readonly server: KeyPair;
  /** With the common name `guest`. */
  readonly client: KeyPair;
  /** Signed by the authority, but for `elsewhere.invalid`. */
  readonly otherHost: KeyPair;
  /** One more of the same authority; an earlier one of that name is replaced. */
  issue(name: string, commonName: string, extensions: string): KeyPair;
}

/** Extensions of a server's certificate for `localhost`. */
export const LOCALHOST_EXTENSIONS = 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n';

/** Makes all of it; valid for a day. Takes some 100 ms. */
export function makeCertificates(folder: string): Certificates {
  mkdirSync(folder, { recursive: true });
  const file = (leaf: string): string => join(folder, leaf);
  const openssl = (...args: string[]): void => {
    execFileSync('openssl', args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'], timeout: 30_000 });
  };
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

  openssl('req', '-x509', ...newKey, '-keyout', 'ca.key', '-out', 'ca.pem', '-days', '1', '-subj', '/CN=Test authority');

  function pair(name: string, commonName: string, extensions: string): KeyPair {
    openssl('req', '-new', ...newKey, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${commonName}`);
    writeFileSync(file(`${name}.ext`), extensions);
    const authority = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial'];
    openssl('x509', '-req', '-in', `${name}.csr`, ...authority, '-out', `${name}.pem`, '-days', '1', '-extfile', `${name}.ext`);
    return { cert: file(`${name}.pem`), key: file(`${name}.key`) };
  }

  return {
    ca: file('ca.pem'),
    server: pair('server', 'localhost', LOCALHOST_EXTENSIONS),
    client: pair('client', 'guest', 'extendedKeyUsage=clientAuth\n'),
    otherHost: pair('other', 'elsewhere.invalid', 'subjectAltName=DNS:elsewhere.invalid\nextendedKeyUsage=serverAuth\n'),
    issue: pair,
  };
}
