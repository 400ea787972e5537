/**
 * One Redis server: a single session, opened when first needed, reopened with growing pauses, shared by all requests to that
 * server. While it is down nothing queues: requests are rejected at once with the latest reason.
 */
import type { BrokerError } from '../../../errors.ts';
import { createBackOff } from '../../net/backOff.ts';
import { addressText, type Address } from '../../net/address.ts';
import type { Command, Reply } from '../wire/reply.ts';
import { openSession, track, type Access, type Invalidated, type Session } from '../wire/session.ts';

const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 2_000;
/** A session that ends sooner is a failure like one that could not be opened; after a longer one the next is opened at once. */
const SETTLED_MS = 1_000;

export interface Answer {
  readonly replies: readonly Reply[];
  /** The session that answered. If it tracks, what it read is tracked until it ends. */
  readonly session: Session;
}

/** What a node reports. */
export interface NodeListener {
  opened(node: RedisNode, session: Session): void;
  /** A followed node has a session: what was read before it is not tracked, and must be read again. */
  followed(session: Session): void;
  ended(node: RedisNode, reason: BrokerError): void;
  readonly invalidated: Invalidated;
}

export interface RedisNode {
  readonly where: string;
  /** Rejects with a {@link BrokerError}. */
  request(commands: readonly Command[]): Promise<Answer>;
  /** The session that is open now. */
  session(): Session | undefined;
  /** Whether a session is kept open and tracks what it reads. Requests under way are not disturbed. */
  readonly follow: (on: boolean) => void;
  /** Closes the session unless it is younger than {@link SETTLED_MS}: the next request opens another, to where the name leads now. */
  drop(): void;
  readonly close: () => void;
}

/** Without a listener it is a server whose keys nobody reads. */
export function createNode(address: Address, access: Access, listener?: NodeListener): RedisNode {
  let current: Session | undefined;
  let openedAt = -Infinity;
  let opening: Promise<Session> | undefined;
  /** Why the node is left alone until `backOff.retryAt`. */
  let failure: BrokerError | undefined;
  const backOff = createBackOff(FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
  let following = false;
  let closed = false;
  let reopening: NodeJS.Timeout | undefined;

  function open(): Promise<Session> {
    if (current?.isOpen() === true) return Promise.resolve(current);
    if (failure !== undefined && performance.now() < backOff.retryAt) return Promise.reject(failure);
    return connect();
  }

  /** Regardless of a pause: a timer may be due a little before the clock says so. */
  function connect(): Promise<Session> {
    const tracking = listener === undefined ? 'never' : following ? 'now' : 'later';
    opening ??= openSession(address, access, tracking, (keys) => listener?.invalidated(keys))
      .then(
        (session) => {
          failure = undefined;
          if (closed) session.close();
          current = session;
          openedAt = performance.now();
          void session.ended.then((reason) => {
            if (current?.isOpen() !== true) current = undefined;
            if (closed) return;
            if (performance.now() - openedAt >= SETTLED_MS) backOff.succeeded();
            else leaveAlone(reason);
            listener?.ended(node, reason);
            reopen();
          });
          listener?.opened(node, session);
          void followOn(session);
          return session;
        },
        (error: unknown) => {
          leaveAlone(error as BrokerError);
          if (!closed) {
            listener?.ended(node, error as BrokerError);
            reopen();
          }
          throw error;
        },
      )
      .finally(() => {
        opening = undefined;
      });
    return opening;
  }

  function leaveAlone(reason: BrokerError): void {
    failure = reason;
    backOff.failed();
  }

  /** A followed node is reopened without being asked. */
  function reopen(): void {
    if (!following || closed || reopening !== undefined) return;
    const wait = failure === undefined ? 0 : Math.max(0, backOff.retryAt - performance.now());
    reopening = setTimeout(() => {
      reopening = undefined;
      if (following && !closed && current?.isOpen() !== true) connect().catch(() => undefined);
    }, wait);
  }

  /** Turns tracking on for an open session of a followed node; a session that cannot track is used as it is. */
  async function followOn(session: Session): Promise<void> {
    if (!following || closed) return;
    if (session.tracking || session.trackingRefused !== undefined) {
      listener?.followed(session);
      return;
    }
    try {
      const tracking = await track(session, true);
      if (current !== session) return;
      current = tracking;
      listener?.followed(tracking);
    } catch {
      // The session has ended, which is reported there.
    }
  }

  const node: RedisNode = {
    where: addressText(address),
    async request(commands) {
      const session = await open();
      return { replies: await session.request(commands), session };
    },
    session: () => (current?.isOpen() === true ? current : undefined),
    follow(on) {
      if (following === on) return;
      following = on;
      if (!on) return;
      if (current !== undefined) void followOn(current);
      else if (opening === undefined) reopen();
    },
    drop() {
      if (performance.now() - openedAt >= SETTLED_MS) current?.close();
    },
    close() {
      closed = true;
      clearTimeout(reopening);
      current?.close();
    },
  };
  return node;
}
