/**
 * What will behave differently for one trigger once this scaler reads it, as far as that can happen with its settings.
 */
import type { Advice } from '../../scalers/advice.ts';

export function differencesOf(advice: Advice, metadata: Readonly<Record<string, string>>, toJob: boolean): readonly string[] {
  return [
    ...(advice.differences?.(metadata) ?? []),
    toJob
      ? 'KEDA polls a ScaledJob: work is noticed at the next poll, as before'
      : 'the first message wakes a worker at once, not at the next poll',
    'what cannot be read is an error, and KEDA then holds the replicas; it was a zero at times',
  ];
}
