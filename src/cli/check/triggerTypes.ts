/**
 * The trigger types that KEDA 2.20 has beside those that this program's scalers stand in for, and the names of its documentation's pages
 * where they differ from the type. https://keda.sh/docs/latest/scalers/
 */
import type { KnownScaler } from '../knownScalers.ts';

const words = (text: string): readonly string[] => text.split(/\s+/);

export const OTHER_TRIGGER_TYPES: readonly string[] = words(
  `external external-push
  activemq apache-iggy apache-kafka arangodb artemis-queue aws-cloudwatch aws-dynamodb aws-dynamodb-streams aws-kinesis-stream
  aws-sqs-queue azure-app-insights azure-blob azure-cosmosdb azure-data-explorer azure-eventhub azure-log-analytics azure-monitor
  azure-pipelines azure-queue azure-servicebus beanstalkd cassandra couchdb cpu cron datadog dynatrace elastic-forecast elasticsearch
  etcd forgejo-runner gcp-cloudtasks gcp-pubsub gcp-stackdriver gcp-storage github-runner gitlab-runner graphite huawei-cloudeye
  ibmmq influxdb ionos-monitoring kafka kubernetes-resource kubernetes-workload liiklus loki memory metrics-api mongodb mssql mysql
  nats-jetstream new-relic nsq openstack-metric openstack-swift opensearch postgresql predictkube prometheus pulsar selenium-grid
  solace-direct-messaging solace-event-queue solarwinds solr splunk splunk-observability stan sumologic temporal`,
);

/** The type that a page of KEDA's documentation describes, by the page's name in its address. */
const TYPE_OF_PAGE: Readonly<Record<string, string>> = {
  'apache-kafka-go': 'apache-kafka',
  artemis: 'artemis-queue',
  'aws-kinesis': 'aws-kinesis-stream',
  'aws-sqs': 'aws-sqs-queue',
  'azure-event-hub': 'azure-eventhub',
  'azure-service-bus': 'azure-servicebus',
  'azure-storage-blob': 'azure-blob',
  'azure-storage-queue': 'azure-queue',
  forgejo: 'forgejo-runner',
  'gcp-cloud-tasks': 'gcp-cloudtasks',
  'gcp-pub-sub': 'gcp-pubsub',
  'ibm-mq': 'ibmmq',
  'liiklus-topic': 'liiklus',
  'nats-streaming': 'stan',
  'selenium-grid-scaler': 'selenium-grid',
  'solace-pub-sub': 'solace-event-queue',
  'solace-pub-sub-dm': 'solace-direct-messaging',
};

/** The type meant by a name that is one of the documentation's pages, however its words are joined. */
export function typeOfPage(name: string, scalers: readonly KnownScaler[]): string | undefined {
  const page = name.toLowerCase().replaceAll(/[_ ]/g, '-');
  const known = scalers.find(({ advice }) => advice.page === page)?.scaler.type;
  return known ?? (Object.hasOwn(TYPE_OF_PAGE, page) ? TYPE_OF_PAGE[page] : undefined);
}
