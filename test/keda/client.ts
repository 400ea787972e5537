/**
 * A double of KEDA's side of the protocol, written from its documented behaviour and read from `proto/` by another library than the
 * server's, so that it is a second opinion: it shares no code with `src/`.
 */
import { fileURLToPath } from 'node:url';
import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { KEDA_VERSIONS, type KedaBehaviour, type KedaVersion } from './versions.ts';

const PROTO = fileURLToPath(new URL('../../proto/externalscaler.proto', import.meta.url));
/** The double's own patience; KEDA has none. Long enough that only a call without any answer meets it. */
const PATIENCE_MS = 10_000;

/** One external trigger of a ScaledObject, as KEDA holds it. */
export interface TriggerSpec {
  readonly type?: 'external' | 'external-push';
  readonly namespace?: string;
  readonly name?: string;
  /** Position in `spec.triggers`. */
  readonly index?: number;
  /** As in the manifest: a key that ends in `FromEnv` names a variable. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The environment of the target's container. */
  readonly env?: Readonly<Record<string, string>>;
}

export interface MetricTarget {
  /** With KEDA's prefix `s<index>-`. */
  readonly name: string;
  readonly target: number;
}

export interface Poll {
  readonly metrics: readonly (MetricTarget & { readonly value: number })[];
  readonly active: boolean;
}

export type Method = 'GetMetricSpec' | 'GetMetrics' | 'IsActive' | 'StreamIsActive' | 'StreamMetricSpec';

/** A call the double made, in the order in which it was made. */
export interface CallRecord {
  readonly method: Method;
  readonly trigger: string;
  /** Begins and ends by the client's clock; no end while there is no answer, and none of streams. */
  readonly startedAt: number;
  readonly answeredAt?: number;
}

/** With what a cache of scalers is closed, and who finds it closed rejects. */
export const CACHE_CLOSED = new Error('scalers cache is closed');

export interface PushStream {
  /** Every state that came, oldest first. */
  readonly states: readonly { readonly active: boolean; readonly at: number }[];
  /** How each stream ended, oldest first: OK or an error's code. */
  readonly ends: readonly grpc.status[];
  /** How long KEDA waits before it opens the stream again, in ms, one for each end. */
  readonly backoffs: readonly number[];
  /** Resolves when a state comes (or came, if `since` is a count of states passed) that is as asked. */
  next(active: boolean, timeoutMs?: number): Promise<void>;
  close(): void;
}

/**
 * `cache` stands for the cache of scalers that the caller was given: once it aborts, with {@link CACHE_CLOSED}, nothing is asked and
 * nothing asked once more.
 */
export interface KedaTrigger {
  readonly reference: Reference;
  /** GetMetricSpec, with KEDA's one retry. Rejects on an empty answer. */
  spec(cache?: AbortSignal): Promise<readonly MetricTarget[]>;
  /** A turn of the polling loop: GetMetricSpec, GetMetrics, IsActive, with KEDA's one retry. */
  poll(cache?: AbortSignal): Promise<Poll>;
  /** What the HPA asks of one metric: GetMetrics and IsActive, with KEDA's one retry of both. */
  metric(metric: MetricTarget, cache?: AbortSignal): Promise<{ readonly value: number; readonly active: boolean }>;
  /** Opens StreamIsActive and keeps it open as KEDA does. `scale` shortens its back-off, 1 is KEDA's own. */
  push(scale?: number, heard?: (active: boolean) => void): PushStream;
  /** Opens StreamMetricSpec once, if this version has it. */
  specs(): SpecStream;
}

export interface SpecStream {
  readonly updates: readonly (readonly MetricTarget[])[];
  readonly ended: Promise<grpc.status>;
  close(): void;
}

export interface KedaClient {
  readonly behaviour: KedaBehaviour;
  readonly calls: readonly CallRecord[];
  trigger(spec: TriggerSpec): KedaTrigger;
  /** One call as it is, without KEDA's retry. */
  call(method: 'GetMetricSpec' | 'GetMetrics' | 'IsActive', request: unknown, timeoutMs?: number): Promise<unknown>;
  close(): void;
}

export interface KedaOptions {
  readonly version?: KedaVersion;
  readonly tls?: { readonly ca: Buffer; readonly cert?: Buffer; readonly key?: Buffer; readonly serverName?: string };
  /** In ms, of the records of calls; `performance.now` by default. */
  readonly clock?: () => number;
}

export interface Reference {
  readonly name: string;
  readonly namespace: string;
  readonly scalerMetadata: Readonly<Record<string, string>>;
}

interface WireSpecs {
  readonly metricSpecs: readonly { readonly metricName: string; readonly targetSize: number; readonly targetSizeFloat: number }[];
}

interface WireValues {
  readonly metricValues: readonly {
    readonly metricName: string;
    readonly metricValue: number;
    readonly metricValueFloat: number;
  }[];
}

/** KEDA's round robin over all addresses behind a headless Service. */
const SERVICE_CONFIG = JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] });

