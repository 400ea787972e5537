/**
 * KEDA's own `cpu` and `memory` triggers, which are none of this program's but stand beside its triggers. KEDA 2.18 took away
 * `metadata.type`, so that `metricType` is required. https://keda.sh/docs/latest/scalers/cpu/
 */
import { keyPath, type TriggerLocation } from './triggerLocation.ts';

/** https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/ */
const QUANTITY = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[numkMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?$/;
const TYPES = ['Utilization', 'AverageValue'];

export function checkResourceTrigger(location: TriggerLocation): void {
  const { type, path, metadata, metricType, object, report } = location;
  const value = metadata['value']?.trim() ?? '';
  if (object.kind === 'ScaledJob')
    report('bad-field', [...path, 'type'], `a ${type} trigger makes no jobs: it is for a ScaledObject only`, {
      severity: 'warning',
    });
  const old = metadata['type']?.trim() ?? '';
  if (old !== '')
    report('metric-type', keyPath(location, 'type'), 'KEDA refuses metadata.type since 2.18: metricType stands beside metadata', {
      part: 'key',
      fix: `metricType: ${TYPES.includes(old) ? old : meant(value)}`,
    });
  else if (metricType === '')
    report('metric-type', path, `a ${type} trigger must have a metricType: Utilization in percent, or AverageValue`, {
      fix: `metricType: ${meant(value)}`,
    });
  else if (!TYPES.includes(metricType))
    report('metric-type', [...path, 'metricType'], `a ${type} trigger takes Utilization or AverageValue only`, {
      fix: meant(value),
    });
  const kind = metricType === '' ? old : metricType;
  if (value === '') report('missing-key', [...path, 'metadata'], 'value is required', { part: 'key' });
  else if (kind === 'Utilization' && !/^[1-9]\d*$/.test(value))
    report('bad-value', keyPath(location, 'value'), 'value must be a whole number of percent, as metricType is Utilization', {
      fix: /^\d+%$/.test(value) ? `"${value.slice(0, -1)}"` : QUANTITY.test(value) ? 'metricType: AverageValue' : undefined,
    });
  else if (kind === 'AverageValue' && !QUANTITY.test(value))
    report('bad-value', keyPath(location, 'value'), 'value must be a quantity such as 500m or 512Mi', {
      fix: value.endsWith('%') ? 'metricType: Utilization' : undefined,
    });
}

/** A plain number is percent to most, and a unit says that it is none. */
function meant(value: string): string {
  return value === '' || /^\d+%?$/.test(value) ? 'Utilization' : 'AverageValue';
}
