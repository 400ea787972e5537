/**
 * Counts the open sessions of a deployment for the metrics, and remembers which of their servers rejected CLIENT TRACKING: the
 * readings' notes then say why a sleeping trigger wakes late.
 */
import type { BrokerEvents, BrokerIdentity } from '../../brokerEvents.ts';
import type { Session } from '../wire/session.ts';

export interface SessionCount {
  opened(endpoint: string, session: Session): void;
  /** Notes for a reading: how the next message would be noticed, if not at once. */
  notes(): readonly string[];
}

const NONE: readonly string[] = [];

export function createSessionCount(broker: BrokerIdentity, events: BrokerEvents): SessionCount {
  const open = new Map<string, number>();
  const refusals = new Map<Session, string>();
  let notes = NONE;

  function count(endpoint: string, change: number): void {
    const now = (open.get(endpoint) ?? 0) + change;
    open.set(endpoint, now);
    events.connections({ broker, endpoint, open: now });
  }

  function refused(change: () => void): void {
    change();
    const reasons = [...new Set(refusals.values())];
    notes =
      reasons.length === 0 ? NONE : reasons.map((why) => `a sleeping trigger wakes by polling, as changes are not told: ${why}`);
    events.withoutPush({ broker, connections: refusals.size });
  }

  return {
    opened(endpoint, session) {
      const { trackingRefused } = session;
      count(endpoint, 1);
      if (trackingRefused !== undefined) {
        events.failure({ broker, endpoint, error: trackingRefused });
        refused(() => refusals.set(session, trackingRefused.message));
      }
      void session.ended.then(() => {
        count(endpoint, -1);
        if (refusals.has(session)) refused(() => refusals.delete(session));
      });
    },
    notes: () => notes,
  };
}
