/**
 * What `check` and `convert` know of KEDA's own RabbitMQ scaler and of settings of ours that mislead. KEDA 2.20,
 * https://keda.sh/docs/latest/scalers/rabbitmq-queue/
 */
import { isTrue } from '../../keda.ts';
import {
  checkBoolean,
  checkInProgress,
  checkNumber,
  inProgressInJob,
  inProgressOf,
  write,
  type Advice,
  type BuiltInKeys,
  type BuiltInPlaces,
  type BuiltInTrigger,
  type ExternalTrigger,
  type OtherName,
  type KeyChange,
  type ReportKey,
  type ScaledBy,
} from '../advice.ts';
import { nearestName } from '../metadata.ts';
import { MODES } from './decision.ts';
import { DEFAULT_TARGET, keys } from './keys.ts';
import { OPERATIONS } from './question.ts';

/** The management statistics are up to 10 s old, 5 s by default and once more by cache. */
const STATISTICS_SECONDS = 10;
const PROTOCOLS = ['amqp', 'http', 'auto'];

function readFrom(places: BuiltInPlaces, ...keys: readonly string[]): BuiltInKeys {
  return Object.fromEntries(keys.map((key) => [key, places]));
}

const BUILT_IN_KEYS: BuiltInKeys = {
  ...readFrom('M', 'queueName', 'mode', 'value', 'queueLength', 'activationValue', 'useRegex', 'excludeUnacknowledged'),
  ...readFrom('M', 'pageSize', 'operation', 'timeout', 'unsafeSsl'),
  ...readFrom('MAE', 'host'),
  ...readFrom('MA', 'protocol', 'vhostName'),
  ...readFrom('AE', 'username', 'password'),
  ...readFrom('A', 'ca', 'cert', 'key', 'keyPassword', 'tls', 'workloadIdentityResource'),
  ...readFrom('A', 'oauthTokenURI', 'clientID', 'clientSecret', 'scopes', 'scope', 'endpointParams'),
};

const unacknowledged: OtherName = {
  name: 'inProgress',
  advice: 'unacknowledged messages count unless inProgress is active or ignore',
};

const OTHER_NAMES: Readonly<Record<string, OtherName>> = {
  apihost: { name: 'host', advice: 'give the http(s):// URL as host' },
  apihostfromenv: { name: 'hostFromEnv', advice: 'give the http(s):// URL as hostFromEnv' },
  url: write('host'),
  uri: write('host'),
  address: write('host', ', with a URL such as amqp://broker:5672/vhost'),
  port: { name: 'host', advice: 'the port is a part of host: amqp://broker:5672/vhost' },
  queue: write('queueName'),
  listname: write('queueName'),
  vhost: write('vhostName'),
  virtualhost: write('vhostName'),
  user: write('username', ', in a TriggerAuthentication'),
  publishrate: write('mode', ': MessageRate and value'),
  includeunacked: unacknowledged,
  countunacked: unacknowledged,
  length: { name: 'value', advice: 'write mode: QueueLength and value' },
  threshold: write('value'),
  target: write('value'),
  targetvalue: write('value'),
  activationqueuelength: write('activationValue'),
  activationthreshold: write('activationValue'),
  regex: write('useRegex', ': "true"'),
};

export const advice: Advice = {
  builtInKeys: BUILT_IN_KEYS,
  required: ['queueName', 'host'],
  alsoCalled: /rabbit|amqp/i,
  page: 'rabbitmq-queue',
  otherNames: OTHER_NAMES,
  uncheckedCertificate: 'unsafeSsl',
  publicLogin: /:\/\/guest:guest@/,
  sureZero: {
    broker: 'RabbitMQ',
    seconds: (value) => Math.max(STATISTICS_SECONDS, (keys.confirmZero.schema.safeParse(value('confirmZero')).data ?? 0) / 1000),
  },
  checkBuiltIn,
  checkRisks,
  countsInProgress,
  differences,
  toBuiltIn,
};

function countsInProgress({ mode = 'QueueLength', excludeUnacknowledged }: Readonly<Record<string, string>>): boolean {
  return mode === 'QueueLength' && !isTrue(excludeUnacknowledged);
}

function toBuiltIn(key: string, value: string): KeyChange | undefined {
  if (key !== 'inProgress' || value.trim() !== 'ignore') return undefined;
  return { key: 'excludeUnacknowledged', value: 'true', why: 'KEDA’s own scaler calls it excludeUnacknowledged' };
}

