/**
 * What a trigger says about TLS, as both the AMQP and the HTTP connections take it.
 */
export interface TlsSettings {
  readonly rejectUnauthorized: boolean;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly passphrase?: string;
}
