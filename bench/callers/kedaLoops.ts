/**
 * KEDA's and the HPA's loops over many triggers, each trigger with its stream, all on one connection as KEDA has it. Each loop runs at
 * its own phase, as loops that were begun one by one do, and makes its three calls one after the other.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { GetMetricsRequest, ScaledObjectRef } from '../../src/server/grpc/gen/externalscaler.ts';
import { connectFrames } from './frames.ts';

/** KEDA's own. */
const POLL_MS = 30_000;
const HPA_MS = 15_000;
const TICK_MS = 1;
/** Streams that are opened in one go. */
const OPENED_AT_ONCE = 50;
const OPEN_DEADLINE_MS = 120_000;

const METHODS = ['GetMetricSpec', 'GetMetrics', 'IsActive'] as const;

export function pathOf(method: (typeof METHODS)[number] | 'StreamIsActive'): string {
  return `/externalscaler.ExternalScaler/${method}`;
}

export interface LoopFigures {
  /** Of each call, in ms, in no order. */
  readonly latencies: readonly number[];
  /** Of each GetMetrics alone. */
  readonly metricsLatencies: readonly number[];
  /** Messages that came on the streams meanwhile. */
  readonly pushed: number;
  readonly seconds: number;
  readonly failed: number;
  /** Streams that had ended by the end. */
  readonly streamsEnded: number;
}

export interface KedaLoops {
  /** Runs the loops for so long, with a poll of each trigger so often, and counts what they meet. */
  run(forMs: number, pollMs?: number): Promise<LoopFigures>;
  close(): void;
}

/** Opens a stream for each trigger and resolves when each has told its state. */
export async function startKedaLoops(
  address: string,
  triggers: readonly { readonly name: string; readonly metadata: Readonly<Record<string, string>> }[],
): Promise<KedaLoops> {
  const connection = await connectFrames(address);
  const requests = triggers.map(({ name, metadata }) => {
    const scaledObjectRef = { name, namespace: 'default', scalerMetadata: { ...metadata } };
    const reference = Buffer.from(ScaledObjectRef.encode(scaledObjectRef).finish());
    const metrics = Buffer.from(GetMetricsRequest.encode({ scaledObjectRef, metricName: 'm' }).finish());
    return { GetMetricSpec: reference, GetMetrics: metrics, IsActive: reference };
  });

  let streamsEnded = 0;
  let told = 0;
  let pushed = 0;
  for (const [number, { IsActive }] of requests.entries()) {
    let heard = false;
    connection.send(
      pathOf('StreamIsActive'),
      IsActive,
      () => {
        streamsEnded++;
      },
      () => {
        pushed++;
        if (!heard) told++;
        heard = true;
      },
    );
    if (number % OPENED_AT_ONCE === 0) await sleep(TICK_MS);
  }
  const deadline = performance.now() + OPEN_DEADLINE_MS;
  while (told < requests.length) {
    if (performance.now() > deadline) throw new Error(`${told} of ${requests.length} streams have told their state`);
    await sleep(50);
  }

  return {
    async run(forMs, pollMs = POLL_MS) {
      const latencies: number[] = [];
      const metricsLatencies: number[] = [];
      const pushedBefore = pushed;
      let failed = 0;
      let under = 0;
      const call = (number: number, step: number): void => {
        const method = METHODS[step];
        const request = requests[number];
        if (method === undefined || request === undefined) {
          under--;
          return;
        }
        const startedAt = performance.now();
        connection.send(pathOf(method), request[method], (ok) => {
          const ms = performance.now() - startedAt;
          latencies.push(ms);
          if (method === 'GetMetrics') metricsLatencies.push(ms);
          if (!ok) failed++;
          call(number, step + 1);
        });
      };
      const begun = [0, 0];
      const startedAt = performance.now();
      for (let passed = 0; passed < forMs; passed = performance.now() - startedAt) {
        [pollMs, HPA_MS].forEach((period, loop) => {
          const due = Math.floor((passed / period) * requests.length);
          for (let number = begun[loop] ?? 0; number < due; number++) {
            under++;
            call(number % requests.length, 0);
          }
          begun[loop] = due;
        });
        await sleep(TICK_MS);
      }
      const seconds = (performance.now() - startedAt) / 1000;
      while (under > 0) await sleep(TICK_MS);
      return { latencies, metricsLatencies, seconds, failed, streamsEnded, pushed: pushed - pushedBefore };
    },
    close: () => {
      connection.close();
    },
  };
}
