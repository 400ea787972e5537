/**
 * What people write instead of a key or field because another version, another scaler or common sense calls it so; a nearest name by
 * spelling would miss these.
 */
import type { Path } from '../yaml/objects.ts';

/** Wrong name in lower case → what to do, for the keys of a trigger; scalers are told apart by prefix. */
const KEYS: Readonly<Record<string, Readonly<Record<string, { readonly name?: string; readonly advice: string }>>>> = {
  rabbitmq: {
    apihost: { name: 'host', advice: 'give the http(s):// URL as host' },
    apihostfromenv: { name: 'hostFromEnv', advice: 'give the http(s):// URL as hostFromEnv' },
    url: { name: 'host', advice: 'write host' },
    uri: { name: 'host', advice: 'write host' },
    address: { name: 'host', advice: 'write host, with a URL such as amqp://broker:5672/vhost' },
    port: { name: 'host', advice: 'the port is a part of host: amqp://broker:5672/vhost' },
    queue: { name: 'queueName', advice: 'write queueName' },
    listname: { name: 'queueName', advice: 'write queueName' },
    vhost: { name: 'vhostName', advice: 'write vhostName' },
    virtualhost: { name: 'vhostName', advice: 'write vhostName' },
    user: { name: 'username', advice: 'write username, in a TriggerAuthentication' },
    publishrate: { name: 'mode', advice: 'write mode: MessageRate and value' },
    includeunacked: {
      name: 'excludeUnacknowledged',
      advice: 'unacknowledged messages count unless excludeUnacknowledged is true',
    },
    countunacked: { name: 'excludeUnacknowledged', advice: 'unacknowledged messages count unless excludeUnacknowledged is true' },
    length: { name: 'value', advice: 'write mode: QueueLength and value' },
    threshold: { name: 'value', advice: 'write value' },
    target: { name: 'value', advice: 'write value' },
    targetvalue: { name: 'value', advice: 'write value' },
    activationqueuelength: { name: 'activationValue', advice: 'write activationValue' },
    activationthreshold: { name: 'activationValue', advice: 'write activationValue' },
    regex: { name: 'useRegex', advice: 'write useRegex: "true"' },
    metricname: { advice: 'leave it out: KEDA makes the name itself since 2.10' },
  },
  redis: {
    url: { name: 'address', advice: 'write address, which takes redis:// and rediss:// URLs' },
    uri: { name: 'address', advice: 'write address, which takes redis:// and rediss:// URLs' },
    server: { name: 'address', advice: 'write address' },
    list: { name: 'listName', advice: 'write listName' },
    key: { name: 'listName', advice: 'write listName' },
    queue: { name: 'listName', advice: 'write listName' },
    queuename: { name: 'listName', advice: 'write listName' },
    queuelength: { name: 'listLength', advice: 'write listLength' },
    value: { name: 'listLength', advice: 'write listLength' },
    length: { name: 'listLength', advice: 'write listLength' },
    threshold: { name: 'listLength', advice: 'write listLength' },
    activationvalue: { name: 'activationListLength', advice: 'write activationListLength' },
    db: { name: 'databaseIndex', advice: 'write databaseIndex' },
    database: { name: 'databaseIndex', advice: 'write databaseIndex' },
    user: { name: 'username', advice: 'write username' },
    ssl: { name: 'tls', advice: 'write tls: enable, or a rediss:// address' },
    master: { name: 'sentinelMaster', advice: 'write sentinelMaster' },
    mastername: { name: 'sentinelMaster', advice: 'write sentinelMaster' },
    metricname: { advice: 'leave it out: KEDA makes the name itself since 2.10' },
  },
  streams: {
    streamname: { name: 'stream', advice: 'write stream' },
    group: { name: 'consumerGroup', advice: 'write consumerGroup' },
    lag: { name: 'lagCount', advice: 'write lagCount' },
    pending: { name: 'pendingEntriesCount', advice: 'write pendingEntriesCount' },
    activationvalue: { name: 'activationLagCount', advice: 'write activationLagCount' },
    listname: { name: 'stream', advice: 'write stream, or use the scaler for lists' },
  },
};

/** The right key for a name that a person may have from elsewhere. */
export function otherNameOfKey(scaler: string, key: string): { readonly name?: string; readonly advice: string } | undefined {
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
