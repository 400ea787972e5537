/**
 * The one conversation with one Redis deployment: sweeps, watches, and what both have learnt about its keys. One session per
 * server, whatever the number of triggers, and none before the first question.
 */
import { LRUCache } from 'lru-cache';
import { ProcessError, toQueueScalerError } from '../../errors.ts';
import type { SamplerEvents } from '../events.ts';
import { unknown, type Reading } from '../reading.ts';
import type { BrokerIdentity, Conversation, Report, Watcher } from '../scaler.ts';
import { answer, type Role } from './answer.ts';
import { createDiscovery } from './discovery.ts';
import type { NamePattern } from './names.ts';
import type { NodeListener } from './node.ts';
import type { Part, PartResult } from './parts.ts';
import { patternsOf, plan, type Plan } from './plan.ts';
import type { RedisQuestion } from './questions.ts';
import { createReader } from './reader.ts';
import { VIEW_PERIOD_MS, type Topology, type View } from './topology/topology.ts';
import { createPartWatch } from './watch.ts';

const MAX_REMEMBERED_KEYS = 100_000;

export function createConversation(
  broker: BrokerIdentity,
  events: SamplerEvents,
  connect: (listener: NodeListener) => Topology,
): Conversation<RedisQuestion> {
  const types = new LRUCache<string, string>({ max: MAX_REMEMBERED_KEYS });
  const seenKeys = new LRUCache<string, true>({ max: MAX_REMEMBERED_KEYS });
  /** Messages of a question, waiting and held, when last told. */
  const totals = new LRUCache<string, number>({ max: MAX_REMEMBERED_KEYS });
  const closing = new AbortController();
  const openSessions = new Map<string, number>();
  let refusal: string | undefined;
  let viewer: NodeJS.Timeout | undefined;
  let lastView: View | undefined;

  const topology = connect({
    opened(node, session) {
      countSessions(node.where, 1);
      void session.ended.then(() => {
        countSessions(node.where, -1);
      });
      refusal = session.trackingRefused?.message;
      if (session.trackingRefused !== undefined) {
        events.trouble({ broker, endpoint: node.where, error: session.trackingRefused });
      }
      watch.rereadAll(node);
    },
    ended(node, error) {
      events.trouble({ broker, endpoint: node.where, error });
      watch.rereadAll();
    },
    invalidated(_node, keys) {
      watch.invalidated(keys);
    },
  });
  const reader = createReader(topology, types);
  const discovery = createDiscovery(topology);
  const watch = createPartWatch(reader, () => undefined);

  function countSessions(endpoint: string, change: number): void {
    const open = (openSessions.get(endpoint) ?? 0) + change;
    openSessions.set(endpoint, open);
    events.connections({ broker, endpoint, open });
  }

  /** Remembers keys that exist, as an emptied list looks like one that never was. */
  function remember(part: Part, result: PartResult): void {
    if ('value' in result && result.value.exists) seenKeys.set(part.key, true);
  }

  const seen = (key: string): boolean => seenKeys.has(key);

  /**
   * Whether fewer messages wait than before and nobody is seen to hold one: they may have been taken between two readings, or to a list that
   * no look has found yet.
   */
  function maybeTaken(question: RedisQuestion, reading: Reading): boolean {
    if (question.kind !== 'keys' || question.processing.length === 0 || !reading.known) return false;
    const { length = 0, processing = 0 } = reading.measures;
    const before = totals.get(question.key) ?? 0;
    if (processing > 0 || length >= before) totals.set(question.key, length + processing);
    return processing === 0 && length < before;
  }

  /** Reads what waits, and only then, where workers may have put it, what they hold: what moves on is seen at one end at least. */
  async function readTaken(question: RedisQuestion, signal: AbortSignal): Promise<Reading> {
    try {
      const results = new Map<string, PartResult>();
      const keep = (part: Part, result: PartResult): void => {
        remember(part, result);
        results.set(part.id, result);
      };
      const waiting = plan(question, found);
      const isWaiting = new Set(waiting.roles.filter((role) => role.as === 'waiting').map((role) => role.partId));
      await reader.read(
        waiting.parts.filter((part) => isWaiting.has(part.id)),
        keep,
        signal,
      );
      await Promise.all(patternsOf(question).map((pattern) => discovery.lookNow(pattern)));
      const all = plan(question, found);
      await reader.read(
        all.parts.filter((part) => !results.has(part.id)),
        keep,
        signal,
      );
      const reading = answer(question, all.roles, (id) => results.get(id), seen, []);
      if (reading?.known === true) totals.set(question.key, (reading.measures.length ?? 0) + (reading.measures.processing ?? 0));
      return reading ?? unknown(new ProcessError('INTERNAL', 'a question was left without an answer'));
    } catch (thrown) {
      return unknown(toQueueScalerError(thrown));
    }
  }

  return {
    async sweep(questions, report, signal) {
      // Questions of which all keys are known go out at once; patterns seen for the first time are looked up beside them.
      const ready: Asked[] = [];
      const later: Promise<void>[] = [];
      for (const question of questions) {
        const missing = patternsOf(question).filter((pattern) => discovery.keys(pattern) === undefined);
        if (missing.length === 0) ready.push({ question, ...plan(question, found) });
        else {
          later.push(
            Promise.all(patternsOf(question).map((pattern) => discovery.found(pattern))).then(
              () => sweepAsked([{ question, ...plan(question, found) }], report, signal),
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
      return watchQuestion(question, watcher);
    },

    close() {
      clearInterval(viewer);
      closing.abort();
      watch.close();
      discovery.close();
      topology.close();
      return Promise.resolve();
    },
  };

  function found(pattern: NamePattern): ReadonlySet<string> {
    const keys = discovery.keys(pattern) ?? new Set();
    for (const key of keys) seenKeys.set(key, true);
    return keys;
  }

  async function sweepAsked(asked: readonly Asked[], report: Report, signal: AbortSignal): Promise<void> {
    const parts = new Map<string, Part>();
    const askers = new Map<string, Asked[]>();
    const results = new Map<string, PartResult>();
    const left = new Map<Asked, number>();
    const taken: Promise<void>[] = [];
    const settle = (each: Asked): void => {
      const reading = answer(each.question, each.roles, (id) => results.get(id), seen, []);
      if (reading === undefined) return;
      if (!maybeTaken(each.question, reading)) report(each.question.key, reading);
      else {
        taken.push(
          readTaken(each.question, signal).then((checked) => {
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
      (part, result) => {
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
    await Promise.all(taken);
  }

  function watchQuestion(question: RedisQuestion, watcher: Watcher): () => void {
    const patterns = patternsOf(question);
    let roles: readonly Role[] = [];
    const watched = new Map<string, () => void>();
    let ended = false;
    let queued = false;
    let checking = false;

    const tell = (): void => {
      queued = false;
      if (ended) return;
      const ids = roles.map((role) => role.partId);
      for (const id of ids) {
        const result = watch.result(id);
        const role = roles.find((each) => each.partId === id);
        if (result !== undefined && 'value' in result && result.value.exists && role !== undefined) seenKeys.set(role.key, true);
      }
      const reading = answer(question, roles, (id) => watch.result(id), seen, notes(ids));
      if (reading === undefined || checking) return;
      if (!maybeTaken(question, reading)) {
        watcher.report(reading);
        return;
      }
      checking = true;
      void readTaken(question, closing.signal).then((checked) => {
        checking = false;
        if (ended) return;
        watcher.report(checked);
        replan();
        heard();
      });
    };
    const heard = (): void => {
      if (queued) return;
      queued = true;
      queueMicrotask(tell);
    };
    const replan = (): void => {
      if (ended || patterns.some((pattern) => discovery.keys(pattern) === undefined)) return;
      const planned = plan(question, found);
      roles = planned.roles;
      for (const part of planned.parts) {
        if (!watched.has(part.id)) watched.set(part.id, watch.add({ part, sleeping: () => watcher.sleeping(), heard }));
      }
      if (planned.parts.length === 0) heard();
    };

    const unwatches = patterns.map((pattern) => discovery.watch(pattern, replan));
    if (patterns.length === 0) replan();
    else {
      // A look that succeeds later tells so by itself.
      Promise.all(patterns.map((pattern) => discovery.found(pattern))).then(replan, (thrown: unknown) => {
        if (!ended) watcher.report(unknown(toQueueScalerError(thrown)));
      });
    }
    return () => {
      ended = true;
      for (const unwatch of [...unwatches, ...watched.values()]) unwatch();
      if (watch.size() === 0) {
        clearInterval(viewer);
        viewer = undefined;
        topology.follow(false);
      }
    };
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

  /** What a person who asks why should know of how the next message would be noticed. */
  function notes(watchedIds: readonly string[]): readonly string[] {
    if (watchedIds.length === 0 || watch.tracked(watchedIds)) return [];
    return refusal === undefined ? [] : [`woken by polling, as the server does not track keys for us: ${refusal}`];
  }
}

interface Asked extends Plan {
  readonly question: RedisQuestion;
}
