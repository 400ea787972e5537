/**
 * Log lines for changes of state: a trigger becomes unknown, or known again. The same failure is said once and counted, never once a
 * poll.
 */
import { LRUCache } from 'lru-cache';
import type { ErrorCode } from '../errors.ts';
import type { Logger } from '../logger.ts';
import type { Trigger } from '../scalers/triggers.ts';
import type { CallEnd } from './grpc/adapt.ts';
import type { CallSubject } from './grpc/externalScaler.ts';
import type { Refusal } from './grpc/listener.ts';

interface Trouble {
  code: ErrorCode;
  readonly since: number;
  calls: number;
}

/** Refused metadata that is remembered as told. */
const MAX_REFUSALS = 1_000;
/** A failure of this process itself is said again after this time. */
const REPEAT_MS = 60_000;

export interface Journal {
  call(end: CallEnd<CallSubject>): void;
}

export function createJournal(logger: Logger): Journal {
  // A trigger is remembered as long as the server remembers it.
  const troubled = new WeakMap<Trigger, Trouble>();
  const refused = new LRUCache<string, Trouble>({ max: MAX_REFUSALS });
  const own = new LRUCache<ErrorCode, true>({ max: 10, ttl: REPEAT_MS });

  return {
    call({ method, about, error }) {
      const { trigger, namespace, name } = about;
      const asked = method === 'GetMetrics' || method === 'IsActive';
      if (error === undefined) {
        const trouble = trigger === undefined || !asked ? undefined : troubled.get(trigger);
        if (trigger === undefined || trouble === undefined) return;
        troubled.delete(trigger);
        const forMs = Math.round(performance.now() - trouble.since);
        logger.info(
          { namespace, name, metric: trigger.spec.name, was: trouble.code, calls: trouble.calls, forMs },
          'known again',
        );
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
        const key = `${namespace}/${name} ${error.message}`;
        const trouble = refused.get(key);
        if (trouble !== undefined) trouble.calls++;
        else {
          refused.set(key, { code: error.code, since: performance.now(), calls: 1 });
          logger.warn({ namespace, name, error }, 'refused');
        }
        return;
      }
      const trouble = troubled.get(trigger);
      if (trouble?.code === error.code) {
        trouble.calls++;
        return;
      }
      troubled.set(trigger, { code: error.code, since: trouble?.since ?? performance.now(), calls: (trouble?.calls ?? 0) + 1 });
      logger.warn({ namespace, name, metric: trigger.spec.name, error }, 'unknown');
    },
  };
}

/** Logs refused connections: each reason once in a while, with the number that was not told. */
export function createRefusalLog(logger: Logger): (why: Refusal, detail: string) => void {
  const told = new LRUCache<Refusal, true>({ max: 10, ttl: REPEAT_MS });
  const untold = new Map<Refusal, number>();
  return (why, detail) => {
    const count = (untold.get(why) ?? 0) + 1;
    untold.set(why, count);
    if (told.has(why)) return;
    told.set(why, true);
    untold.delete(why);
    logger.warn({ why, detail, count }, 'a connection was refused');
  };
}
