/**
 * KEDA's own `cron` triggers, which are none of this program's but stand beside its triggers.
 */
import { parseCron } from '../../local/keda/cron.ts';
import { keyPath, type TriggerLocation } from './triggerLocation.ts';

export function checkCron(location: TriggerLocation): void {
  const parsed = parseCron(location.metadata);
  if (!('faults' in parsed)) return;
  for (const [key, message, isMissing] of parsed.faults)
    if (isMissing) location.report('missing-key', [...location.path, 'metadata'], `${key} ${message}`, { part: 'key' });
    else location.report('bad-value', keyPath(location, key), `${key} ${message}`);
}
