/**
 * How many streams each connection may have open: always some more than it has, and more again in the next turn of the event loop. Whoever
 * opens thousands at once is thereby heard in small portions, by HTTP/2's own means (SETTINGS_MAX_CONCURRENT_STREAMS); what comes all the
 * same is refused without a line of JavaScript. A client that keeps to what it was told must never be refused.
 */
import type { ServerHttp2Session } from 'node:http2';

/** Of one connection: KEDA opens a single one for everything, with one or two streams a trigger. */
export const MAX_STREAMS_PER_CONNECTION = 30_000;
/** Told before it is known how many connections there are. */
export const FIRST_STREAMS = 10;
/** New streams that one connection may have on their way: some 10 ms of work. With fewer, opening ten thousand takes longer than beginning them. */
const SPARE = 150;
/** The same of all connections together, where there are many; each has {@link FIRST_STREAMS} in any case. */
const SPARE_OF_ALL = 3_000;
/** Left over from streams that have ended; beyond it, what was allowed is taken back. */
const MAX_SPARE = 1_000;

/** What is needed of an HTTP/2 session. */
export type QuotaSession = Pick<ServerHttp2Session, 'closed' | 'destroyed' | 'on' | 'settings'>;

/** The function returned takes on a session as it begins, which has been told {@link FIRST_STREAMS}. */
export function createStreamQuota(): (session: QuotaSession) => void {
  let sessions = 0;

  return (session) => {
    let open = 0;
    let allowed = FIRST_STREAMS;
    /** Whether a change is under way: the next waits until the client has heard of it. */
    let changing = false;

    function settle(): void {
      const spare = Math.max(FIRST_STREAMS, Math.min(SPARE, Math.floor(SPARE_OF_ALL / sessions)));
      const left = allowed - open;
      if (changing || (left > spare / 2 && left <= MAX_SPARE)) return;
      changing = true;
      setImmediate(() => {
        const target = Math.min(open + spare, MAX_STREAMS_PER_CONNECTION);
        if (target === allowed || session.closed || session.destroyed) {
          changing = false;
          return;
        }
        allowed = target;
        session.settings({ maxConcurrentStreams: allowed }, () => {
          changing = false;
          settle();
        });
      });
    }

    sessions++;
    session.on('close', () => {
      sessions--;
    });
    session.on('stream', (stream) => {
      open++;
      stream.once('close', () => {
        open--;
        settle();
      });
      settle();
    });
    settle();
  };
}
