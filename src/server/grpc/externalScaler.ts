/**
 * KEDA's five calls in terms of triggers. It never talks to a broker itself, and GetMetricSpec answers from metadata alone.
 */
import { QueueError } from '../../errors.ts';
import type { Sample, Trigger, Triggers } from '../../scalers/triggers.ts';
import type { Adapter } from './adapt.ts';
import type { ExternalScalerServer, GetMetricSpecResponse, GetMetricsRequest, ScaledObjectRef } from './gen/externalscaler.ts';
import type { Push } from './push.ts';
import type { Subject } from './status.ts';
import { asInteger } from './values.ts';

export function createExternalScaler(triggers: Triggers, push: Push, adapter: Adapter): ExternalScalerServer {
  const find = (reference: ScaledObjectRef): Trigger =>
    triggers.find({ namespace: reference.namespace, name: reference.name, metadata: reference.scalerMetadata });

  return {
    getMetricSpec: adapter.unary('GetMetricSpec', (reference: ScaledObjectRef) => specOf(find(reference)), subjectOf),

    // The metric's name in the request is KEDA's copy of ours and tells nothing new: a trigger has one metric.
    getMetrics: adapter.unary(
      'GetMetrics',
      async (request: GetMetricsRequest, signal) => {
        const trigger = find(request.scaledObjectRef ?? NOBODY);
        const { value } = (await sound(trigger, signal)).decision;
        return {
          metricValues: [{ metricName: trigger.spec.name, metricValue: asInteger(value), metricValueFloat: value }],
        };
      },
      (request) => subjectOf(request.scaledObjectRef ?? NOBODY),
    ),

    isActive: adapter.unary(
      'IsActive',
      async (reference: ScaledObjectRef, signal) => ({ result: (await sound(find(reference), signal)).decision.active }),
      subjectOf,
    ),

    streamIsActive: adapter.stream(
      'StreamIsActive',
      (reference: ScaledObjectRef, send, signal) =>
        push.follow(
          find(reference),
          (active) => {
            send({ result: active });
          },
          signal,
        ),
      subjectOf,
    ),

    // A trigger's target comes from its metadata, and new metadata is a new stream: one message says all there is to say.
    streamMetricSpec: adapter.stream(
      'StreamMetricSpec',
      (reference: ScaledObjectRef, send, signal) => {
        send(specOf(find(reference)));
        return untilAborted(signal);
      },
      subjectOf,
    ),
  };
}

const NOBODY: ScaledObjectRef = { namespace: '', name: '', scalerMetadata: {} };

function subjectOf({ namespace, name }: ScaledObjectRef): Subject {
  return { namespace: namespace.slice(0, MAX_NAME), name: name.slice(0, MAX_NAME) };
}

/** Longest name in Kubernetes. */
const MAX_NAME = 253;

function specOf({ spec }: Trigger): GetMetricSpecResponse {
  return { metricSpecs: [{ metricName: spec.name, targetSize: asInteger(spec.target), targetSizeFloat: spec.target }] };
}

/** A sample whose value KEDA can take; it must never see NaN, an infinity or a negative number. */
async function sound(trigger: Trigger, signal: AbortSignal): Promise<Sample> {
  const sample = await trigger.read(signal);
  const { value } = sample.decision;
  if (Number.isFinite(value) && value >= 0) return sample;
  throw new QueueError('VALUE_IMPLAUSIBLE', `the metric came out as ${value}, which is no amount of work`);
}

function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else
      signal.addEventListener(
        'abort',
        () => {
          resolve();
        },
        { once: true },
      );
  });
}
