/**
 * Notices changes of state: a trigger is rejected, becomes unknown, or recovers. They are logged, and told to the trigger's owner. A
 * failure that lasts is logged once and counted, not once a poll.
 */
import { LRUCache } from 'lru-cache';
import type { ErrorCode } from '../errors.ts';
import type { Logger } from '../logger.ts';
import type { Trigger } from '../scalers/trigger.ts';
import type { CallEnd } from './grpc/adapt.ts';
import type { CallSubject } from './grpc/externalScaler.ts';
import type { Refusal } from './grpc/listener.ts';
import type { StateEvents } from './stateEvents.ts';

interface Failure {
  code: ErrorCode;
  readonly since: number;
  calls: number;
}

/** Rejected triggers that are remembered as logged. */
const MAX_REFUSALS = 1_000;
/** A failure of this process itself is logged again after this time. */
const REPEAT_MS = 60_000;

export interface StateLog {
  call(end: CallEnd<CallSubject>): void;
}

/** `events` is absent where there is no cluster. */
export function createStateLog(logger: Logger, events: StateEvents | undefined): StateLog {
  // A trigger is remembered as long as the server remembers it.
  const failing = new WeakMap<Trigger, Failure>();
  const refused = new LRUCache<string, Failure>({ max: MAX_REFUSALS });
  const own = new LRUCache<ErrorCode, true>({ max: 10, ttl: REPEAT_MS });

  return {
    call({ method, about, error }) {
      const { trigger, namespace, name } = about;
      const asked = method === 'GetMetrics' || method === 'IsActive';
      if (error === undefined) {
        const failure = trigger === undefined || !asked ? undefined : failing.get(trigger);
        if (trigger === undefined || failure === undefined) return;
        failing.delete(trigger);
        const forMs = Math.round(performance.now() - failure.since);
        logger.info(
          { namespace, name, metric: trigger.spec.name, was: failure.code, calls: failure.calls, forMs },
          'trigger state recovered',
        );
        events?.known(about, trigger.spec.name, `it was not for ${Math.ceil(forMs / 1000)} s (${failure.code})`);
        return;
      }
      if (error.code === 'CALL_CANCELLED') return;
      if (error.spec.radius === 'process') {
        if (own.has(error.code)) return;
        own.set(error.code, true);
        logger.error({ method, namespace, name, error }, 'a call failed inside the scaler');
        return;
      }
      if (trigger === undefined) {
        events?.refused(about, error);
        const key = `${namespace}/${name} ${error.message}`;
        const failure = refused.get(key);
        if (failure !== undefined) failure.calls++;
        else {
          refused.set(key, { code: error.code, since: performance.now(), calls: 1 });
          logger.warn({ namespace, name, error }, 'trigger rejected');
        }
        return;
      }
      const failure = failing.get(trigger);
      const since = failure?.since ?? performance.now();
      events?.unknown(about, trigger.spec.name, error, since, failure?.code !== error.code);
      if (failure?.code === error.code) {
        failure.calls++;
        return;
      }
      failing.set(trigger, { code: error.code, since, calls: (failure?.calls ?? 0) + 1 });
      logger.warn({ namespace, name, metric: trigger.spec.name, error }, 'trigger state unknown');
    },
  };
}

/** Logs refused connections: each reason at most once a minute, with the number of those not logged. */
export function createRefusalLog(logger: Logger): (why: Refusal, detail: string) => void {
  const logged = new LRUCache<Refusal, true>({ max: 10, ttl: REPEAT_MS });
  const unlogged = new Map<Refusal, number>();
  return (why, detail) => {
    const count = (unlogged.get(why) ?? 0) + 1;
    unlogged.set(why, count);
    if (logged.has(why)) return;
    logged.set(why, true);
    unlogged.delete(why);
    logger.warn({ why, detail, count }, 'a connection was refused');
  };
}
