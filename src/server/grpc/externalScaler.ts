/**
 * KEDA's five calls in terms of triggers. It never talks to a broker itself, and GetMetricSpec answers from metadata alone.
 */
import { QueueError } from '../../errors.ts';
import type { Sample, Trigger } from '../../scalers/trigger.ts';
import type { Triggers } from '../../scalers/triggers.ts';
import type { Adapter } from './adapt.ts';
import type { ExternalScalerServer, GetMetricSpecResponse, GetMetricsRequest, ScaledObjectRef } from './gen/externalscaler.ts';
import type { Push } from './push.ts';
import type { Subject } from './status.ts';

/** What became known of a call while it was served. */
export interface CallSubject extends Subject {
  trigger?: Trigger;
  /** What was answered from. */
  sample?: Sample;
}

export function createExternalScaler(triggers: Triggers, push: Push, adapter: Adapter<CallSubject>): ExternalScalerServer {
  const find = ({ namespace, name, scalerMetadata }: ScaledObjectRef, about: CallSubject): Trigger =>
    (about.trigger = triggers.find({ namespace, name, metadata: scalerMetadata }));

  /** `answer` of the trigger's sample: at once if it is known, else when it has been read. */
  function sampled<Response>(
    reference: ScaledObjectRef,
    about: CallSubject,
    wait: () => AbortSignal,
    answer: (sample: Sample, trigger: Trigger) => Response,
  ): Response | Promise<Response> {
    const trigger = find(reference, about);
    const finish = (sample: Sample): Response => {
      about.sample = sample;
      return answer(sound(sample), trigger);
    };
    const known = trigger.latest();
    return known === undefined ? trigger.read(wait()).then(finish) : finish(known);
  }

  return {
    getMetricSpec: adapter.unary('GetMetricSpec', subjectOf, (reference: ScaledObjectRef, about) =>
      specOf(find(reference, about)),
    ),

    // The metric's name in the request is KEDA's copy of ours and tells nothing new: a trigger has one metric.
    getMetrics: adapter.unary(
      'GetMetrics',
      (request: GetMetricsRequest) => subjectOf(request.scaledObjectRef ?? NOBODY),
      (request, about, wait) =>
        sampled(request.scaledObjectRef ?? NOBODY, about, wait, ({ decision: { value } }, { spec }) => ({
          metricValues: [{ metricName: spec.name, metricValue: asInteger(value), metricValueFloat: value }],
        })),
    ),

    isActive: adapter.unary('IsActive', subjectOf, (reference: ScaledObjectRef, about, wait) =>
      sampled(reference, about, wait, ({ decision: { active } }, trigger) => {
        trigger.told = { active, at: performance.now() };
        return { result: active };
      }),
    ),

    streamIsActive: adapter.stream('StreamIsActive', subjectOf, (reference: ScaledObjectRef, about, send) =>
      push.follow(find(reference, about), (active) => {
        send({ result: active });
      }),
    ),

    // A trigger's target comes from its metadata, and new metadata is a new stream: one message says all there is to say.
    streamMetricSpec: adapter.stream('StreamMetricSpec', subjectOf, (reference: ScaledObjectRef, about, send) => {
      send(specOf(find(reference, about)));
      return nothing;
    }),
  };
}

function nothing(): void {
  // Nothing was begun that would have to end.
}

const NOBODY: ScaledObjectRef = { namespace: '', name: '', scalerMetadata: {} };
/** Longest name in Kubernetes. */
const MAX_NAME = 253;

function subjectOf({ namespace, name }: ScaledObjectRef): CallSubject {
  return { namespace: namespace.slice(0, MAX_NAME), name: name.slice(0, MAX_NAME) };
}

function specOf({ spec }: Trigger): GetMetricSpecResponse {
  return { metricSpecs: [{ metricName: spec.name, targetSize: asInteger(spec.target), targetSizeFloat: spec.target }] };
}

/** Refuses a value that KEDA cannot take: NaN, an infinity or a negative number. */
function sound(sample: Sample): Sample {
  const { value } = sample.decision;
  if (Number.isFinite(value) && value >= 0) return sample;
  throw new QueueError('VALUE_IMPLAUSIBLE', `the metric came out as ${value}, which is no amount of work`);
}

/**
 * A value or target as the integer field of KEDA up to 2.16, which knows no float: rounded, but anything above zero stays above
 * zero, as a 0 there would mean "no work" or an invalid target; zero stays zero, as a later KEDA then falls back to the integer.
 */
function asInteger(value: number): number {
  if (value > 0 && value < 1) return 1;
  return Math.min(Math.round(value), Number.MAX_SAFE_INTEGER);
}
