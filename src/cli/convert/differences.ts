/**
 * What will behave differently for one trigger once this scaler reads it; only what can happen with its settings is told.
 */
import { isTrue } from '../../keda.ts';

/** `keys` may hold names of what authentication gives. */
export function differencesOf(
  type: string,
  metadata: Readonly<Record<string, string>>,
  host: string | undefined,
  toJob: boolean,
): readonly string[] {
  const shared = [
    toJob
      ? 'KEDA polls a ScaledJob: work is noticed at the next poll, as before'
      : 'the first message wakes a worker at once, not at the next poll',
    'what cannot be read is an error, and KEDA then holds the replicas; it was a zero at times',
  ];
  const own = type === 'rabbitmq' ? rabbitmq(metadata, host) : type.endsWith('streams') ? streams(metadata) : lists();
  return [...own, ...shared];
}

function rabbitmq(metadata: Readonly<Record<string, string>>, host: string | undefined): string[] {
  const mode = metadata['mode'] ?? 'QueueLength';
  const excluded = isTrue(metadata['excludeUnacknowledged']);
  const amqp = metadata['protocol'] === 'amqp' || (metadata['protocol'] !== 'http' && /^amqps?:/.test(host ?? ''));
  const lines: string[] = [];
  if (mode === 'QueueLength' && amqp)
    lines.push(
      'unacknowledged messages count as well, so the metric is higher while workers are busy; excludeUnacknowledged: "true" counts as KEDA did over AMQP',
    );
  else if (mode === 'QueueLength' && host === undefined && !excluded)
    lines.push('if the host is an amqp:// URL, unacknowledged messages count as well; over HTTP they did already');
  if (!excluded && (mode !== 'QueueLength' || Number(metadata['activationValue'] ?? 0) > 0))
    lines.push('any unacknowledged message keeps the trigger active, even below activationValue');
  if (isTrue(metadata['useRegex'])) {
    lines.push('an expression that matches no queue is an error, not 0; onMissingQueue: zero makes it 0');
    lines.push('all matching queues are counted, however many; look-around is not supported');
  }
  if (metadata['operation'] === 'avg') lines.push('an average keeps its fraction: 3 messages in 4 queues are 0.75, not 0');
  if (mode !== 'QueueLength') lines.push('rates are taken over rateWindow (30 s) from counters, not from single samples');
  if (mode === 'PublishedToDeliveredRatio' || mode === 'ExpectedQueueConsumptionTime')
    lines.push(
      'without deliveries the metric is 0 without consumers, and the target with consumers; KEDA reports activationValue',
    );
  if (mode === 'ExpectedQueueConsumptionTime') lines.push('an empty queue is inactive; up to KEDA 2.20 it never was');
  if (metadata['pageSize'] !== undefined) lines.push('pageSize has no effect: there are no pages');
  return lines;
}

function lists(): string[] {
  return ['no script runs in Redis: TYPE and the length’s own command are asked for in a pipeline'];
}

function streams(metadata: Readonly<Record<string, string>>): string[] {
  if (metadata['consumerGroup'] === undefined) return [];
  if (metadata['lagCount'] === undefined)
    return [
      'undelivered entries wake a worker; KEDA saw none before a consumer ran',
      'a group that nobody has created has nothing pending, and wakes a worker if there are entries; it was an error',
    ];
  return [
    'both undelivered and pending entries count, so the metric is higher while consumers are busy',
    'where Redis cannot tell the lag it is counted or an error; KEDA took it for 0',
  ];
}
