/**
 * What the broker's refusals mean. Only one text of its 404 says that a queue does not exist: one whose node is down has the same code.
 */
import { BrokerError, QueueError, type QueueScalerError } from '../../../errors.ts';

/** Of a declare whose channel was closed by the broker for it. */
export function declareFailed(queue: string, vhost: string, code: number, text: string): QueueScalerError {
  if (code === 404 && text.startsWith("NOT_FOUND - no queue '"))
    return new QueueError('QUEUE_MISSING', `queue ${queue} does not exist in vhost ${vhost}`);
  if (code === 404) return new QueueError('QUEUE_DOWN', `queue ${queue}: ${text}`);
  if (code === 405) return new QueueError('QUEUE_LOCKED', `queue ${queue} is exclusive to another connection`);
  if (code === 403) return new BrokerError('BROKER_FORBIDDEN', `queue ${queue}: ${text}`);
  return new BrokerError('BROKER_BUSY', `queue ${queue}: ${code} ${text}`);
}

/** Of a declare without an answer. */
export function noAnswer(queue: string, timeoutMs: number): QueueError {
  return new QueueError('QUEUE_DOWN', `queue ${queue} has not answered within ${timeoutMs} ms: the node that holds it may hang`);
}

/** Of a declare whose answer names another queue: the sharding plugin answers for one shard of the exchange of that name. */
export function answeredForShard(queue: string): QueueError {
  const message = `${queue} is no queue but a sharded exchange (the broker answered for one shard); use shardedExchange`;
  return new QueueError('QUEUE_WRONG_TYPE', message);
}

/** Of a connection that was closed by the broker, while logging in, opening the vhost, or later. */
export function connectionClosed(label: string, phase: string, code: number, text: string): BrokerError {
  const message = `${label}: ${code} ${text}`;
  if (phase === 'login' && code === 403) return new BrokerError('BROKER_REFUSED', `${label}: the login is refused`);
  if (phase === 'open' && code === 530 && text.includes('is down')) return new BrokerError('BROKER_BUSY', message);
  if (phase === 'open' && (code === 530 || code === 403)) return new BrokerError('BROKER_FORBIDDEN', message);
  return new BrokerError(code === 320 ? 'BROKER_UNREACHABLE' : 'BROKER_BUSY', message);
}

/** How many channels the user may have, where having more has ended a connection. */
export function allowedChannels(error: QueueScalerError | undefined): number | undefined {
  const [, limit] = /number of channels opened .*\((\d+)\)/.exec(error?.message ?? '') ?? [];
  return limit === undefined ? undefined : Number(limit);
}
