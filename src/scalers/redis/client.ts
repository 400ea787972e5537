/**
 * The one conversation with one Redis deployment: sweeps, watches, and what both have learnt about its keys. One session per
 * server, whatever the number of triggers, and none before the first question.
 */
import { LRUCache } from 'lru-cache';
import { toQueueScalerError } from '../../errors.ts';
import type { BrokerEvents, BrokerIdentity } from '../brokerEvents.ts';
import { unknown, type Reading } from '../reading.ts';
import type { Measures } from './measures.ts';
import type { BrokerClient, Report } from '../contract.ts';
import { answer } from './read/answer.ts';
import { createDiscovery } from './read/discovery.ts';
import type { NamePattern } from './names.ts';
import type { NodeListener } from './topology/node.ts';
import type { Part, PartResult } from './read/commands.ts';
import { patternsOf, plan, type Plan } from './read/plan.ts';
import type { RedisQuestion } from './question.ts';
import { watchQuestion } from './watch/questionWatch.ts';
import { createReader } from './read/reader.ts';
import { createSessionCount } from './watch/sessionCount.ts';
import { createTakenGuard } from './read/moveGuard.ts';
import { VIEW_PERIOD_MS, type Topology, type View } from './topology/topology.ts';
import { createPartWatch } from './watch/keyWatch.ts';

const MAX_REMEMBERED_KEYS = 100_000;

export function createRedisClient(
  broker: BrokerIdentity,
  events: BrokerEvents,
  connect: (listener: NodeListener) => Topology,
): BrokerClient<RedisQuestion> {
  // Counted by size: given a `max`, the cache takes the memory for all of it at once, for each broker.
  const types = new LRUCache<string, string>({ maxSize: MAX_REMEMBERED_KEYS, sizeCalculation: () => 1 });
  const seenKeys = new LRUCache<string, true>({ maxSize: MAX_REMEMBERED_KEYS, sizeCalculation: () => 1 });
  const closing = new AbortController();
  const sessions = createSessionCount(broker, events);
  let watchedQuestions = 0;
  let viewer: NodeJS.Timeout | undefined;
  let lastView: View | undefined;

  const topology = connect({
    opened(node, session) {
      sessions.opened(node.where, session);
    },
    followed(node) {
      watch.followed(node);
    },
    ended(node, error) {
      events.failure({ broker, endpoint: node.where, error });
      watch.ended();
    },
    invalidated(_node, keys) {
      watch.invalidated(keys);
    },
  });
  const reader = createReader(topology, types);
  const discovery = createDiscovery(topology);
  const watch = createPartWatch(reader, remember);
  const taken = createTakenGuard(reader, discovery, planOf, remember, (question, planned, results) =>
    answered(question, planned, (id) => results.get(id)),
  );

  /** Remembers keys that exist, as an emptied list looks like one that never was. */
  function remember(part: Part, result: PartResult): void {
    if ('value' in result && result.value.exists) seenKeys.set(part.key, true);
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
    resultOf: (partId: string) => PartResult | undefined,
  ): Reading<Measures> | undefined {
    return answer(question, roles, resultOf, (key) => seenKeys.has(key), sessions.notes());
  }

  async function sweepAsked(asked: readonly Asked[], report: Report, signal: AbortSignal): Promise<void> {
    const parts = new Map<string, Part>();
    const askers = new Map<string, Asked[]>();
    const results = new Map<string, PartResult>();
    const left = new Map<Asked, number>();
    const checks: Promise<void>[] = [];
    const settle = (each: Asked): void => {
      const reading = answered(each.question, each, (id) => results.get(id));
      if (reading === undefined) return;
      if (!taken.suspects(each.question, reading)) report(each.question.key, reading);
      else {
        checks.push(
          taken.read(each.question, signal).then((checked) => {
            report(each.question.key, checked);
          }),
        );
      }
    };
    for (const each of asked) {
      left.set(each, each.parts.length);
      if (each.parts.length === 0) settle(each);
      for (const part of each.parts) {
        parts.set(part.id, part);
        const same = askers.get(part.id);
        if (same === undefined) askers.set(part.id, [each]);
        else same.push(each);
      }
    }
    await reader.read(
      parts.values(),
      (part, result, session) => {
        if (session !== undefined) watch.answered(session);
        remember(part, result);
        results.set(part.id, result);
        for (const each of askers.get(part.id) ?? []) {
          const rest = (left.get(each) ?? 0) - 1;
          left.set(each, rest);
          if (rest === 0) settle(each);
        }
      },
      signal,
    );
    await Promise.all(checks);
  }

  /** Keys that another server serves now, or that are on their way to one, are read again: the old one tells nothing of them. */
  async function followView(): Promise<void> {
    try {
      const view = await topology.viewSince(performance.now() - VIEW_PERIOD_MS / 2);
      const before = lastView;
      lastView = view;
      watch.reread((key) => view.moving(key) || (before !== undefined && before.nodeOf(key) !== view.nodeOf(key)));
    } catch {
      // Whoever reads hears of it.
    }
  }

  return {
    async readBatch(questions, report, signal) {
      // Questions of which all keys are known go out at once; patterns seen for the first time are looked up beside them.
      const ready: Asked[] = [];
      const later: Promise<void>[] = [];
      for (const question of questions) {
        const missing = patternsOf(question).filter((pattern) => discovery.keys(pattern) === undefined);
        if (missing.length === 0) ready.push({ question, ...planOf(question) });
        else {
          later.push(
            Promise.all(patternsOf(question).map((pattern) => discovery.found(pattern))).then(
              () => sweepAsked([{ question, ...planOf(question) }], report, signal),
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
      if (viewer === undefined) {
        topology.follow(true);
        viewer = setInterval(() => void followView(), VIEW_PERIOD_MS);
      }
      watchedQuestions++;
      const unwatch = watchQuestion(
        { parts: watch, discovery, taken, planOf, answered, signal: closing.signal },
        question,
        watcher,
      );
      let ended = false;
      return () => {
        if (ended) return;
        ended = true;
        unwatch();
        if (--watchedQuestions > 0) return;
        clearInterval(viewer);
        viewer = undefined;
        topology.follow(false);
      };
    },

    // Which keys a pattern stands for, the server does not tell.
    isCurrent: (question) =>
      question.kind === 'keys'
        ? [question.names, question.processing].every((names) => names.every(({ glob, text }) => !glob && watch.stands(text)))
        : watch.stands(question.stream),

    close() {
      clearInterval(viewer);
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
}