function overAmqp({ protocol, host }: Readonly<Record<string, string>>): boolean {
  return protocol === 'amqp' || (protocol !== 'http' && /^amqps?:/.test(host ?? ''));
}

function isRate(mode: string | undefined): boolean {
  return mode !== 'QueueLength' && MODES.some((each) => each === mode);
}

function checkBuiltIn(trigger: BuiltInTrigger, report: ReportKey): void {
  const { host, protocol, mode, value, queueLength, operation, useRegex } = trigger.metadata;
  const amqp = overAmqp(trigger.metadata);
  if (host !== undefined && host !== '' && !/^(?:amqps?|https?):\/\//.test(host))
    report('bad-value', 'host', 'host must be an amqp://, amqps://, http:// or https:// URL');
  if (protocol !== undefined && !PROTOCOLS.includes(protocol))
    report('bad-value', 'protocol', 'protocol must be amqp, http or auto', { fix: nearestName(protocol, PROTOCOLS) });
  if (mode !== undefined && mode !== 'QueueLength' && !isRate(mode))
    report('bad-value', 'mode', `mode must be one of ${MODES.join(', ')}`, { fix: nearestName(mode, MODES) });
  if (queueLength !== undefined && (mode !== undefined || value !== undefined))
    report('bad-value', 'queueLength', 'queueLength together with mode or value is refused; use mode and value', { part: 'key' });
  else if (queueLength !== undefined)
    report('deprecated', 'queueLength', 'queueLength is deprecated', { part: 'key', fix: 'mode: QueueLength and value' });
  else if (mode !== undefined && value === undefined)
    report('missing-key', 'value', 'value is required with mode', { part: 'key' });
  else if (value !== undefined && mode === undefined)
    report('missing-key', 'mode', 'mode is required with value', { part: 'key' });
  for (const key of ['value', 'queueLength']) checkNumber(trigger, report, key, Number.MIN_VALUE);
  checkNumber(trigger, report, 'activationValue', 0);
  checkNumber(trigger, report, 'pageSize', 1);
  for (const key of ['useRegex', 'excludeUnacknowledged']) checkBoolean(trigger, report, key);
  if (amqp && isRate(mode)) report('bad-value', 'mode', `mode ${mode} needs the management API: an http(s):// host`);
  for (const key of ['useRegex', 'excludeUnacknowledged'])
    if (amqp && isTrue(trigger.metadata[key])) report('bad-value', key, `${key} needs the management API: an http(s):// host`);
  if (amqp && trigger.stopsWorkers && (mode === undefined || mode === 'QueueLength')) {
    report(
      'built-in-risk',
      host === undefined ? 'protocol' : 'host',
      'over AMQP KEDA counts ready messages only: a worker that holds the last message can be stopped',
      { fix: 'queue-scaler convert: this scaler counts unacknowledged messages too' },
    );
  }
  if (operation !== undefined && !OPERATIONS.some((each) => each === operation))
    report('bad-value', 'operation', 'operation must be one of sum, avg, max; KEDA tells it only once a queue matches', {
      fix: nearestName(operation, OPERATIONS),
    });
  if (operation === 'avg' && isTrue(useRegex))
    report('built-in-risk', 'operation', 'KEDA divides whole numbers: 3 messages in 4 queues are 0, and scale to zero');
  if (mode === 'ExpectedQueueConsumptionTime')
    report('built-in-risk', 'mode', 'up to KEDA 2.20 an empty idle queue is active for ever in this mode');
  if (isTrue(useRegex))
    report(
      'built-in-risk',
      'useRegex',
      'for KEDA an expression that matches no queue is 0 messages, and more than one page of queues an error',
    );
}

function checkRisks(trigger: ExternalTrigger, report: ReportKey): void {
  const { metadata, value, scalesToZero, stopsWorkers, hasFormula, jobCount, triggers, metricType } = trigger;
  const mode = value('mode') ?? 'QueueLength';
  const amqp = /^amqps?:/i.test(value('host') ?? '');
  const excluded = isTrue(value('excludeUnacknowledged'));
  const inProgress = inProgressOf(trigger, excluded ? 'ignore' : 'count');
  const forJobs = mode === 'QueueLength' ? trigger : { ...trigger, jobCount: undefined };
  checkInProgress(forJobs, report, inProgress, excluded ? 'excludeUnacknowledged' : 'inProgress');
  if (stopsWorkers && amqp && value('management') === 'off' && inProgress !== 'ignore')
    report(
      'busy-unseen',
      'management',
      'without the management API nobody sees unacknowledged messages: a job longer than busyFor may lose its worker',
      { fix: 'management: auto, or a busyFor longer than the longest job' },
    );
  checkPattern(metadata['queueName'] ?? '', value('useRegex') ?? 'false', report);
  if (value('onMissingQueue') === 'zero')
    report('missing-is-zero', 'onMissingQueue', 'a misspelt queue name passes for an empty queue', {
      fix: 'error, unless the queue comes and goes',
    });
  const target = Number(value('value') ?? value('queueLength') ?? DEFAULT_TARGET);
  const activation = Number(value('activationValue') ?? 0);
  if (scalesToZero && !hasFormula && mode === 'QueueLength' && activation > 0)
    report(
      'activation-high',
      'activationValue',
      `up to ${activation} messages wait for ever while there is no worker${activation >= target ? `, and the target is ${target}` : ''}`,
      { fix: '"0"' },
    );
  if ((mode === 'MessageRate' || (mode === 'DeliverGetRate' && jobCount === undefined)) && triggers === 1)
    report(
      'rate-only',
      'mode',
      'a rate says nothing of the backlog: after a burst it is worked off by the least number of workers',
      { fix: 'a second trigger with mode QueueLength' },
    );
  if (
    (mode === 'PublishedToDeliveredRatio' || mode === 'ExpectedQueueConsumptionTime' || mode === 'DeliverGetRate') &&
    metricType !== 'Value' &&
    !hasFormula
  )
    report(
      'average-of-ratio',
      'mode',
      jobCount === undefined
        ? `${mode} does not grow with the number of workers, but is divided by it`
        : `KEDA makes ${mode} divided by the target jobs, and ${mode} says nothing of how many messages wait`,
      { fix: jobCount === undefined ? 'metricType: Value' : 'mode: QueueLength' },
    );
}

function checkPattern(queue: string, useRegex: string, report: ReportKey): void {
  if (!/^(?:0|f)/i.test(useRegex)) {
    if (/^\*|^[\w.-]*\*$/.test(queue) && !/[.)\]]\*$/.test(queue))
      report(
        'pattern-suspicious',
        'queueName',
        'this looks like a glob; as a regular expression * repeats what stands before it',
        { fix: queue.replaceAll('*', '.*') },
      );
  } else if (/[*^$|()[\]\\]|\.\+/.test(queue)) {
    report('pattern-suspicious', 'queueName', 'this looks like a regular expression, but is taken as the name of one queue', {
      fix: 'useRegex: "true"',
    });
  }
}

