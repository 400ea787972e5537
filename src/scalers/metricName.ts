/**
 * Metric names that are valid in an HPA and in the path of the external-metrics API; never two names for one input.
 */
import { createHash } from 'node:crypto';

const MAX_LENGTH = 100;

/**
 * `<prefix>-<name>` with every character outside `[A-Za-z0-9-]` as `-`, which is KEDA's alphabet for built-in scalers after its
 * own query-escaping. A name that is too long is cut and ends in a digest of the whole, so that it stays distinct.
 */
export function metricName(prefix: string, name: string): string {
  const escaped = encodeURIComponent(name).replaceAll('%20', '+');
  const safe = `${prefix}-${escaped}`.replaceAll(/[^A-Za-z0-9_-]/g, '-');
  if (safe.length <= MAX_LENGTH) return safe;
  const digest = createHash('sha256').update(name).digest('hex').slice(0, 12);
  return `${safe.slice(0, MAX_LENGTH - digest.length - 1)}-${digest}`;
}
