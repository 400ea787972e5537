/**
 * Turns what sockets and HTTP clients throw into this program's errors, without texts that could hold a secret.
 */
import { BrokerError } from '../../errors.ts';

const TLS_CODE = /^(?:ERR_SSL|ERR_TLS|EPROTO|CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|HOSTNAME_MISMATCH|ERR_OSSL)/;
const TIMEOUT_CODES: ReadonlySet<string> = new Set([
  'ETIMEDOUT',
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
]);
const NONSENSE_CODE = /^(?:HPE_|UND_ERR_HEADERS_OVERFLOW|UND_ERR_RESPONSE)/;

/** What a person should read of a failed connection: only the error's code, as its text may quote the request. */
export function describeNetworkError(thrown: unknown, subject: string): BrokerError {
  if (thrown instanceof BrokerError) return thrown;
  const code = codeOf(thrown);
  if (isTimeout(thrown) || TIMEOUT_CODES.has(code)) {
    return new BrokerError('BROKER_TIMEOUT', `${subject} did not answer in time`, { cause: thrown });
  }
  if (TLS_CODE.test(code)) return new BrokerError('TLS_FAILED', `${subject}: ${describeTls(code)}`, { cause: thrown });
  if (NONSENSE_CODE.test(code)) {
    return new BrokerError('BROKER_REPLY_INVALID', `${subject} does not speak HTTP (${code})`, { cause: thrown });
  }
  return new BrokerError('BROKER_UNREACHABLE', `${subject} cannot be reached${code === '' ? '' : ` (${code})`}`, {
    cause: thrown,
  });
}

function isTimeout(thrown: unknown): boolean {
  return thrown instanceof Error && (thrown.name === 'TimeoutError' || thrown.name === 'AbortError');
}

/** The innermost error code, as undici and Node wrap the error that has it; empty if there is none. */
export function codeOf(thrown: unknown): string {
  let code = '';
  for (let error = thrown, depth = 0; error instanceof Error && depth < 5; error = error.cause, depth++) {
    if ('code' in error && typeof error.code === 'string') code = error.code;
    if (error instanceof AggregateError && error.errors.length > 0) code = codeOf(error.errors[0]) || code;
  }
  return code;
}

function describeTls(code: string): string {
  if (/WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|EPROTO/.test(code)) return `the port does not speak TLS (${code})`;
  return `no TLS session (${code})`;
}
