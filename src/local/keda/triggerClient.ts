/**
 * One external trigger of a ScaledObject as KEDA's operator speaks to its scaler: names, retries, precedence of fields and the
 * stream's reconnecting are KEDA's.
 */
import { Metadata, status, type ServiceError } from '@grpc/grpc-js';
import { onAbort } from '../../abort.ts';
import type {
  ExternalScalerClient,
  GetMetricSpecResponse,
  GetMetricsResponse,
  IsActiveResponse,
  MetricValue,
  ScaledObjectRef,
} from '../../server/grpc/gen/externalscaler.ts';
import type { MetricTargetType } from '../hpa/hpaMetrics.ts';
import { pause } from '../repeat.ts';

/** KEDA itself waits without end; a scaler answers much sooner than this. */
const CALL_TIMEOUT_MS = 10_000;
/** Waits between streams: after an orderly end always the first, after trouble doubling up to the last. */
const RECONNECT_FIRST_MS = 2_000;
const RECONNECT_LAST_MS = 60_000;

/** What the HPA knows of a metric: its name with the trigger's prefix, and its target. */
export interface TriggerMetric {
  readonly name: string;
  readonly target: number;
}

/** A metric as one GetMetrics and one IsActive have it. */
export interface MetricReading {
  readonly value: number;
  readonly active: boolean;
}

/** What a call came to. `status` is the gRPC status of an error. */
export type Answer<T> = { readonly ok: true; readonly value: T } | CallError;
export interface CallError {
  readonly ok: false;
  readonly error: string;
  readonly status: status;
  /** The cache of scalers was closed before the scaler could be asked, or asked once more. */
  readonly cacheClosed?: true;
}

export interface TriggerClient {
  readonly index: number;
  readonly type: 'external' | 'external-push';
  readonly targetType: MetricTargetType;
  readonly useCachedMetrics: boolean;
  /** GetMetricSpec, asked once more if it fails. `cache` aborts when the cache of scalers that the caller was given is closed. */
  metrics(signal: AbortSignal, cache: AbortSignal): Promise<Answer<readonly TriggerMetric[]>>;
  /** GetMetrics, then IsActive; both asked once more if either fails. `cache` as above. */
  read(metric: string, signal: AbortSignal, cache: AbortSignal): Promise<Answer<MetricReading>>;
  /** Holds StreamIsActive open until the signal aborts and tells each message. */
  stream(listener: StreamListener, signal: AbortSignal): Promise<void>;
}

export interface StreamListener {
  active(active: boolean): void;
  /** The stream ended; the next try follows in so many ms. */
  ended(reason: string, retryMs: number): void;
}

export interface TriggerClientOptions extends Pick<TriggerClient, 'index' | 'type' | 'targetType' | 'useCachedMetrics'> {
  readonly client: ExternalScalerClient;
  readonly reference: ScaledObjectRef;
}

export function createTriggerClient({ client, reference, ...options }: TriggerClientOptions): TriggerClient {
  const prefix = `s${options.index}-`;

  async function metrics(signal: AbortSignal): Promise<Answer<readonly TriggerMetric[]>> {
    const answer = await unary<GetMetricSpecResponse>('GetMetricSpec', signal, (call, done) =>
      client.getMetricSpec(reference, NONE, call, done),
    );
    if (!answer.ok) return answer;
    const { metricSpecs } = answer.value;
    if (metricSpecs.length === 0) return { ok: false, error: 'GetMetricSpec: got empty metric spec', status: status.UNKNOWN };
    const value = metricSpecs.map(({ metricName, targetSize, targetSizeFloat }) => ({
      name: `${prefix}${metricName}`,
      // Quantities reach the HPA in thousandths.
      target: Math.round((targetSizeFloat > 0 ? targetSizeFloat : targetSize) * 1000) / 1000,
    }));
    return { ok: true, value };
  }

  async function read(metric: string, signal: AbortSignal): Promise<Answer<MetricReading>> {
    const request = { scaledObjectRef: reference, metricName: metric.slice(prefix.length) };
    const values = await unary<GetMetricsResponse>('GetMetrics', signal, (call, done) =>
      client.getMetrics(request, NONE, call, done),
    );
    if (!values.ok) return values;
    const activity = await unary<IsActiveResponse>('IsActive', signal, (call, done) =>
      client.isActive(reference, NONE, call, done),
    );
    if (!activity.ok) return activity;
    // The HPA adds up all values that a query returns, whatever their names.
    const value = values.value.metricValues.reduce((sum, each) => sum + quantity(each), 0);
    return { ok: true, value: { value, active: activity.value.result } };
  }

  /** Undefined after an orderly end. */
  function streamOnce(listener: StreamListener, signal: AbortSignal): Promise<ServiceError | undefined> {
    return new Promise((resolve) => {
      const stream = client.streamIsActive(reference);
      const forget = onAbort(signal, () => {
        stream.cancel();
      });
      const finish = (error?: ServiceError): void => {
        forget();
        resolve(error);
      };
      stream.on('data', ({ result }: { result: boolean }) => {
        if (!signal.aborted) listener.active(result);
      });
      stream.on('end', () => {
        finish();
      });
      stream.on('error', finish);
    });
  }

  return {
    ...options,
    metrics: (signal, cache) => twice(() => metrics(signal), signal, cache),
    read: (metric, signal, cache) => twice(() => read(metric, signal), signal, cache),
    async stream(listener, signal) {
      let retryMs = RECONNECT_FIRST_MS;
      for (;;) {
        const error = await streamOnce(listener, signal);
        if (signal.aborted) return;
        // As in KEDA, a long healthy stream that breaks does not make the next wait short again: only an orderly end does.
        const waitMs = error === undefined ? RECONNECT_FIRST_MS : retryMs;
        retryMs = error === undefined ? RECONNECT_FIRST_MS : Math.min(RECONNECT_LAST_MS, retryMs * 2);
        listener.ended(error === undefined ? 'the scaler ended it' : error.message, waitMs);
        await pause(waitMs, signal);
      }
    },
  };
}

const NONE = new Metadata();

/** A float above zero counts, otherwise the integer; in thousandths, and never below zero, as KEDA hands it on. */
function quantity({ metricValue, metricValueFloat }: MetricValue): number {
  const value = metricValueFloat > 0 ? metricValueFloat : metricValue;
  return Number.isFinite(value) && value > 0 ? Math.trunc(value * 1000) / 1000 : 0;
}

const CACHE_CLOSED: CallError = { ok: false, error: 'scalers cache is closed', status: status.CANCELLED, cacheClosed: true };

/** A closed cache leaves an answer alone that is on its way, but gives no scaler to ask again. */
async function twice<T>(ask: () => Promise<Answer<T>>, signal: AbortSignal, cache: AbortSignal): Promise<Answer<T>> {
  for (let last = false; ; last = true) {
    if (cache.aborted) return CACHE_CLOSED;
    const answer = await ask();
    if (answer.ok || last || signal.aborted) return answer;
  }
}

function unary<Reply>(
  name: string,
  signal: AbortSignal,
  start: (options: { readonly deadline: number }, done: (error: ServiceError | null, reply: Reply) => void) => { cancel(): void },
): Promise<Answer<Reply>> {
  return new Promise((resolve) => {
    const call = start({ deadline: Date.now() + CALL_TIMEOUT_MS }, (error, reply) => {
      forget();
      if (error === null) resolve({ ok: true, value: reply });
      else resolve({ ok: false, error: `${name}: ${status[error.code]}: ${error.details}`, status: error.code });
    });
    const forget = onAbort(signal, () => {
      call.cancel();
    });
  });
}
