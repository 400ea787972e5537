/**
 * Valid settings of this program's triggers that lose work, time or sleep: each is told with what happens, not with a rule of taste.
 */
import { DEFAULT_COOLDOWN_SECONDS, isTrue } from '../../keda.ts';
import { isRecord } from '../yaml/objects.ts';
import type { Known } from './externalTrigger.ts';
import { minReplicas, numberIn } from './scaling.ts';
import { keyPath, type TriggerLocation } from './triggerLocation.ts';

/** RabbitMQ's management statistics are up to 10 s old, 5 s by default and once more by cache. */
const STATISTICS_SECONDS = 10;

export function checkRisks(location: TriggerLocation, known: Known): void {
  const { scaler } = known;
  const toZero = minReplicas(location.object) === 0;
  checkAnyScaler(location, known, toZero);
  if (scaler.type === 'rabbitmq') checkRabbit(location, known, toZero);
  else if (scaler.type.endsWith('streams')) checkStreams(location, known);
  else checkLists(location, known);
}

function checkAnyScaler(location: TriggerLocation, { scaler, metadata, value }: Known, toZero: boolean): void {
  const { report, object, type, path } = location;
  const spec = object.data['spec'];
  for (const [name, key] of Object.entries(scaler.keys)) {
    const spelling = [name, ...key.aliases].find((word) => Object.hasOwn(location.metadata, word));
    if (spelling === undefined) continue;
    if (key.deprecated !== undefined)
      report('deprecated', keyPath(location, spelling), `${spelling} is deprecated`, { part: 'key', fix: key.deprecated });
    const text = location.metadata[spelling] ?? '';
    const holdsPassword = key.secret && (/password|secret/i.test(name) || /:\/\/[^/\s]*:[^/\s]+@/.test(text));
    if (holdsPassword && !/:\/\/(?:guest:guest)@/.test(text))
      report(
        'secret-in-manifest',
        keyPath(location, spelling),
        `${spelling} holds a password that everybody who may read this object sees`,
        {
          part: 'key',
          fix: 'a TriggerAuthentication with secretTargetRef',
        },
      );
  }
  if (object.kind === 'ScaledJob' && type === 'external-push')
    report('push-in-job', [...path, 'type'], 'KEDA does not push for a ScaledJob: it polls each pollingInterval', {
      fix: 'external',
    });
  else if (object.kind === 'ScaledObject' && type === 'external' && toZero)
    report('push-preferred', [...path, 'type'], 'with type external the first worker waits for the next poll', {
      fix: 'external-push',
    });
  if (object.kind === 'ScaledObject' && toZero && isRecord(spec)) {
    const cooldown = numberIn(spec, 'cooldownPeriod') ?? DEFAULT_COOLDOWN_SECONDS;
    const sure = Math.max(STATISTICS_SECONDS, seconds(value('confirmZero')) ?? 0);
    if (cooldown < sure && scaler.type === 'rabbitmq')
      report(
        'cooldown-short',
        ['spec', 'cooldownPeriod'],
        `${cooldown} s is less than the ${sure} s after which RabbitMQ’s zero is sure`,
        { fix: `${Math.ceil(sure / 30) * 30} or more` },
      );
    else if (cooldown < STATISTICS_SECONDS)
      report(
        'cooldown-short',
        ['spec', 'cooldownPeriod'],
        `after ${cooldown} s without work the last worker is stopped: workers come and go with every message`,
        { fix: '30 or more' },
      );
  }
  if (isTrue(metadata['unsafeSsl']) && scaler.type === 'rabbitmq')
    report(
      'certificate-unchecked',
      keyPath(location, 'unsafeSsl'),
      'any certificate is taken: whoever stands between sees the password',
      { fix: 'ca in a TriggerAuthentication' },
    );
  if (isTrue(metadata['insecureSkipVerify']))
    report(
      'certificate-unchecked',
      keyPath(location, 'insecureSkipVerify'),
      'any certificate is taken: whoever stands between sees the password',
      { fix: 'ca in a TriggerAuthentication' },
    );
}

