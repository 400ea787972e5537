/**
 * The client of one Redis deployment: reads in batches, watches, and remembers what both have learnt about its keys. One session per
 * server, whatever the number of triggers, and none before the first question.
 */
import { LRUCache } from 'lru-cache';
import { toQueueScalerError } from '../../errors.ts';
import type { BrokerEvents, BrokerIdentity } from '../brokerEvents.ts';
import { unknown, type Reading } from '../reading.ts';
import type { BrokerClient, Report } from '../contract.ts';
import { createDiscovery } from './read/discovery.ts';
import type { NamePattern } from './names.ts';
import type { NodeListener } from './topology/node.ts';
import type { KeyRead, KeyReadResult, ReadMemory } from './read/keyRead.ts';
import { answer, patternsOf, plan, type Plan } from './read/plan.ts';
import type { Measures, RedisQuestion } from './question.ts';
import { watchQuestion } from './watch/questionWatch.ts';
import { createReader } from './read/reader.ts';
import type { GroupRecord } from './read/streamFacts.ts';
import { createSessionCount } from './watch/sessionCount.ts';
import { createMoveGuard } from './read/moveGuard.ts';
import { SNAPSHOT_PERIOD_MS, type Topology, type TopologySnapshot } from './topology/topology.ts';
import { createKeyWatch } from './watch/keyWatch.ts';

const MAX_REMEMBERED_KEYS = 100_000;

export function createRedisClient(
  broker: BrokerIdentity,
  events: BrokerEvents,
  connect: (listener: NodeListener) => Topology,
): BrokerClient<RedisQuestion> {
  // With `max` in place of `maxSize` the cache would allocate all of its memory at once, for each broker.
  const remembered = { maxSize: MAX_REMEMBERED_KEYS, sizeCalculation: () => 1 };
  const seenKeys = new LRUCache<string, true>(remembered);
  const memory: ReadMemory = {
    types: new LRUCache<string, string>(remembered),
    groups: new LRUCache<string, GroupRecord>(remembered),
  };
  const closing = new AbortController();
  const sessions = createSessionCount(broker, events);
  let watchedQuestions = 0;
  let topologyTimer: NodeJS.Timeout | undefined;
  let lastSnapshot: TopologySnapshot | undefined;

  const topology = connect({
    opened(node, session) {
      sessions.opened(node.where, session);
    },
    followed(session) {
      watch.followed(session);
    },
    ended(node, error) {
      events.failure({ broker, endpoint: node.where, error });
      watch.ended();
    },
    invalidated(keys) {
      watch.invalidated(keys);
    },
  });
  const reader = createReader(topology, memory);
  const discovery = createDiscovery(topology);
  const watch = createKeyWatch(reader, remember);
  const moveGuard = createMoveGuard(reader, discovery, planOf, remember, (question, planned, results) =>
    answered(question, planned, (id) => results.get(id)),
  );

  /** Remembers keys that exist, as an emptied list looks like one that never was. */
  function remember(read: KeyRead, result: KeyReadResult): void {
    if ('value' in result && result.value.exists) seenKeys.set(read.key, true);
  }

  function found(pattern: NamePattern): ReadonlySet<string> {
    const keys = discovery.keys(pattern) ?? new Set();
    for (const key of keys) seenKeys.set(key, true);
    return keys;
  }

  function planOf(question: RedisQuestion): Plan {
    return plan(question, found);
  }

  function answered(
    question: RedisQuestion,
    { roles }: Plan,
    resultOf: (readId: string) => KeyReadResult | undefined,
  ): Reading<Measures> | undefined {
    return answer(question, roles, resultOf, (key) => seenKeys.has(key), sessions.notes());
  }

  function askedOf(question: RedisQuestion): Asked {
    const { reads, roles } = planOf(question);
    return { question, reads, roles, left: reads.length };
  }

  async function sweepAsked(asked: readonly Asked[], report: Report, signal: AbortSignal): Promise<void> {
    const reads = new Map<string, KeyRead>();
    const askers = new Map<string, Asked[]>();
    const results = new Map<string, KeyReadResult>();
    const checks: Promise<void>[] = [];
    const settle = (each: Asked): void => {
      const reading = answered(each.question, each, (id) => results.get(id));
      if (reading === undefined) return;
      const tell = (checked: Reading): void => {
        report(each.question.key, checked);
      };
      if (moveGuard.suspects(each.question, reading)) checks.push(moveGuard.read(each.question, signal).then(tell));
      else tell(reading);
    };
    for (const each of asked) {
      if (each.reads.length === 0) settle(each);
      for (const read of each.reads) {
        reads.set(read.id, read);
        const same = askers.get(read.id);
        if (same === undefined) askers.set(read.id, [each]);
        else same.push(each);
      }
    }
    await reader(
      reads.values(),
      (read, result, session) => {
        if (session !== undefined) watch.answered(session);
        remember(read, result);
        results.set(read.id, result);
        for (const each of askers.get(read.id) ?? []) {
          if (--each.left === 0) settle(each);
        }
      },
      signal,
    );
    await Promise.all(checks);
  }

  /** Reads again the keys that another server serves now, or that are on their way to one: the old one announces nothing about them. */
  async function followTopology(): Promise<void> {
    try {
      const snapshot = await topology.snapshotSince(performance.now() - SNAPSHOT_PERIOD_MS / 2);
      const before = lastSnapshot;
      lastSnapshot = snapshot;
      watch.reread((key) => snapshot.moving(key) || (before !== undefined && before.nodeOf(key) !== snapshot.nodeOf(key)));
    } catch {
      // The next read reports it.
    }
  }

  return {
    async readBatch(questions, report, signal) {
      // Questions of which all keys are known go out at once; patterns seen for the first time are looked up beside them.
      const ready: Asked[] = [];
      const later: Promise<void>[] = [];
      for (const question of questions) {
        const missing = patternsOf(question).filter((pattern) => discovery.keys(pattern) === undefined);
        if (missing.length === 0) ready.push(askedOf(question));
        else {
          later.push(
            Promise.all(patternsOf(question).map((pattern) => discovery.found(pattern))).then(
              () => sweepAsked([askedOf(question)], report, signal),
              (thrown: unknown) => {
                report(question.key, unknown(toQueueScalerError(thrown)));
              },
            ),
          );
        }
      }
      await Promise.all([sweepAsked(ready, report, signal), ...later]);
    },

    watch(question, watcher) {
      if (topologyTimer === undefined) {
        topology.follow(true);
        topologyTimer = setInterval(() => void followTopology(), SNAPSHOT_PERIOD_MS);
      }
      watchedQuestions++;
      const unwatch = watchQuestion(
        { keyWatch: watch, discovery, moveGuard, planOf, answered, signal: closing.signal },
        question,
        watcher,
      );
      let ended = false;
      return () => {
        if (ended) return;
        ended = true;
        unwatch();
        if (--watchedQuestions > 0) return;
        clearInterval(topologyTimer);
        topologyTimer = undefined;
        topology.follow(false);
      };
    },

    // The server does not announce new keys that match a pattern.
    isCurrent: (question) =>
      question.kind === 'keys'
        ? [question.names, question.processing].every((names) => names.every(({ glob, text }) => !glob && watch.isCurrent(text)))
        : watch.isCurrent(question.stream),

    close() {
      clearInterval(topologyTimer);
      closing.abort();
      watch.close();
      discovery.close();
      topology.close();
      return Promise.resolve();
    },
  };
}

interface Asked extends Plan {
  readonly question: RedisQuestion;
  /** Reads without a result. */
  left: number;
}
