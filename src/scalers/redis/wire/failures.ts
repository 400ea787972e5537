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

/** What a server says it is: one that stands alone or is its replicas' primary, a node of a cluster, or a sentinel. */
export type ServerKind = 'standalone' | 'cluster' | 'sentinel';

const SCALERS: Readonly<Record<ServerKind, string>> = {
  standalone: 'a server that is in no cluster: read it with scaler redis or redis-streams',
  cluster: 'a node of a cluster: read it with scaler redis-cluster or redis-cluster-streams',
  sentinel: 'a sentinel: read its primary with scaler redis-sentinel or redis-sentinel-streams',
};

/** The error of a server that is of another kind than the trigger's scaler reads, with the scaler that would. */
export function otherKind(where: string, kind: ServerKind): BrokerError {
  return new BrokerError('BROKER_WRONG_KIND', `${where} is ${SCALERS[kind]}`);
}

/** The error that an error reply stands for, to a question that a server of another kind than `wanted` cannot answer. */
export function askedAmiss(
  reply: ErrorReply,
  where: string,
  subject: string,
  wanted: ServerKind,
  kind: ServerKind | undefined,
): QueueScalerError {
  const said = replyError(reply, where, subject);
  return kind === undefined || kind === wanted || said.code !== 'BROKER_REPLY_INVALID' ? said : otherKind(where, kind);
}

export function isReplica(where: string): BrokerError {
  const remedy = 'give the address of its primary, or let scaler redis-sentinel or redis-sentinel-streams find it';
  return new BrokerError('BROKER_NOT_PRIMARY', `${where} is a replica, which may be behind: ${remedy}`);
}

/** The error of a connection that could not be opened, as {@link SocketOptions.describe} has it. */
export function openingError(where: string, inHandshake: boolean, cause: Error | undefined, timeoutMs: number): BrokerError {
  if (!inHandshake && cause?.name !== 'TimeoutError') return brokenBy(where, cause, 0);
  if (!inHandshake) return new BrokerError('BROKER_UNREACHABLE', `${where} took no connection within ${timeoutMs} ms`);
  const what =
    cause === undefined
      ? `${where} closed the connection during the TLS handshake`
      : cause.name === 'TimeoutError'
        ? `${where} took no part in a TLS handshake for ${timeoutMs} ms`
        : `no TLS session with ${where}: ${detailOf(cause)}`;
  return new BrokerError('TLS_FAILED', `${what}; is it a port without TLS?`, { cause });
}

/** The error of a connection that ended: by an error of the socket, or where there is none by the other side. */
export function brokenBy(where: string, cause: Error | undefined, receivedBytes: number): BrokerError {
  if (cause instanceof BrokerError) return cause;
  const unheard = receivedBytes === 0 && (cause === undefined || codeOf(cause) === 'ECONNRESET');
  const what = unheard
    ? 'closed the connection without a word; if the port speaks TLS, use rediss:// or tls: enable'
    : cause === undefined
      ? 'closed the connection'
      : `cannot be reached: ${detailOf(cause)}`;
  return new BrokerError('BROKER_UNREACHABLE', `${where} ${what}`, { cause });
}

function detailOf(cause: Error): string {
  return shown(cause.message || codeOf(cause) || 'no reason given');
}

/** The error of a connection on which the client library, or the check before it, threw at what the server sent. */
export function unexpectedBytes(thrown: unknown, where: string): BrokerError {
  const what =
    thrown instanceof ProtocolError
      ? `does not speak the Redis protocol: ${shown(thrown.message)}`
      : 'sent a reply that nobody asked for';
  return new BrokerError('BROKER_REPLY_INVALID', `${where} ${what}`, { cause: thrown });
}

function shown(text: string, secrets: readonly Secret[] = []): string {
  return scrub(text.slice(0, MAX_SHOWN), secrets);
}
