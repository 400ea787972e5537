/**
 * Names what went wrong with a Redis server by the closed error table; the server's and the system's own words are added, with
 * secrets scrubbed.
 */
import { scrub, type Secret } from '../../../auth/secret.ts';
import { BrokerError, QueueError, type QueueScalerError } from '../../../errors.ts';
import { codeOf } from '../../net/networkErrors.ts';
import { ProtocolError } from './framing.ts';
import type { ErrorReply, Reply } from './reply.ts';

const MAX_SHOWN = 200;

/** What the first word of an error reply means; sentinels and clusters have words of their own. */
const CODES: Readonly<Record<string, ConstructorParameters<typeof BrokerError>[0]>> = {
  NOAUTH: 'BROKER_REFUSED',
  WRONGPASS: 'BROKER_REFUSED',
  NOPERM: 'BROKER_FORBIDDEN',
  LOADING: 'BROKER_LOADING',
  READONLY: 'BROKER_NOT_PRIMARY',
  MASTERDOWN: 'BROKER_NOT_PRIMARY',
  CLUSTERDOWN: 'BROKER_CLUSTER_DOWN',
  OOM: 'BROKER_OUT_OF_MEMORY',
  BUSY: 'BROKER_BUSY',
  TRYAGAIN: 'BROKER_BUSY',
  NOREPLICAS: 'BROKER_BUSY',
  MISCONF: 'BROKER_BUSY',
  NOGOODSLAVE: 'BROKER_BUSY',
};

/** The error that an error reply stands for. `where` names the server, `subject` the key or command that was asked. */
export function replyError(reply: ErrorReply, where: string, subject: string, secrets: readonly Secret[] = []): QueueScalerError {
  // Servers before version 6 and proxies echo the arguments of a command they don't know.
  const said = `${where} answers for ${subject}: ${shown(reply.text, secrets)}`;
  const { code, text } = reply;
  if (code === 'WRONGTYPE') return new QueueError('QUEUE_WRONG_TYPE', said);
  // Older servers and proxies say this without a word of their own.
  const refused = /without any password|no password is set|invalid password/i.test(text);
  return new BrokerError(refused ? 'BROKER_REFUSED' : (CODES[code] ?? 'BROKER_REPLY_INVALID'), said);
}

/** The error of a reply that has another shape than the command's documentation promises. */
export function replyInvalid(reply: Reply, where: string, subject: string): BrokerError {
  const shape = Array.isArray(reply) ? 'a list' : reply === null ? 'nil' : `a ${typeof reply}`;
  return new BrokerError('BROKER_REPLY_INVALID', `${where} answers ${shape} for ${subject}, which is no reply to that command`);
}

/** The error of a connection that could not be made or that ended by an error of the socket. */
export function connectionError(
  thrown: Error,
  where: string,
  stage: 'connecting' | 'handshake' | 'open',
  tls: boolean,
): BrokerError {
  const detail = shown(thrown.message || codeOf(thrown) || 'no reason given');
  return tls && stage === 'handshake'
    ? new BrokerError('TLS_FAILED', `no TLS session with ${where}: ${detail}; is it a port without TLS?`, { cause: thrown })
    : new BrokerError('BROKER_UNREACHABLE', `${where} cannot be reached: ${detail}`, { cause: thrown });
}

/** The error of a connection on which the client library, or the check before it, threw at what the server sent. */
export function unexpectedBytes(thrown: unknown, where: string): BrokerError {
  const what =
    thrown instanceof ProtocolError
      ? `does not speak the Redis protocol: ${shown(thrown.message)}`
      : 'sent a reply that nobody asked for';
  return new BrokerError('BROKER_REPLY_INVALID', `${where} ${what}`, { cause: thrown });
}

/** The error of a TCP connection that the other side closed before it said anything. */
export function closedUnheard(where: string, tls: boolean): BrokerError {
  return tls
    ? new BrokerError('TLS_FAILED', `${where} closed the connection during the TLS handshake; is it a port without TLS?`)
    : new BrokerError(
        'BROKER_UNREACHABLE',
        `${where} closed the connection without a word; if the port speaks TLS, use rediss:// or tls: enable`,
      );
}

function shown(text: string, secrets: readonly Secret[] = []): string {
  return scrub(text.slice(0, MAX_SHOWN), secrets);
}
