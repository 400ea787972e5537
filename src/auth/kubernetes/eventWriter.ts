/**
 * Writes Events by their names: an Event that is there is patched, one that is not, or no more, is created. The right to read Events
 * is not needed for that.
 */
import type { OwnerEvent } from '../eventSink.ts';
import type { ApiClient } from './apiClient.ts';
import { ApiFailure } from './apiFailure.ts';

const COMPONENT = 'keda-queue-scaler';

/** Rejects with an {@link ApiFailure} where the API server does not answer, or neither with success nor with 403. */
export async function writeEvent(client: ApiClient, event: OwnerEvent, signal: AbortSignal): Promise<'written' | 'forbidden'> {
  const { owner, name, type, reason, message, count, firstAt, lastAt } = event;
  const { namespace } = owner;
  const create = (): Promise<void> =>
    client.createEvent(
      {
        apiVersion: 'v1',
        kind: 'Event',
        metadata: { name, namespace },
        involvedObject: { apiVersion: 'keda.sh/v1alpha1', ...owner },
        type,
        reason,
        message,
        count,
        firstTimestamp: firstAt,
        lastTimestamp: lastAt,
        source: { component: COMPONENT },
        reportingComponent: COMPONENT,
      },
      signal,
    );
  const patch = (): Promise<void> => client.patchEvent(namespace, name, { message, count, lastTimestamp: lastAt }, signal);
  // An Event lives for an hour. Another replica, or this one before its restart, may have written it first.
  const [first, second, missed] = count === 1 ? [create, patch, 409] : [patch, create, 404];
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
