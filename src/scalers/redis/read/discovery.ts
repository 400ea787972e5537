/**
 * Finds the keys that match a trigger's patterns by `SCAN`, one page at a time and never while a reading waits for it, except for a
 * new pattern's. A key that was found once is kept: an emptied list has no key, and is the very one to watch.
 */
import { BrokerError, QueueError, toQueueScalerError, type QueueScalerError } from '../../../errors.ts';
import { matches, type NamePattern } from '../names.ts';
import type { RedisNode } from '../topology/node.ts';
import type { Topology } from '../topology/topology.ts';
import { replyError, replyInvalid } from '../wire/failures.ts';
import { ErrorReply } from '../wire/reply.ts';

/** Keys looked at per page; a page costs the server well under a millisecond. */
const PAGE_KEYS = 1_000;
/** Time between two scans in ms, and at least as a multiple of what the last one took: scanning takes at most a twentieth of the time. */
const LOOK_PERIOD_MS = 2_000;
const PERIOD_PER_LOOK = 20;
/** A pattern that matches more than this is not a queue's. */
const MAX_KEYS = 50_000;
/** How long after its last use a pattern is forgotten, in ms. */
const FORGET_MS = 600_000;

export interface Discovery {
  /** The keys known to match; undefined until a scan has succeeded, unlike an empty set. */
  keys(pattern: NamePattern): ReadonlySet<string> | undefined;
  /** The same, after a first look where there was none. Rejects with a {@link QueueScalerError}. */
  found(pattern: NamePattern): Promise<ReadonlySet<string>>;
  /** Looks now, after any look that is under way. Rejects with a {@link QueueScalerError}. */
  lookNow(pattern: NamePattern): Promise<void>;
  /** Keeps the pattern's keys fresh and calls `changed` when there are new ones, until the returned function is called. */
  watch(pattern: NamePattern, changed: () => void): () => void;
  close(): void;
}

interface Known {
  readonly pattern: NamePattern;
  readonly keys: Set<string>;
  readonly changed: Set<() => void>;
  /** Whether a scan has succeeded, and the pattern does not match too many keys. */
  complete: boolean;
  askedAt: number;
  lookedAt: number;
  lookMs: number;
  looking: Promise<void> | undefined;
  error: QueueScalerError | undefined;
}

function idOf({ text, except = [] }: NamePattern): string {
  return JSON.stringify([text, ...except.map((each) => [each.text, each.glob])]);
}

export function createDiscovery(topology: Topology): Discovery {
  const patterns = new Map<string, Known>();
  const closing = new AbortController();
  const timer = setInterval(lookAgain, LOOK_PERIOD_MS / 2);
  timer.unref();

  function lookAgain(): void {
    const now = performance.now();
    for (const [id, known] of patterns) {
      if (known.changed.size === 0 && now - known.askedAt > FORGET_MS) patterns.delete(id);
      else if (now - known.lookedAt >= Math.max(LOOK_PERIOD_MS, known.lookMs * PERIOD_PER_LOOK)) void look(known);
    }
  }

  function knownOf(pattern: NamePattern): Known {
    let known = patterns.get(idOf(pattern));
    if (known === undefined) {
      known = {
        pattern,
        keys: new Set(),
        changed: new Set(),
        complete: false,
        askedAt: 0,
        lookedAt: -Infinity,
        lookMs: 0,
        looking: undefined,
        error: undefined,
      };
      patterns.set(idOf(pattern), known);
    }
    known.askedAt = performance.now();
    return known;
  }

  function look(known: Known): Promise<void> {
    known.looking ??= (async () => {
      const startedAt = performance.now();
      const before = known.complete ? known.keys.size : -1;
      try {
        const { nodes } = await topology.snapshot();
        await Promise.all(nodes.map((node) => scan(node, known)));
        known.error = undefined;
        known.complete = true;
      } catch (thrown) {
        known.error = toQueueScalerError(thrown);
        if (known.error.code === 'VALUE_IMPLAUSIBLE') known.complete = false;
      }
      known.lookedAt = performance.now();
      known.lookMs = known.lookedAt - startedAt;
      known.looking = undefined;
      if (known.complete && known.keys.size !== before) for (const changed of known.changed) changed();
    })();
    return known.looking;
  }

  async function scan(node: RedisNode, known: Known): Promise<void> {
    const { text, except = [] } = known.pattern;
    const subject = `SCAN MATCH ${text}`;
    let cursor = '0';
    do {
      closing.signal.throwIfAborted();
      const [reply = null] = (await node.request([['SCAN', cursor, 'MATCH', text, 'COUNT', PAGE_KEYS]])).replies;
      if (reply instanceof ErrorReply) throw replyError(reply, node.where, subject);
      const [next, keys] = Array.isArray(reply) ? (reply as readonly unknown[]) : [];
      if (typeof next !== 'string' || !Array.isArray(keys)) throw replyInvalid(reply, node.where, subject);
      for (const key of keys as readonly unknown[]) {
        if (typeof key !== 'string') throw replyInvalid(reply, node.where, subject);
        if (!except.some((each) => matches(each, key))) known.keys.add(key);
      }
      if (known.keys.size > MAX_KEYS) {
        throw new QueueError('VALUE_IMPLAUSIBLE', `more than ${MAX_KEYS} keys match ${text}; give a narrower pattern`);
      }
      cursor = next;
    } while (cursor !== '0');
  }

  return {
    keys(pattern) {
      const known = patterns.get(idOf(pattern));
      return known?.complete === true ? known.keys : undefined;
    },
    async found(pattern) {
      const known = knownOf(pattern);
      if (!known.complete) await look(known);
      if (!known.complete) throw known.error ?? new BrokerError('BROKER_UNREACHABLE', `${pattern.text} was not looked for`);
      if (closing.signal.aborted) throw new BrokerError('BROKER_UNREACHABLE', 'the client is closing');
      return known.keys;
    },
    async lookNow(pattern) {
      const known = knownOf(pattern);
      await known.looking;
      await look(known);
      if (known.error !== undefined) throw known.error;
    },
    watch(pattern, changed) {
      const known = knownOf(pattern);
      known.changed.add(changed);
      return () => {
        known.changed.delete(changed);
        known.askedAt = performance.now();
      };
    },
    close() {
      clearInterval(timer);
      closing.abort();
    },
  };
}
