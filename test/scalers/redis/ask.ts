/** Asks a trigger as the server does, without the server: parsed, bound, read through a reading cache, decided. */
import { noCredentialSource } from '../../../src/auth/credentials.ts';
import { noEvents, type BrokerEvents } from '../../../src/scalers/brokerEvents.ts';
import { createBrokerPool, type BrokerPool } from '../../../src/scalers/brokerPool.ts';
import type { Sample, Trigger } from '../../../src/scalers/trigger.ts';
import { createTriggers } from '../../../src/scalers/triggers.ts';
import type { QueueScalerError } from '../../../src/errors.ts';

export interface Asker {
  readonly brokers: BrokerPool;
  trigger(metadata: Readonly<Record<string, string>>): Trigger;
  /** The sample now; nothing that was read before answers. */
  ask(metadata: Readonly<Record<string, string>>): Promise<Sample>;
  /** The error in its place. */
  refusal(metadata: Readonly<Record<string, string>>): Promise<QueueScalerError>;
  close(): Promise<void>;
}

export function createAsker(events: BrokerEvents = noEvents): Asker {
  const brokers = createBrokerPool(events);
  const triggers = createTriggers(noCredentialSource, brokers);
  const trigger = (metadata: Readonly<Record<string, string>>): Trigger =>
    triggers.find({ namespace: 'test', name: 'test', metadata });
  const ask = async (metadata: Readonly<Record<string, string>>): Promise<Sample> => {
    // A cache of its own: the shared one would answer from a reading of up to half a second ago.
    const own = createBrokerPool(events);
    try {
      return await createTriggers(noCredentialSource, own)
        .find({ namespace: 'test', name: 'test', metadata })
        .read(AbortSignal.timeout(5_000));
    } finally {
      await own.close();
    }
  };
  return {
    brokers,
    trigger,
    ask,
    refusal: (metadata) =>
      ask(metadata).then(
        (sample) => {
          throw new Error(`read ${JSON.stringify(sample.decision)} where an error was due`);
        },
        (error: unknown) => error as QueueScalerError,
      ),
    close: () => brokers.close(),
  };
}
