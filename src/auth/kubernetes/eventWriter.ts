/**
 * Writes Events by their names: an Event that is there is patched, one that is not, or no more, is created. The right to read Events
 * is not needed for that.
 */
import type { OwnerEvent } from '../eventSink.ts';
import type { ApiClient } from './apiClient.ts';
import { ApiFailure } from './apiFailure.ts';

/** Rejects with an {@link ApiFailure} where the API server does not answer, or neither with success nor with 403. */
export async function writeEvent(client: ApiClient, event: OwnerEvent, signal: AbortSignal): Promise<'written' | 'forbidden'> {
  const create = (): Promise<void> => client.createEvent(event, signal);
  const patch = (): Promise<void> => client.patchEvent(event, signal);
  // An Event lives for an hour. Another replica, or this one before its restart, may have written it first.
  const [first, second, missed] = event.count === 1 ? [create, patch, 409] : [patch, create, 404];
  try {
    await first().catch((thrown: unknown) => {
      if (thrown instanceof ApiFailure && thrown.status === missed) return second();
      throw thrown;
    });
    return 'written';
  } catch (thrown) {
    if (thrown instanceof ApiFailure && thrown.status === 403) return 'forbidden';
    throw thrown;
  }
}
