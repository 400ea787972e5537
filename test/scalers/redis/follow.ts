/** Watches a trigger and keeps all that it is told. */
import type { QueueScalerError } from '../../../src/errors.ts';
import type { Sample } from '../../../src/scalers/trigger.ts';
import type { Asker } from './ask.ts';

export interface Followed {
  readonly samples: Sample[];
  readonly troubles: QueueScalerError[];
  readonly stop: () => void;
}

export function follow(asker: Asker, metadata: Readonly<Record<string, string>>): Followed {
  const samples: Sample[] = [];
  const troubles: QueueScalerError[] = [];
  const stop = asker.trigger(metadata).watch({
    sample: (sample) => samples.push(sample),
    trouble: (error) => troubles.push(error),
  });
  return { samples, troubles, stop };
}
