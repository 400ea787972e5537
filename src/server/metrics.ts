/**
 * Every metric that the program exports, with unit and labels, in one registry of its own. It only listens: nothing may depend on
 * a metric, and no label may hold what a user can make up without end.
 */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import { status } from '@grpc/grpc-js';
import type { SamplerEvents } from '../scalers/events.ts';
import type { CallEnd } from './grpc/adapt.ts';

const CALL_BUCKETS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2];
const SWEEP_BUCKETS_S = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const WAKE_BUCKETS_S = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 3];

export interface Metrics {
  readonly registry: Registry;
  readonly samplerEvents: SamplerEvents;
  call(end: CallEnd): void;
  woke(ms: number): void;
}

export function createMetrics(version: string): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });

  new Gauge({ name: 'queue_scaler_build_info', help: 'Always 1; the version is a label.', labelNames: ['version'], registers })
    .labels(version)
    .set(1);
  const calls = new Histogram({
    name: 'queue_scaler_grpc_call_duration_seconds',
    help: 'Calls answered and streams ended, by method and gRPC status; the duration of a stream is its life.',
    labelNames: ['method', 'code'],
    buckets: CALL_BUCKETS_S,
    registers,
  });
  const failures = new Counter({
    name: 'queue_scaler_errors_total',
    help: 'Calls that ended in an error, by the code in the table of errors.',
    labelNames: ['code'],
    registers,
  });
  const readings = new Counter({
    name: 'queue_scaler_readings_total',
    help: 'Readings from brokers, by the reader that answered and the outcome: known, or the error’s code.',
    labelNames: ['reader', 'outcome'],
    registers,
  });
  const sweeps = new Histogram({
    name: 'queue_scaler_sweep_duration_seconds',
    help: 'Rounds of questions to one broker.',
    buckets: SWEEP_BUCKETS_S,
    registers,
  });
  const questions = new Counter({
    name: 'queue_scaler_sweep_questions_total',
    help: 'Questions that sweeps carried, by whether the answer became known.',
    labelNames: ['answer'],
    registers,
  });
  const connections = new Gauge({
    name: 'queue_scaler_broker_connections',
    help: 'Connections to brokers that are open now.',
    registers,
  });
  const troubles = new Counter({
    name: 'queue_scaler_broker_troubles_total',
    help: 'Connections and requests to brokers that failed, by the error’s code.',
    labelNames: ['code'],
    registers,
  });
  const wakes = new Histogram({
    name: 'queue_scaler_wake_duration_seconds',
    help: 'From the broker’s answer that there is work to the push that tells KEDA.',
    buckets: WAKE_BUCKETS_S,
    registers,
  });

  const openByEndpoint = new Map<string, number>();
  return {
    registry,
    samplerEvents: {
      swept({ asked, known, ms }) {
        sweeps.observe(ms / 1000);
        questions.labels('known').inc(known);
        questions.labels('unknown').inc(asked - known);
      },
      reading({ reading }) {
        if (reading.known) readings.labels(reading.reader, 'known').inc();
        else readings.labels('none', reading.error.code).inc();
      },
      connections({ broker, endpoint, open }) {
        const key = `${broker.key} ${endpoint}`;
        connections.inc(open - (openByEndpoint.get(key) ?? 0));
        if (open > 0) openByEndpoint.set(key, open);
        else openByEndpoint.delete(key);
      },
      trouble({ error }) {
        troubles.labels(error.code).inc();
      },
    },
    call({ method, ms, error }) {
      calls.labels(method, error === undefined ? status[status.OK] : error.row.grpc).observe(ms / 1000);
      if (error !== undefined) failures.labels(error.code).inc();
    },
    woke(ms) {
      wakes.observe(ms / 1000);
    },
  };
}
