/**
 * The trigger types that KEDA 2.20 has beside those that this program's scalers stand in for. https://keda.sh/docs/latest/scalers/
 */

export const OTHER_TRIGGER_TYPES: readonly string[] = [
  'external',
  'external-push',
  ...'activemq apache-kafka arangodb artemis-queue aws-cloudwatch aws-dynamodb aws-dynamodb-streams aws-kinesis-stream aws-sqs-queue azure-app-insights azure-blob azure-data-explorer azure-eventhub azure-log-analytics azure-monitor azure-pipelines azure-queue azure-servicebus beanstalkd cassandra couchdb cpu cron datadog dynatrace elasticsearch elastic-forecast etcd forgejo-runner gcp-cloudtasks gcp-pubsub gcp-stackdriver gcp-storage github-runner gitlab-runner graphite huawei-cloudeye ibmmq influxdb kafka kubernetes-resource kubernetes-workload liiklus loki memory metrics-api mongodb mssql mysql nats-jetstream new-relic nsq openstack-metric openstack-swift postgresql predictkube prometheus pulsar selenium-grid solace-event-queue solace-direct-messaging solarwinds solr splunk splunk-observability stan sumologic temporal'.split(
    ' ',
  ),
];
