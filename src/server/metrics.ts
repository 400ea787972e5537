/**
 * Every metric that the program exports, in one registry. No label may hold what a user can make up without end.
 */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import { status } from '@grpc/grpc-js';
import type { WatchState } from '../auth/credentials.ts';
import type { BrokerEvents } from '../scalers/brokerEvents.ts';
import type { CallEnd } from './grpc/adapt.ts';
import type { CallSubject } from './grpc/externalScaler.ts';
import type { Refusal } from './grpc/listener.ts';

const CALL_BUCKETS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2];
const AGE_BUCKETS_S = [0.01, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60];
const SWEEP_BUCKETS_S = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const WAKE_BUCKETS_S = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 3];

export interface Metrics {
  readonly registry: Registry;
  readonly brokerEvents: BrokerEvents;
  call(end: CallEnd<CallSubject>): void;
  readonly woke: (ms: number) => void;
  connectionRefused(why: Refusal): void;
  certificate(event: { readonly expiresAt: Date } | 'failed'): void;
}

/** What is read when the metrics are asked for. */
export interface Gauges {
  connections(): number;
  streams(): number;
  triggers(): number;
  /** What of Kubernetes is kept in memory. */
  watches(): readonly WatchState[];
}

export function createMetrics(version: string, gauges: Gauges): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });

  const counter = (name: string, help: string, ...labelNames: string[]) => new Counter({ name, help, labelNames, registers });
  const gauge = (name: string, help: string, ...labelNames: string[]) => new Gauge({ name, help, labelNames, registers });
  const histogram = (name: string, help: string, buckets: number[], ...labelNames: string[]) =>
    new Histogram({ name, help, buckets, labelNames, registers });

  gauge('queue_scaler_build_info', 'Always 1; the version is a label.', 'version').labels(version).set(1);
  const readNow: [string, string, () => number][] = [
    ['queue_scaler_grpc_connections', 'Connections from callers that are open now.', () => gauges.connections()],
    ['queue_scaler_grpc_streams', 'Streams that are open now.', () => gauges.streams()],
    ['queue_scaler_triggers', 'Triggers that are remembered.', () => gauges.triggers()],
  ];
  for (const [name, help, read] of readNow) {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  }
  const refusals = counter('queue_scaler_grpc_connections_refused_total', 'Connections that were refused, by reason.', 'reason');
  const expiry = gauge(
    'queue_scaler_certificate_expiry_timestamp_seconds',
    'When the certificate that is served ends, in seconds since 1970; 0 without TLS.',
  );
  const badCertificates = counter(
    'queue_scaler_certificate_failures_total',
    'Changes of the certificate files that could not be used.',
  );
  const calls = histogram(
    'queue_scaler_grpc_call_duration_seconds',
    'Calls answered and streams ended, by method and gRPC status; the duration of a stream is its life.',
    CALL_BUCKETS_S,
    'method',
    'code',
  );
  const failures = counter(
    'queue_scaler_errors_total',
    'Calls that ended in an error, by the code in the table of errors.',
    'code',
  );
  const answers = counter(
    'queue_scaler_answers_total',
    'GetMetrics and IsActive answered, by scaler and outcome: known, held (the last known reading stood in), or the error’s code.',
    'scaler',
    'outcome',
  );
  const ages = histogram(
    'queue_scaler_answer_reading_age_seconds',
    'Age of the reading that GetMetrics and IsActive were answered from, by scaler and reader.',
    AGE_BUCKETS_S,
    'scaler',
    'reader',
  );
  const readings = counter(
    'queue_scaler_readings_total',
    'Readings from brokers, by the reader that answered and the outcome: known, or the error’s code.',
    'reader',
    'outcome',
  );
  const sweeps = histogram('queue_scaler_sweep_duration_seconds', 'Rounds of questions to one broker.', SWEEP_BUCKETS_S);
  const questions = counter(
    'queue_scaler_sweep_questions_total',
    'Questions that sweeps carried, by whether the answer became known.',
    'answer',
  );
  const connections = gauge('queue_scaler_broker_connections', 'Connections to brokers that are open now.');
  const polled = gauge(
    'queue_scaler_broker_connections_polled',
    'Connections to servers that refuse to report changes: sleeping queues are polled over them.',
  );
  const troubles = counter(
    'queue_scaler_broker_troubles_total',
    'Connections and requests to brokers that failed, by the error’s code.',
    'code',
  );
  const wakes = histogram(
    'queue_scaler_wake_duration_seconds',
    'From the broker’s answer that there is work to the push that tells KEDA.',
    WAKE_BUCKETS_S,
  );
  new Gauge({
    name: 'queue_scaler_kubernetes_watch_age_seconds',
    help: 'Time since the API server was last heard of a watched kind. A healthy watch hears once a minute at least.',
    labelNames: ['kind'],
    registers,
    collect() {
      for (const { kind, ageMs } of gauges.watches()) this.labels(kind).set(ageMs / 1000);
    },
  });
  new Gauge({
    name: 'queue_scaler_kubernetes_objects',
    help: 'Objects of a watched kind that are known.',
    labelNames: ['kind'],
    registers,
    collect() {
      for (const { kind, objects } of gauges.watches()) this.labels(kind).set(objects);
    },
  });

  const child = childrenOnce();
  const openByEndpoint = new Map<string, number>();
  const polledByBroker = new Map<string, number>();
  return {
    registry,
    brokerEvents: {
      batchRead({ asked, known, ms }) {
        sweeps.observe(ms / 1000);
        questions.labels('known').inc(known);
        questions.labels('unknown').inc(asked - known);
      },
      reading({ reading }) {
        if (reading.known) child(readings, reading.reader, 'known').inc();
        else readings.labels('none', reading.error.code).inc();
      },
      connections({ broker, endpoint, open }) {
        const key = `${broker.key} ${endpoint}`;
        connections.inc(open - (openByEndpoint.get(key) ?? 0));
        if (open > 0) openByEndpoint.set(key, open);
        else openByEndpoint.delete(key);
      },
      withoutPush({ broker: { key }, connections: now }) {
        polled.inc(now - (polledByBroker.get(key) ?? 0));
        if (now > 0) polledByBroker.set(key, now);
        else polledByBroker.delete(key);
      },
      failure({ error }) {
        troubles.labels(error.code).inc();
      },
    },
    call({ method, about, ms, error }) {
      child(calls, method, error === undefined ? status[status.OK] : error.spec.grpc).observe(ms / 1000);
      if (error !== undefined) failures.labels(error.code).inc();
      const { trigger, sample } = about;
      if (trigger === undefined || (method !== 'GetMetrics' && method !== 'IsActive')) return;
      const { type } = trigger.scaler;
      if (sample === undefined) {
        if (error !== undefined) answers.labels(type, error.code).inc();
        return;
      }
      child(answers, type, error?.code ?? (sample.reading.since === undefined ? 'known' : 'held')).inc();
      child(ages, type, sample.reading.reader).observe((performance.now() - sample.reading.at) / 1000);
    },
    woke(ms) {
      wakes.observe(ms / 1000);
    },
    connectionRefused(why) {
      refusals.labels(why).inc();
    },
    certificate(event) {
      if (event === 'failed') badCertificates.inc();
      else expiry.set(event.expiresAt.getTime() / 1000);
    },
  };
}

interface Labelled<Child> {
  labels(first: string, second: string): Child;
}

/** Finding a child by its labels costs prom-client as much as counting: those of every call are found once. */
function childrenOnce(): <Child>(metric: Labelled<Child>, first: string, second: string) => Child {
  const found = new Map<Labelled<unknown>, Map<string, Map<string, unknown>>>();
  return <Child>(metric: Labelled<Child>, first: string, second: string): Child => {
    const bySecond = inner(inner(found, metric), first);
    let child = bySecond.get(second) as Child | undefined;
    if (child === undefined) bySecond.set(second, (child = metric.labels(first, second)));
    return child;
  };
}

function inner<Key, InnerKey, Value>(outer: Map<Key, Map<InnerKey, Value>>, key: Key): Map<InnerKey, Value> {
  let map = outer.get(key);
  if (map === undefined) outer.set(key, (map = new Map<InnerKey, Value>()));
  return map;
}
