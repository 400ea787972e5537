/**
 * The keys of KEDA's own RabbitMQ and Redis triggers, and the trigger types that KEDA 2.20 has. https://keda.sh/docs/latest/scalers/
 */

/** M: metadata, A: authentication, E: `…FromEnv` in metadata. */
export type Places = `${'M' | ''}${'A' | ''}${'E' | ''}`;
export type Keys = Readonly<Record<string, Places>>;

const RABBITMQ_KEYS: Keys = {
  queueName: 'M',
  host: 'MAE',
  protocol: 'MA',
  mode: 'M',
  value: 'M',
  queueLength: 'M',
  activationValue: 'M',
  vhostName: 'MA',
  useRegex: 'M',
  excludeUnacknowledged: 'M',
  pageSize: 'M',
  operation: 'M',
  timeout: 'M',
  unsafeSsl: 'M',
  username: 'AE',
  password: 'AE',
  ca: 'A',
  cert: 'A',
  key: 'A',
  keyPassword: 'A',
  tls: 'A',
  workloadIdentityResource: 'A',
  oauthTokenURI: 'A',
  clientID: 'A',
  clientSecret: 'A',
  scopes: 'A',
  scope: 'A',
  endpointParams: 'A',
};

const REDIS_CONNECTION_KEYS: Keys = {
  address: 'MAE',
  addresses: 'MAE',
  host: 'MAE',
  hosts: 'MAE',
  port: 'MAE',
  ports: 'MAE',
  username: 'MAE',
  password: 'MAE',
  unsafeSsl: 'M',
  enableTLS: 'M',
  databaseIndex: 'M',
  tls: 'A',
  Cert: 'A',
  cert: 'A',
  key: 'A',
  keyPassword: 'A',
  ca: 'A',
};
const SENTINEL_KEYS: Keys = { sentinelUsername: 'MAE', sentinelPassword: 'MAE', sentinelMaster: 'MAE' };
const LIST_KEYS: Keys = { listName: 'M', listLength: 'M', activationListLength: 'M' };
const STREAM_KEYS: Keys = {
  stream: 'M',
  consumerGroup: 'M',
  pendingEntriesCount: 'M',
  streamLength: 'M',
  lagCount: 'M',
  activationLagCount: 'M',
};

/** KEDA's own scalers that this program can stand in for, with their keys. */
export const BUILT_IN: Readonly<Record<string, Keys>> = {
  rabbitmq: RABBITMQ_KEYS,
  redis: { ...LIST_KEYS, ...REDIS_CONNECTION_KEYS },
  'redis-cluster': { ...LIST_KEYS, ...REDIS_CONNECTION_KEYS },
  'redis-sentinel': { ...LIST_KEYS, ...REDIS_CONNECTION_KEYS, ...SENTINEL_KEYS },
  'redis-streams': { ...STREAM_KEYS, ...REDIS_CONNECTION_KEYS },
  'redis-cluster-streams': { ...STREAM_KEYS, ...REDIS_CONNECTION_KEYS },
  'redis-sentinel-streams': { ...STREAM_KEYS, ...REDIS_CONNECTION_KEYS, ...SENTINEL_KEYS },
};

/** The types that KEDA 2.20 has. */
export const TRIGGER_TYPES: readonly string[] = [
  ...Object.keys(BUILT_IN),
  'external',
  'external-push',
  ...'activemq apache-kafka arangodb artemis-queue aws-cloudwatch aws-dynamodb aws-dynamodb-streams aws-kinesis-stream aws-sqs-queue azure-app-insights azure-blob azure-data-explorer azure-eventhub azure-log-analytics azure-monitor azure-pipelines azure-queue azure-servicebus beanstalkd cassandra couchdb cpu cron datadog dynatrace elasticsearch elastic-forecast etcd forgejo-runner gcp-cloudtasks gcp-pubsub gcp-stackdriver gcp-storage github-runner gitlab-runner graphite huawei-cloudeye ibmmq influxdb kafka kubernetes-resource kubernetes-workload liiklus loki memory metrics-api mongodb mssql mysql nats-jetstream new-relic nsq openstack-metric openstack-swift postgresql predictkube prometheus pulsar selenium-grid solace-event-queue solace-direct-messaging solarwinds solr splunk splunk-observability stan sumologic temporal'.split(
    ' ',
  ),
];
