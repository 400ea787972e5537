/**
 * The figures that a reading of RabbitMQ queues can hold.
 */

export type MeasureName =
  | 'ready' // waiting for a consumer
  | 'unacknowledged' // held by a consumer
  | 'messages' // ready + unacknowledged
  | 'consumers'
  | 'mayBeBusy' // consumers that may hold messages, where nobody says how many they hold
  | 'publishRate'
  | 'deliverRate'
  | 'acknowledgeRate'
  | 'shardsWithWork';

export type Measures = Readonly<Partial<Record<MeasureName, number>>>;
