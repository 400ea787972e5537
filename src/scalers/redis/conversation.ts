/**
 * The one conversation with one Redis deployment: sweeps, watches, and what both have learnt about its keys. One session per
 * server, whatever the number of triggers, and none before the first question.
 */
import { LRUCache } from 'lru-cache';
import { toQueueScalerError } from '../../errors.ts';
import type { SamplerEvents } from '../events.ts';
import { unknown } from '../reading.ts';
import type { BrokerIdentity, Conversation, Report, Watcher } from '../scaler.ts';
import { answer, type Role } from './answer.ts';
import { createDiscovery } from './discovery.ts';
import type { NamePattern } from './names.ts';
import type { NodeListener } from './node.ts';
import { countPart, streamPart, type Part, type PartResult } from './parts.ts';
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
    const settle = (each: Asked): void => {
      const reading = answer(each.question, each.roles, (id) => results.get(id), seen, notes(each.question, []));
      if (reading !== undefined) report(each.question.key, reading);
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
  }

  function watchQuestion(question: RedisQuestion, watcher: Watcher): () => void {
    let roles: readonly Role[] = [];
    const watched = new Map<string, () => void>();
    let ended = false;
    let queued = false;

    const tell = (): void => {
      queued = false;
      if (ended) return;
      const ids = roles.map((role) => role.partId);
      for (const id of ids) {
        const result = watch.result(id);
        const role = roles.find((each) => each.partId === id);
        if (result !== undefined && 'value' in result && result.value.exists && role !== undefined) seenKeys.set(role.key, true);
      }
      const reading = answer(question, roles, (id) => watch.result(id), seen, notes(question, ids));
      if (reading !== undefined) watcher.report(reading);
    };
    const heard = (): void => {
      if (queued) return;
      queued = true;
      queueMicrotask(tell);
    };
    const replan = (): void => {
      if (ended) return;
      const planned = plan(question, found);
      roles = planned.roles;
      for (const part of planned.parts) {
        if (!watched.has(part.id)) watched.set(part.id, watch.add({ part, sleeping: () => watcher.sleeping(), heard }));
      }
      if (planned.parts.length === 0) heard();
    };

    const patterns = patternsOf(question);
    const unwatches = patterns.map((pattern) => discovery.watch(pattern, replan));
    if (patterns.length === 0) replan();
    else {
      Promise.all(patterns.map((pattern) => discovery.found(pattern))).then(replan, (thrown: unknown) => {
        if (!ended) watcher.report(unknown(toQueueScalerError(thrown)));
        replan();
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
  function notes(_question: RedisQuestion, watchedIds: readonly string[]): readonly string[] {
    if (watchedIds.length === 0 || watch.tracked(watchedIds)) return [];
    return refusal === undefined ? [] : [`woken by polling, as the server does not track keys for us: ${refusal}`];
  }
}

interface Asked {
  readonly question: RedisQuestion;
  readonly parts: readonly Part[];
  readonly roles: readonly Role[];
}

function patternsOf(question: RedisQuestion): readonly NamePattern[] {
  return question.kind === 'stream' ? [] : [...question.names, ...question.processing].filter((name) => name.glob);
}

/** The parts of a question, given the keys that its patterns stand for. A key that is named twice counts once. */
function plan(question: RedisQuestion, found: (pattern: NamePattern) => ReadonlySet<string>): Pick<Asked, 'parts' | 'roles'> {
  if (question.kind === 'stream') {
    const part = streamPart(question.stream, question.group, question.mode);
    return { parts: [part], roles: [{ partId: part.id, key: question.stream, as: 'waiting' }] };
  }
  const parts = new Map<string, Part>();
  const roles: Role[] = [];
  const add = (patterns: readonly NamePattern[], as: Role['as']): void => {
    for (const pattern of patterns) {
      for (const key of pattern.glob ? found(pattern) : [pattern.text]) {
        const part = countPart(key);
        if (parts.has(part.id)) continue;
        parts.set(part.id, part);
        roles.push({ partId: part.id, key, as });
      }
    }
  };
  add(question.names, 'waiting');
  add(question.processing, 'processing');
  return { parts: [...parts.values()], roles };
}