export function createKedaClient(addresses: string | readonly string[], options: KedaOptions = {}): KedaClient {
  const behaviour = KEDA_VERSIONS[options.version ?? '2.20'];
  const definition = loadSync(PROTO, { keepCase: true, longs: Number, defaults: true });
  const service = definition['externalscaler.ExternalScaler'] as grpc.ServiceDefinition;
  const client = new grpc.Client(`ipv4:${[addresses].flat().join(',')}`, credentialsOf(options), {
    'grpc.service_config': SERVICE_CONFIG,
    'grpc.enable_channelz': 0,
    // Each double is a KEDA of its own: no connection is shared with another in this process.
    'grpc.use_local_subchannel_pool': 1,
    ...(options.tls === undefined
      ? {}
      : {
          'grpc.ssl_target_name_override': options.tls.serverName ?? 'localhost',
          'grpc.default_authority': options.tls.serverName ?? 'localhost',
        }),
  });
  const clock = options.clock ?? (() => performance.now());
  const calls: CallRecord[] = [];

  function call(method: Method, request: unknown, timeoutMs = PATIENCE_MS): Promise<unknown> {
    const { path, requestSerialize, responseDeserialize } = methodOf(service, method);
    return new Promise((resolve, reject) => {
      client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        new grpc.Metadata(),
        { deadline: Date.now() + timeoutMs },
        (error, response) => {
          if (error === null) resolve(response);
          else reject(error);
        },
      );
    });
  }

  function open(method: Method, request: unknown): grpc.ClientReadableStream<unknown> {
    const { path, requestSerialize, responseDeserialize } = methodOf(service, method);
    return client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request);
  }

  function trigger(spec: TriggerSpec): KedaTrigger {
    const { index = 0 } = spec;
    const build = (): Reference => ({
      name: spec.name ?? 'worker',
      namespace: spec.namespace ?? 'default',
      scalerMetadata: resolveMetadata(spec.metadata, spec.env ?? {}),
    });
    const label = `${spec.namespace ?? 'default'}/${spec.name ?? 'worker'}`;
    const told = (method: Method): void => void calls.push({ method, trigger: label, startedAt: clock() });
    const ask = async (method: 'GetMetricSpec' | 'GetMetrics' | 'IsActive', request: unknown): Promise<unknown> => {
      const record: { -readonly [Field in keyof CallRecord]: CallRecord[Field] } = { method, trigger: label, startedAt: clock() };
      calls.push(record);
      try {
        return await call(method, request);
      } finally {
        record.answeredAt = clock();
      }
    };

    const targets = (answer: WireSpecs): MetricTarget[] =>
      answer.metricSpecs.map(({ metricName, targetSize, targetSizeFloat }) => ({
        name: `s${index}-${metricName}`,
        // KEDA hands the float on with three decimals.
        target: behaviour.floats && targetSizeFloat > 0 ? Number(targetSizeFloat.toFixed(3)) : targetSize,
      }));

    async function specOnce(): Promise<MetricTarget[]> {
      const found = targets((await ask('GetMetricSpec', build())) as WireSpecs);
      if (found.length === 0) throw new Error('got empty metric spec');
      return found;
    }

    async function metricOnce(metric: MetricTarget): Promise<{ value: number; active: boolean }> {
      const reference = build();
      const answer = (await ask('GetMetrics', {
        scaledObjectRef: reference,
        metricName: metric.name.slice(`s${index}-`.length),
      })) as WireValues;
      // Names in the answer are ignored and all values added up, as the HPA does.
      const value = answer.metricValues.reduce((sum, each) => sum + valueOf(each, behaviour), 0);
      const { result } = (await ask('IsActive', reference)) as { readonly result: boolean };
      return { value, active: result };
    }

    return {
      get reference() {
        return build();
      },
      spec: (cache) => retried(specOnce, cache),
      async poll(cache) {
        const metrics = await retried(specOnce, cache);
        const answers = [];
        for (const metric of metrics) answers.push({ metric, ...(await retried(() => metricOnce(metric), cache)) });
        return {
          metrics: answers.map(({ metric, value }) => ({ ...metric, value })),
          active: answers.some(({ active }) => active),
        };
      },
      metric: (metric, cache) => retried(() => metricOnce(metric), cache),
      push: (scale = 1, heard = () => undefined) =>
        followActivity(() => (told('StreamIsActive'), open('StreamIsActive', build())), scale, heard),
      specs() {
        if (!behaviour.specStream) throw new Error('this version of KEDA has no StreamMetricSpec');
        told('StreamMetricSpec');
        const stream = open('StreamMetricSpec', build());
        const updates: MetricTarget[][] = [];
        stream.on('data', (message: unknown) => updates.push(targets(message as WireSpecs)));
        stream.on('error', () => undefined);
        return {
          updates,
          ended: new Promise((resolve) =>
            stream.on('status', ({ code }: grpc.StatusObject) => {
              resolve(code);
            }),
          ),
          close: () => {
            stream.cancel();
          },
        };
      },
    };
  }

  return {
    behaviour,
    calls,
    trigger,
    call,
    close: () => {
      client.close();
    },
  };
}

