/**
 * One Redis server as we keep it: a single session, opened when first needed, mended with growing pauses, shared by all that is
 * asked of that server. While it is down nothing queues: whoever asks hears the latest reason at once.
 */
import type { BrokerError } from '../../errors.ts';
import { addressText, type Address } from './wire/address.ts';
import type { Command, Reply } from './wire/resp.ts';
import { openSession, REQUEST_TIMEOUT_MS, type Access, type Session } from './wire/session.ts';

const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 2_000;

export interface Answer {
  readonly replies: readonly Reply[];
  /** The session that answered: what it read is tracked as long as it lives, if it tracks. */
  readonly session: Session;
}

/** What a node tells whoever watches. */
export interface NodeListener {
  /** A session was opened: nothing read before is tracked any longer. */
  opened(node: RedisNode, session: Session): void;
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
  /** From now on the session is kept open and tracks what it reads, or neither. */
  follow(on: boolean): void;
  /** Ends the session, so that the next request opens another: to a new address if the name now means one. */
  drop(): void;
  close(): void;
}

export function createNode(address: Address, access: Access, listener: NodeListener): RedisNode {
  let current: Session | undefined;
  let opening: Promise<Session> | undefined;
  let failed: { readonly error: BrokerError; readonly until: number } | undefined;
  let pauseMs = FIRST_PAUSE_MS;
  let following = false;
  let closed = false;
  let reopening: NodeJS.Timeout | undefined;

  function open(): Promise<Session> {
    if (current?.isOpen() === true) return Promise.resolve(current);
    if (failed !== undefined && performance.now() < failed.until) return Promise.reject(failed.error);
    opening ??= openSession(address, access, following, (keys) => {
      listener.invalidated(node, keys);
    })
      .then(
        (session) => {
          failed = undefined;
          pauseMs = FIRST_PAUSE_MS;
          if (closed) session.close();
          current = session;
          void session.ended.then((reason) => {
            if (current === session) current = undefined;
            if (closed) return;
            listener.ended(node, reason);
            reopen();
          });
          listener.opened(node, session);
          return session;
        },
        (error: unknown) => {
          // Whole jitter: many scalers that lost one server don't come back in step.
          failed = { error: error as BrokerError, until: performance.now() + pauseMs * (0.5 + Math.random() / 2) };
          pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2);
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

  /** A followed node is reopened without being asked. */
  function reopen(): void {
    if (!following || closed || reopening !== undefined) return;
    const wait = failed === undefined ? 0 : Math.max(0, failed.until - performance.now());
    reopening = setTimeout(() => {
      reopening = undefined;
      if (following && !closed) open().catch(() => undefined);
    }, wait);
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
      // A session that was opened without tracking makes room for one with it.
      if (current !== undefined) current.close();
      else reopen();
    },
    drop() {
      current?.close();
    },
    close() {
      closed = true;
      clearTimeout(reopening);
      current?.close();
    },
  };
  return node;
}
