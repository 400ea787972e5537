/**
 * What a trigger says about TLS towards its broker: the keys that all scalers share, and the options that Node's TLS takes of them.
 */
import { isIP } from 'node:net';
import { z } from 'zod';
import { Secret } from '../../auth/secret.ts';
import { key, type Values } from '../metadata.ts';
import { text } from '../values.ts';

export interface TlsSettings {
  readonly verify: boolean;
  /** PEM of the authorities to trust instead of the system's. */
  readonly ca: string | undefined;
  readonly certificate: string | undefined;
  readonly key: Secret | undefined;
  readonly keyPassword: Secret | undefined;
}

const authentication = { places: ['authentication'] } as const;
const asSecret = (value: string): Secret => new Secret(value);

export const TLS_KEYS = {
  ca: key('PEM of the authorities whose certificates are trusted, instead of the system’s.', pem(), authentication),
  cert: key('PEM of the client certificate.', pem(), authentication),
  key: key('PEM of the client certificate’s key.', pem().transform(asSecret), { ...authentication, secret: true }),
  keyPassword: key('Password of that key.', text().transform(asSecret), { ...authentication, secret: true }),
};

/** A certificate is longer than other texts, and has line breaks. */
function pem() {
  return z.string().refine((value) => value.includes('-----BEGIN '), 'must be PEM, with a line -----BEGIN …-----');
}

export function tlsSettings(values: Partial<Values<typeof TLS_KEYS>>, verify: boolean): TlsSettings {
  return { verify, ca: values.ca, certificate: values.cert, key: values.key, keyPassword: values.keyPassword };
}

/** For `tls.connect` and for HTTP clients; `host` is where the socket goes, and undefined where the client knows that itself. */
export function tlsOptions({ verify, ca, certificate, key, keyPassword }: TlsSettings, host?: string) {
  return {
    // A certificate may be made out to an address, but the TLS extension for names takes none.
    ...(host === undefined || isIP(host) !== 0 ? {} : { servername: host }),
    rejectUnauthorized: verify,
    ...(ca === undefined ? {} : { ca }),
    ...(certificate === undefined ? {} : { cert: certificate }),
    ...(key === undefined ? {} : { key: key.reveal() }),
    ...(keyPassword === undefined ? {} : { passphrase: keyPassword.reveal() }),
  };
}
