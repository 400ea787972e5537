/** Asks a trigger as the server does, without the server: parsed, bound, read through a sampler, decided. */
import { noCredentialSource } from '../../../src/auth/credentials.ts';
import { noEvents, type SamplerEvents } from '../../../src/scalers/brokerEvents.ts';
import { createSamplers, type Samplers } from '../../../src/scalers/brokerPool.ts';
import { createTriggers, type Sample, type Trigger } from '../../../src/scalers/triggers.ts';
import type { QueueScalerError } from '../../../src/errors.ts';

export interface Asker {
  readonly samplers: Samplers;
  trigger(metadata: Readonly<Record<string, string>>): Trigger;
  /** The sample now; nothing that was read before answers. */
  ask(metadata: Readonly<Record<string, string>>): Promise<Sample>;
  /** The error in its place. */
  refusal(metadata: Readonly<Record<string, string>>): Promise<QueueScalerError>;
  close(): Promise<void>;
}

export function createAsker(events: SamplerEvents = noEvents): Asker {
  const samplers = createSamplers(events);
  const triggers = createTriggers(noCredentialSource, samplers);
  const trigger = (metadata: Readonly<Record<string, string>>): Trigger =>
    triggers.find({ namespace: 'test', name: 'test', metadata });
  const ask = async (metadata: Readonly<Record<string, string>>): Promise<Sample> => {
    // A sampler of its own: the shared one would answer from a reading of up to half a second ago.
    const own = createSamplers(events);
    try {
      return await createTriggers(noCredentialSource, own)
        .find({ namespace: 'test', name: 'test', metadata })
        .read(AbortSignal.timeout(5_000));
    } finally {
      await own.close();
    }
  };
  return {
    samplers,
    trigger,
    ask,
    refusal: (metadata) =>
      ask(metadata).then(
        (sample) => {
          throw new Error(`read ${JSON.stringify(sample.decision)} where an error was due`);
        },
        (error: unknown) => error as QueueScalerError,
      ),
    close: () => samplers.close(),
  };
}
