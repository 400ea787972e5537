/**
 * A `cron` trigger for a person: whether its window is open, and when that changes.
 */
import { TriggerError } from '../../errors.ts';
import { CRON_TARGET, parseCron } from '../../local/keda/cron.ts';
import { explainComputed, explainError, type Explanation } from '../../scalers/explanation.ts';

export function explainCron(metadata: Readonly<Record<string, string>>, now: Date): Explanation {
  const window = parseCron(metadata);
  if ('faults' in window) {
    const faults = window.faults.map(([key, message]) => `${key} ${message}`);
    return explainError({ name: 'cron', target: CRON_TARGET }, new TriggerError('INVALID_TRIGGER', faults.join('; ')));
  }
  const { active, value, until } = window.at(now);
  const { start, end, timezone, desiredReplicas } = metadata;
  return explainComputed({ name: window.metric, target: CRON_TARGET }, 'clock', {
    value,
    active,
    because: [
      `${active ? 'within' : 'outside'} the window from ${start} to ${end} (${timezone})`,
      active
        ? `active: desiredReplicas ${desiredReplicas} until ${until.toISOString()}`
        : `not active: desiredReplicas ${desiredReplicas} from ${until.toISOString()}`,
    ],
  });
}