/** KEDA's operator: one connection for each address, or from 2.20 on for each address and set of TLS parameters, whoever asks. */
export interface KedaOperator {
  client(tls?: KedaOptions['tls']): KedaClient;
  close(): void;
}

export function createKedaOperator(address: string, version: KedaVersion): KedaOperator {
  const pool = new Map<string, KedaClient>();
  return {
    client(tls) {
      const parameters = [tls?.ca, tls?.cert, tls?.key].map((bytes) => bytes?.toString('base64') ?? '').join(' ');
      const key = KEDA_VERSIONS[version].poolIgnoresTls ? address : `${address} ${parameters}`;
      let client = pool.get(key);
      if (client === undefined)
        pool.set(key, (client = createKedaClient(address, { version, ...(tls === undefined ? {} : { tls }) })));
      return client;
    },
    close: () => {
      for (const client of pool.values()) client.close();
    },
  };
}

/** Any error makes KEDA build the scaler anew, metadata and all, and ask once more. */
async function retried<T>(ask: () => Promise<T>, cache?: AbortSignal): Promise<T> {
  cache?.throwIfAborted();
  try {
    return await ask();
  } catch {
    cache?.throwIfAborted();
    return ask();
  }
}

/** `FromEnv` keys keep their name and get the variable's value; one that cannot be resolved is dropped. */
export function resolveMetadata(
  metadata: Readonly<Record<string, string>>,
  env: Readonly<Record<string, string>>,
): Record<string, string> {
  const resolved: Record<string, string> = {};
  for (const [key, value] of Object.entries(metadata)) {
    if (!key.endsWith('FromEnv')) resolved[key] = value;
    else if (env[value] !== undefined && env[value] !== '') resolved[key] = env[value];
  }
  return resolved;
}

function valueOf(each: WireValues['metricValues'][number], behaviour: KedaBehaviour): number {
  const value = behaviour.floats && each.metricValueFloat > 0 ? each.metricValueFloat : each.metricValue;
  return behaviour.clampsValues && !(Number.isFinite(value) && value >= 0) ? 0 : value;
}

/** KEDA's pauses between two streams, in ms: doubled from the first to the last, and back to the first only after an end with OK. */
const FIRST_BACKOFF_MS = 2_000;
const LAST_BACKOFF_MS = 60_000;

function followActivity(
  open: () => grpc.ClientReadableStream<unknown>,
  scale: number,
  heard: (active: boolean) => void,
): PushStream {
  const states: { active: boolean; at: number }[] = [];
  const ends: grpc.status[] = [];
  const backoffs: number[] = [];
  const waiting = new Set<() => void>();
  let read = 0;
  let backoff = FIRST_BACKOFF_MS;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  let stream = start();

  function start(): grpc.ClientReadableStream<unknown> {
    const opened = open();
    opened.on('data', (message: unknown) => {
      const active = (message as { readonly result: boolean }).result;
      states.push({ active, at: performance.now() });
      heard(active);
      for (const wake of waiting) wake();
    });
    opened.on('error', () => undefined);
    opened.on('status', ({ code }: grpc.StatusObject) => {
      if (closed) return;
      ends.push(code);
      if (code === grpc.status.OK) backoff = FIRST_BACKOFF_MS;
      backoffs.push(backoff);
      timer = setTimeout(() => {
        stream = start();
      }, backoff * scale);
      if (code !== grpc.status.OK) backoff = Math.min(backoff * 2, LAST_BACKOFF_MS);
    });
    return opened;
  }

  return {
    states,
    ends,
    backoffs,
    next: (active, timeoutMs = PATIENCE_MS) =>
      new Promise((resolve, reject) => {
        const overdue = setTimeout(() => {
          waiting.delete(look);
          reject(new Error(`no ${active} came within ${timeoutMs} ms; came: ${states.map((each) => each.active).join(', ')}`));
        }, timeoutMs);
        const look = (): void => {
          const found = states.findIndex((state, position) => position >= read && state.active === active);
          if (found < 0) return;
          read = found + 1;
          clearTimeout(overdue);
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
        look();
      }),
    close: () => {
      closed = true;
      clearTimeout(timer);
      stream.cancel();
    },
  };
}

function methodOf(service: grpc.ServiceDefinition, method: Method): grpc.MethodDefinition<unknown, unknown> {
  const found = service[method];
  if (found === undefined) throw new Error(`the proto has no ${method}`);
  return found as grpc.MethodDefinition<unknown, unknown>;
}

function credentialsOf({ tls }: KedaOptions): grpc.ChannelCredentials {
  if (tls === undefined) return grpc.credentials.createInsecure();
  return grpc.credentials.createSsl(tls.ca, tls.key ?? null, tls.cert ?? null);
}