function differences(metadata: Readonly<Record<string, string>>, by: ScaledBy): string[] {
  const { mode = 'QueueLength', host, activationValue, useRegex, operation, pageSize } = metadata;
  const excluded = isTrue(metadata['excludeUnacknowledged']);
  const lines: string[] = [];
  const inJob = countsInProgress(metadata) ? inProgressInJob(by, 'unacknowledged messages') : undefined;
  if (inJob !== undefined) lines.push(inJob);
  else if (mode === 'QueueLength' && overAmqp(metadata))
    lines.push(
      'unacknowledged messages count as well, so the metric is higher while workers are busy; inProgress: ignore counts as KEDA did over AMQP',
    );
  else if (mode === 'QueueLength' && host === undefined && !excluded)
    lines.push('if the host is an amqp:// URL, unacknowledged messages count as well; over HTTP they did already');
  if (!excluded && (mode !== 'QueueLength' || Number(activationValue ?? 0) > 0))
    lines.push('any unacknowledged message keeps the trigger active, even below activationValue');
  if (isTrue(useRegex)) {
    lines.push('an expression that matches no queue is an error, not 0; onMissingQueue: zero makes it 0');
    lines.push('all matching queues are counted, however many; look-around is not supported');
  }
  if (operation === 'avg') lines.push('an average keeps its fraction: 3 messages in 4 queues are 0.75, not 0');
  if (mode !== 'QueueLength') lines.push('rates are taken over rateWindow (30 s) from counters, not from single samples');
  if (mode === 'PublishedToDeliveredRatio' || mode === 'ExpectedQueueConsumptionTime')
    lines.push(
      'without deliveries the metric is 0 without consumers, and the target with consumers; KEDA reports activationValue',
    );
  if (mode === 'ExpectedQueueConsumptionTime') lines.push('an empty queue is inactive; up to KEDA 2.20 it never was');
  if (pageSize !== undefined) lines.push('pageSize has no effect: there are no pages');
  return lines;
}
