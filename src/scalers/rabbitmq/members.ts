/**
 * Finds the queues of a pattern or a sharded exchange in the vhost's lists. A queue that was there and is not listed now stays a
 * part of its set, unread, until it is certain that it is gone: in a failover lists leave queues out.
 */
import { RE2JS } from 're2js';
import { BrokerError } from '../../errors.ts';
import { chooseReader } from './choice.ts';
import type { ListKind } from './lists.ts';
import type { Row } from './management.ts';
import type { RabbitQuestion } from './question.ts';
import type { VhostSources } from './sources.ts';

/** A queue that is in no list for so long, with all nodes running, is gone. */
const GONE_MS = 15_000;
const MAX_MATCHERS = 1_000;

export interface Members {
  /** Rejects where names cannot be listed. A row is undefined for a queue that was listed lately and is not now. */
  find(question: RabbitQuestion): Promise<{
    readonly kind: ListKind;
    readonly found: ReadonlyMap<string, { readonly row: Row; readonly at: number } | undefined>;
  }>;
  gone(question: RabbitQuestion, queue: string): void;
}

export function createMembers(sources: VhostSources): Members {
  const seen = new Map<string, Map<string, number>>();
  const matchers = new Map<string, (name: string) => boolean>();

  function matcherOf(question: RabbitQuestion): (name: string) => boolean {
    const { selection } = question;
    const pattern =
      selection.kind === 'shards'
        ? `^sharding: ${RE2JS.quote(selection.exchange)} - [^ ]+ - [0-9]+$`
        : selection.kind === 'pattern'
          ? selection.pattern
          : `^${RE2JS.quote(selection.name)}$`;
    let matches = matchers.get(pattern);
    if (matches === undefined) {
      const compiled = RE2JS.compile(pattern);
      const known = new Map<string, boolean>();
      matches = (name) => {
        let answer = known.get(name);
        if (answer === undefined) {
          if (known.size > 200_000) known.clear();
          known.set(name, (answer = compiled.matcher(name).find()));
        }
        return answer;
      };
      if (matchers.size >= MAX_MATCHERS) matchers.clear();
      matchers.set(pattern, matches);
    }
    return matches;
  }

  return {
    async find(question) {
      const { queues, prometheus } = await sources.prepare();
      if (sources.managementIsAbsent()) {
        throw new BrokerError(
          'BROKER_UNREACHABLE',
          `${question.subject} are listed by the management API, which cannot be reached`,
        );
      }
      const listed = sources.lists.size ?? queues ?? 0;
      const reader = chooseReader({ wanted: listed, listed, byPattern: true, rates: question.needs === 'rates', prometheus });
      const { kind, rows, at } = await sources.lists.get(reader === 'single' ? 'totals' : reader);
      const matches = matcherOf(question);
      const found = new Map<string, { readonly row: Row; readonly at: number } | undefined>();
      const lately = seen.get(question.key) ?? new Map<string, number>();
      seen.set(question.key, lately);
      for (const row of rows.values()) {
        if (!matches(row.name)) continue;
        found.set(row.name, { row, at });
        lately.set(row.name, at);
      }
      for (const [name, seenAt] of lately) {
        if (found.has(name)) continue;
        if (sources.isCalm() && at - seenAt > GONE_MS) lately.delete(name);
        else found.set(name, undefined);
      }
      return { kind, found };
    },
    gone: (question, queue) => {
      seen.get(question.key)?.delete(queue);
    },
  };
}
