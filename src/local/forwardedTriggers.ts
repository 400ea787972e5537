/**
 * The triggers of a ScaledObject as KEDA forwards them to their scaler, and those that it answers by the clock.
 */
import { containerOf, environmentOf, type ReadValues } from '../auth/environment.ts';
import type { Manifest } from '../auth/files.ts';
import type { ScaledObject, Trigger } from '../auth/objects.ts';
import { FROM_ENV, isExternal, isResource } from '../keda.ts';
import type { MetricTargetType } from './hpa/hpaMetrics.ts';
import { parseCron, type CronWindow } from './keda/cron.ts';
import type { Blame } from './loopSettings.ts';

interface AnyTrigger {
  readonly index: number;
  readonly targetType: MetricTargetType;
  readonly useCachedMetrics: boolean;
}
export interface ExternalTrigger extends AnyTrigger {
  readonly type: 'external' | 'external-push';
  /** As KEDA forwards it: `…FromEnv` keys hold the variable's value, or are gone where there is none. */
  readonly metadata: Readonly<Record<string, string>>;
}
export interface CronTrigger extends AnyTrigger {
  readonly type: 'cron';
  readonly window: CronWindow;
}
export type PlannedTrigger = ExternalTrigger | CronTrigger;

export function checkTrigger({ type, metadata, metricType }: Trigger, index: number, blame: Blame): void {
  const path = ['spec', 'triggers', index];
  if (isResource(type)) return;
  if (type === 'cron') {
    const parsed = parseCron(metadata);
    for (const [key, message] of 'faults' in parsed ? parsed.faults : []) blame([...path, 'metadata', key], message);
    return;
  }
  if (!isExternal(type)) {
    blame(
      [...path, 'type'],
      `is ${type}, which KEDA itself would serve: only external, external-push and cron triggers can be run here (see \`queue-scaler convert\`)`,
    );
    return;
  }
  if ((metadata['scalerAddress'] ?? '').trim() === '') {
    blame([...path, 'metadata'], 'has no scalerAddress, without which KEDA refuses the trigger (here it is not connected to)');
  }
  if (metricType === 'Utilization') {
    blame([...path, 'metricType'], 'is Utilization, which external metrics cannot have: AverageValue or Value');
  }
}

/** Rejects with a `TriggerError` where a variable's source is missing. */
export async function forwardedTriggers(
  { spec }: ScaledObject,
  { object, namespace, name }: Manifest<'Deployment'>,
  read: ReadValues,
): Promise<readonly PlannedTrigger[]> {
  const target = `Deployment ${namespace}/${name}`;
  const container = containerOf(object.spec.template.spec, spec.scaleTargetRef.envSourceContainerName, target);
  const environment = container === undefined ? undefined : environmentOf(container, target, read);
  const planned = await Promise.all(
    spec.triggers.map(async ({ type, metadata, metricType, useCachedMetrics }, index): Promise<readonly PlannedTrigger[]> => {
      const common = {
        index,
        targetType: metricType === 'Value' ? 'Value' : 'AverageValue',
        useCachedMetrics: useCachedMetrics === true,
      } as const;
      if (type === 'cron') {
        const window = parseCron(metadata);
        return 'faults' in window ? [] : [{ ...common, type, window }];
      }
      if (!isExternal(type)) return [];
      const entries = await Promise.all(
        Object.entries(metadata).map(async ([key, value]) => {
          const forwarded = key.endsWith(FROM_ENV) ? ((await environment?.get(value)) ?? '') : value;
          return key.endsWith(FROM_ENV) && forwarded === '' ? [] : [[key, forwarded] as const];
        }),
      );
      return [{ ...common, type, metadata: Object.fromEntries(entries.flat()) }];
    }),
  );
  return planned.flat();
}
