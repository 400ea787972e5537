/**
 * What people write instead of a key or field because another version, another scaler or common sense calls it so; a nearest name by
 * spelling would miss these.
 */
import type { Path } from '../yaml/objects.ts';

/** The right name, where there is one, and what to do. */
export interface OtherName {
  readonly name?: string;
  readonly advice: string;
}

/** The usual advice, with a word more where that is needed. */
const write = (name: string, more = ''): OtherName => ({ name, advice: `write ${name}${more}` });

/** Wrong name in lower case → what to do, for the keys of a trigger; scalers are told apart by prefix. */
const KEYS: Readonly<Record<string, Readonly<Record<string, OtherName>>>> = {
  rabbitmq: {
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
    includeunacked: {
      name: 'excludeUnacknowledged',
      advice: 'unacknowledged messages count unless excludeUnacknowledged is true',
    },
    countunacked: { name: 'excludeUnacknowledged', advice: 'unacknowledged messages count unless excludeUnacknowledged is true' },
    length: { name: 'value', advice: 'write mode: QueueLength and value' },
    threshold: write('value'),
    target: write('value'),
    targetvalue: write('value'),
    activationqueuelength: write('activationValue'),
    activationthreshold: write('activationValue'),
    regex: write('useRegex', ': "true"'),
    metricname: { advice: 'leave it out: KEDA makes the name itself since 2.10' },
  },
  redis: {
    url: write('address', ', which takes redis:// and rediss:// URLs'),
    uri: write('address', ', which takes redis:// and rediss:// URLs'),
    server: write('address'),
    list: write('listName'),
    key: write('listName'),
    queue: write('listName'),
    queuename: write('listName'),
    queuelength: write('listLength'),
    value: write('listLength'),
    length: write('listLength'),
    threshold: write('listLength'),
    activationvalue: write('activationListLength'),
    db: write('databaseIndex'),
    database: write('databaseIndex'),
    user: write('username'),
    ssl: write('tls', ': enable, or a rediss:// address'),
    master: write('sentinelMaster'),
    mastername: write('sentinelMaster'),
    metricname: { advice: 'leave it out: KEDA makes the name itself since 2.10' },
  },
  streams: {
    streamname: write('stream'),
    group: write('consumerGroup'),
    lag: write('lagCount'),
    pending: write('pendingEntriesCount'),
    activationvalue: write('activationLagCount'),
    listname: write('stream', ', or use the scaler for lists'),
  },
};

/** The right key for a name that a person may have from elsewhere. */
export function otherNameOfKey(scaler: string, key: string): OtherName | undefined {
  const word = key.toLowerCase();
  const family = scaler.startsWith('redis') ? 'redis' : scaler;
  for (const table of [...(scaler.endsWith('streams') ? ['streams'] : []), family]) {
    const names = KEYS[table];
    if (names !== undefined && Object.hasOwn(names, word)) return names[word];
  }
  return undefined;
}

const SCALED_OBJECT_ONLY: ReadonlySet<string> = new Set([
  'cooldownPeriod',
  'idleReplicaCount',
  'fallback',
  'advanced',
  'scaleTargetRef',
]);

/** What to do about a field of an object that stands in the wrong place or is called otherwise. */
export function otherNameOfField(kind: string, path: Path, field: string): string | undefined {
  const parent = path.at(-1);
  if (kind === 'ScaledJob' && path.length === 1 && SCALED_OBJECT_ONLY.has(field))
    return 'that is a field of ScaledObject, not of ScaledJob';
  if (
    kind === 'ScaledObject' &&
    path.length === 1 &&
    (field === 'jobTargetRef' || field === 'scalingStrategy' || field === 'rollout')
  )
    return 'that is a field of ScaledJob, not of ScaledObject';
  if (parent === 'scaleTargetRef' && (field === 'deploymentName' || field === 'containerName'))
    return field === 'deploymentName' ? 'write name, as since KEDA 2' : 'write envSourceContainerName, as since KEDA 2';
  if (path.length === 1 && field === 'behavior') return 'it belongs to spec.advanced.horizontalPodAutoscalerConfig';
  if (parent === 'advanced' && field === 'behavior') return 'it belongs to advanced.horizontalPodAutoscalerConfig';
  if (path.length === 1 && (field === 'minReplicas' || field === 'maxReplicas'))
    return `write ${field}Count`.replace('ReplicasCount', 'ReplicaCount');
  if (typeof parent === 'number' && path.at(-2) === 'triggers') {
    if (field === 'authRef' || field === 'auth') return 'write authenticationRef';
    if (field === 'pollingInterval' || field === 'cooldownPeriod') return 'it belongs to spec';
    if (field === 'triggerMetadata') return 'write metadata';
  }
  if (parent === 'metadata' && path.includes('triggers') && (field === 'authenticationRef' || field === 'metricType'))
    return 'it belongs beside metadata';
  return undefined;
}