function checkRabbit(location: TriggerLocation, { value, metadata }: Known, toZero: boolean): void {
  const { report, metricType } = location;
  const mode = value('mode') ?? 'QueueLength';
  const amqp = /^amqps?:/i.test(value('host') ?? '');
  const excluded = isTrue(value('excludeUnacknowledged'));
  if (toZero && excluded)
    report(
      'busy-excluded',
      keyPath(location, 'excludeUnacknowledged'),
      'with minReplicaCount 0 the worker of the last message may be stopped while it works',
      {
        fix: 'leave it out, or set minReplicaCount to 1',
      },
    );
  if (toZero && amqp && value('management') === 'off' && !excluded)
    report(
      'busy-unseen',
      keyPath(location, 'management'),
      'without the management API nobody sees unacknowledged messages: a job longer than busyFor may lose its worker',
      {
        fix: 'management: auto, or a busyFor longer than the longest job',
      },
    );
  const queue = metadata['queueName'] ?? '';
  if (!/^(?:0|f)/i.test(value('useRegex') ?? 'false')) {
    if (/^\*|^[\w.-]*\*$/.test(queue) && !/[.)\]]\*$/.test(queue))
      report(
        'pattern-suspicious',
        keyPath(location, 'queueName'),
        'this looks like a glob; as a regular expression * repeats what stands before it',
        { fix: queue.replaceAll('*', '.*') },
      );
  } else if (/[*^$|()[\]\\]|\.\+/.test(queue)) {
    report(
      'pattern-suspicious',
      keyPath(location, 'queueName'),
      'this looks like a regular expression, but is taken as the name of one queue',
      { fix: 'useRegex: "true"' },
    );
  }
  if (value('onMissingQueue') === 'zero')
    report('missing-is-zero', keyPath(location, 'onMissingQueue'), 'a misspelt queue name passes for an empty queue', {
      fix: 'error, unless the queue comes and goes',
    });
  const target = Number(value('value') ?? value('queueLength') ?? 20);
  const activation = Number(value('activationValue') ?? 0);
  if (toZero && mode === 'QueueLength' && activation > 0)
    report(
      'activation-high',
      keyPath(location, 'activationValue'),
      `up to ${activation} messages wait for ever while there is no worker${activation >= target ? `, and the target is ${target}` : ''}`,
      { fix: '"0"' },
    );
  const spec = location.object.data['spec'];
  const triggers = isRecord(spec) && Array.isArray(spec['triggers']) ? spec['triggers'].length : 1;
  if ((mode === 'MessageRate' || mode === 'DeliverGetRate') && triggers === 1)
    report(
      'rate-only',
      keyPath(location, 'mode'),
      'a rate says nothing of the backlog: after a burst it is worked off by the least number of workers',
      { fix: 'a second trigger with mode QueueLength' },
    );
  if (
    (mode === 'PublishedToDeliveredRatio' || mode === 'ExpectedQueueConsumptionTime' || mode === 'DeliverGetRate') &&
    metricType !== 'Value'
  )
    report(
      'average-of-ratio',
      keyPath(location, 'mode'),
      `${mode} does not grow with the number of workers, but is divided by it`,
      {
        fix: 'metricType: Value',
      },
    );
}

function checkLists(location: TriggerLocation, { value, metadata }: Known): void {
  const { report } = location;
  const names = metadata['listName'] ?? '';
  if (/(?:^|:)(?:bull|bullmq):/.test(names) && !/:(?:wait|prioritized|paused|active|delayed)/.test(names))
    report('pattern-suspicious', keyPath(location, 'listName'), 'BullMQ keeps waiting jobs under PREFIX:QUEUE:wait', {
      fix: `${names}:wait`,
    });
  if (/[*?]/.test(names) && !isTrue(value('requireMatch')))
    report('missing-is-zero', keyPath(location, 'listName'), 'a pattern that matches no key passes for an empty queue', {
      fix: 'requireMatch: "true"',
    });
  const activation = Number(value('activationListLength') ?? 0);
  if (minReplicas(location.object) === 0 && activation > 0)
    report(
      'activation-high',
      keyPath(location, 'activationListLength'),
      `up to ${activation} messages wait for ever while there is no worker`,
      { fix: '"0"' },
    );
}

function checkStreams(location: TriggerLocation, { value }: Known): void {
  const { report } = location;
  if (value('consumerGroup') === undefined && location.metadata['consumerGroup'] === undefined)
    report(
      'stream-never-empty',
      keyPath(location, 'stream'),
      'without consumerGroup the length counts, which acknowledging does not lower',
      { part: 'key', fix: 'consumerGroup' },
    );
  const activation = Number(value('activationLagCount') ?? 0);
  if (minReplicas(location.object) === 0 && activation > 0)
    report(
      'activation-high',
      keyPath(location, 'activationLagCount'),
      `up to ${activation} entries wait for ever while there is no worker`,
      { fix: '"0"' },
    );
}

/** A duration as the keys take it, in seconds. */
function seconds(text: string | undefined): number | undefined {
  const [, amount, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text ?? '') ?? [];
  if (amount === undefined) return undefined;
  return (Number(amount) * ({ ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[unit ?? 'ms'] ?? 1)) / 1000;
}
