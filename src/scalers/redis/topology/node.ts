/**
 * One Redis server as we keep it: a single session, opened when first needed, mended with growing pauses, shared by all that is
 * asked of that server. While it is down nothing queues: whoever asks hears the latest reason at once.
 */
import type { BrokerError } from '../../../errors.ts';
import { addressText, type Address } from '../../net/address.ts';
import type { Command, Reply } from '../wire/resp.ts';
import { openSession, REQUEST_TIMEOUT_MS, track, type Access, type Session } from '../wire/session.ts';

const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 2_000;
/** A session that ends sooner is a failure like one that could not be opened; after a longer one the next is opened at once. */
const SETTLED_MS = 1_000;

export interface Answer {
  readonly replies: readonly Reply[];
  /** The session that answered: what it read is tracked as long as it lives, if it tracks. */
  readonly session: Session;
}

/** What a node tells whoever watches. */
export interface NodeListener {
  opened(node: RedisNode, session: Session): void;
  /** A session that the node is followed on is ready: what was read before is not tracked, and must be read again. */
  followed(node: RedisNode, session: Session): void;
  ended(node: RedisNode, reason: BrokerError): void;
  invalidated(node: RedisNode, keys: readonly string[] | null): void;
}

export interface RedisNode {
  readonly address: Address;
  readonly where: string;
  /** Rejects with a {@link BrokerError}. */
  request(commands: readonly Command[]): Promise<Answer>;
  /** The session that is open now. */
  session(): Session | undefined;
  /** From now on a session is kept open and tracks what it reads; or no longer kept. Requests under way are not disturbed. */
  follow(on: boolean): void;
  /** Ends the session if it is not quite new, so that the next request opens another: to a new address if the name now means one. */
  drop(): void;
  close(): void;
}

/** `holdsKeys` is false for a server whose keys nobody reads. */
export function createNode(address: Address, access: Access, listener: NodeListener, holdsKeys = true): RedisNode {
  let current: Session | undefined;
  let openedAt = -Infinity;
  let opening: Promise<Session> | undefined;
  let failed: { readonly error: BrokerError; readonly until: number } | undefined;
  let pauseMs = FIRST_PAUSE_MS;
  let following = false;
  let closed = false;
  let reopening: NodeJS.Timeout | undefined;

  function open(): Promise<Session> {
    if (current?.isOpen() === true) return Promise.resolve(current);
    if (failed !== undefined && performance.now() < failed.until) return Promise.reject(failed.error);
    return connect();
  }

  /** Whether a pause is over or not: a timer may be due a little before the clock says so. */
  function connect(): Promise<Session> {
    opening ??= openSession(address, access, !holdsKeys ? 'never' : following ? 'now' : 'later', (keys) => {
      listener.invalidated(node, keys);
    })
      .then(
        (session) => {
          failed = undefined;
          if (closed) session.close();
          current = session;
          openedAt = performance.now();
          void session.ended.then((reason) => {
            if (current?.isOpen() !== true) current = undefined;
            if (closed) return;
            if (performance.now() - openedAt >= SETTLED_MS) pauseMs = FIRST_PAUSE_MS;
            else backOff(reason);
            listener.ended(node, reason);
            reopen();
          });
          listener.opened(node, session);
          void followOn(session);
          return session;
        },
        (error: unknown) => {
          backOff(error as BrokerError);
          if (!closed) {
            listener.ended(node, error as BrokerError);
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

  function backOff(error: BrokerError): void {
    // With jitter: many scalers that lost one server don't come back in step.
    failed = { error, until: performance.now() + pauseMs * (0.5 + Math.random() / 2) };
    pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2);
  }

  /** A followed node is reopened without being asked. */
  function reopen(): void {
    if (!following || closed || reopening !== undefined) return;
    const wait = failed === undefined ? 0 : Math.max(0, failed.until - performance.now());
    reopening = setTimeout(() => {
      reopening = undefined;
      if (following && !closed && current?.isOpen() !== true) connect().catch(() => undefined);
    }, wait);
  }

  /** Sees to it that an open session tracks where the node is followed; a session that cannot is of use as it is. */
  async function followOn(session: Session): Promise<void> {
    if (!following || closed) return;
    if (session.tracking || session.trackingRefused !== undefined) {
      listener.followed(node, session);
      return;
    }
    try {
      const tracking = await track(session, true);
      if (current !== session) return;
      current = tracking;
      listener.followed(node, tracking);
    } catch {
      // The session has ended, which is told.
    }
  }

  const node: RedisNode = {
    address,
    where: addressText(address),
    async request(commands) {
      const session = await open();
      return { replies: await session.request(commands, REQUEST_TIMEOUT_MS), session };
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
