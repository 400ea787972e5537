/**
 * The one conversation with one RabbitMQ broker: shares its readers among all questions, asks again where a zero is in doubt, and
 * watches sleeping queues. A question that hangs must never hold up another.
 */
import { BrokerError } from '../../errors.ts';
import type { BrokerEvents } from '../brokerEvents.ts';
import type { Reading } from '../reading.ts';
import type { BrokerIdentity, BrokerClient, Report, Watcher } from '../contract.ts';
import type { Declarer } from './amqp/declarePool.ts';
import { createManagementHealth } from './management/health.ts';
import { createQueueListCache } from './management/queueListCache.ts';
import type { Management } from './management/api.ts';
import { createPrometheusScraper, type ScraperOptions } from './prometheus/scraper.ts';
import type { RabbitQuestion } from './question.ts';
import { createRateTracker } from './read/rates.ts';
import type { QueueStats, QueueList } from './management/queueStats.ts';
import { createQuestionReader, type QuestionReader } from './read/questionReader.ts';
import { createWatches } from './wake/watches.ts';
import { createZeros } from './read/zero.ts';

/** A zero in doubt is looked at so often until it is confirmed or gone, in ms. */
const RECHECK_MS = 2_500;
/** Doubts that nobody asks about any more are dropped after this many looks. */
const MAX_RECHECKS = 12;
/** A list takes about so long for each queue, in ms: measured on RabbitMQ 3.10 with 5000 that slept. */
const LISTED_QUEUE_MS = 0.1;
const NO_COUNTERS = { published: 0, delivered: 0, acknowledged: 0, rates: { published: 0, delivered: 0, acknowledged: 0 } };

export interface RabbitClientParts {
  readonly broker: BrokerIdentity;
  readonly events: BrokerEvents;
  /** Made when the conversation opens; told of what changes on the node's side. */
  readonly declarer: ((onNodeEvent: () => void) => Declarer) | undefined;
  readonly management: Management | undefined;
  /** The management API was only guessed. */
  readonly managementIsOptional: boolean;
  readonly metrics: Pick<ScraperOptions, 'setting' | 'http' | 'host'>;
}

interface PendingZero {
  readonly question: RabbitQuestion;
  readonly report: Report;
  rechecks: number;
}

export function createRabbitClient(parts: RabbitClientParts): BrokerClient<RabbitQuestion> {
  const { broker, events, management } = parts;
  const closing = new AbortController();
  const zeros = createZeros();
  const declarer = parts.declarer?.(() => {
    zeros.nodeEvent();
  });
  const link = createManagementHealth({
    management,
    optional: parts.managementIsOptional,
    signal: closing.signal,
    onNodeEvent: () => {
      zeros.nodeEvent();
    },
  });
  const isCalm = (): boolean => link.allRunning() && !zeros.recentNodeChange();
  const metrics = createPrometheusScraper({
    ...parts.metrics,
    link,
    isCalm,
    signal: closing.signal,
    onTrouble: (endpoint, error) => {
      events.failure({ broker, endpoint, error });
    },
  });
  const readers = new Map<string, QuestionReader>();
  const asked = createRecentCount();
  const pendingZeros = new Map<string, PendingZero>();
  const recheckTimer = setInterval(() => {
    for (const pending of [...pendingZeros.values()]) void recheck(pending);
  }, RECHECK_MS);
  recheckTimer.unref();
  const watches = createWatches({
    readerOf,
    read: (question) => read(question),
    declare: declarer === undefined ? undefined : (vhost, queue) => declarer.declare(vhost, queue),
  });

  function readerOf(vhost: string): QuestionReader {
    let reader = readers.get(vhost);
    if (reader === undefined) readers.set(vhost, (reader = createVhostReader(vhost)));
    return reader;
  }

  function createVhostReader(vhost: string): QuestionReader {
    const prefix = `${vhost}\0`;
    const lists = createQueueListCache(async (kind) => {
      if (kind === 'statistics') return seenWhole(link.use((each) => each.statistics(vhost, closing.signal)));
      // Where a node's metrics cannot be had, the totals list tells of all nodes.
      const scraped = kind === 'prometheus' ? await metrics.scrape(vhost) : undefined;
      return scraped ?? link.use((each) => each.totals(vhost, link.overview()?.queues, closing.signal));
    });
    return createQuestionReader({
      declare: declarer === undefined ? undefined : (queue) => declarer.declare(vhost, queue),
      lists,
      queue: (name) => seenWhole(link.use((each) => each.queue(vhost, name, closing.signal))),
      managementIsAbsent: () => link.isAbsent(),
      async prepare() {
        await link.refresh();
        return { queues: link.overview()?.queues, prometheus: metrics.isAvailable() };
      },
      noCounters: () => ((link.overview()?.ratesMode ?? 'none') === 'none' || zeros.recentNodeChange() ? undefined : NO_COUNTERS),
      clusterStable: isCalm,
      expectedListMs: () =>
        isCalm() && link.allReport() ? (lists.tookMs ?? (link.overview()?.queues ?? 0) * LISTED_QUEUE_MS) : 0,
      nodeNames: () => link.nodeNames(),
      partitionedNodes: () => link.partitionedNodes(),
      zeros: {
        ...zeros,
        resetZero: (queue) => {
          zeros.resetZero(prefix + queue);
        },
        isConfirmed: (queue) => zeros.isConfirmed(prefix + queue),
        zero: (queue, evidence, confirmMs) => zeros.zero(prefix + queue, evidence, confirmMs),
      },
      rates: createRateTracker(),
    });
  }

  /** The statistics' answer once the nodes were seen after it, where only they tell whether its figures are those of one side. */
  async function seenWhole<T extends QueueList | (QueueStats & { readonly at: number }) | undefined>(
    answering: Promise<T>,
  ): Promise<T> {
    const answer = await answering;
    if (answer === undefined) return answer;
    const rows: readonly QueueStats[] = 'queues' in answer ? [...answer.queues.values()] : [answer];
    if (rows.some(({ replicated, messages }) => replicated && messages !== 0)) await link.seeNodes(answer.at);
    return answer;
  }

  async function read(question: RabbitQuestion): Promise<Reading> {
    const wanted = asked.add(question.vhost, question.key);
    return readerOf(question.vhost).read(question, wanted);
  }

  async function readAndReport(question: RabbitQuestion, report: Report): Promise<void> {
    const reading = await read(question);
    if (closing.signal.aborted) return;
    if (!reading.known && reading.error.code === 'ZERO_UNCONFIRMED') {
      const looks = pendingZeros.get(question.key)?.rechecks ?? 0;
      pendingZeros.set(question.key, { question, report, rechecks: looks });
    } else {
      pendingZeros.delete(question.key);
    }
    report(question.key, reading);
  }

  async function recheck(doubt: PendingZero): Promise<void> {
    if (++doubt.rechecks > MAX_RECHECKS) pendingZeros.delete(doubt.question.key);
    else await readAndReport(doubt.question, doubt.report);
  }

  return {
    async readBatch(questions, report) {
      for (const question of questions) asked.add(question.vhost, question.key);
      await Promise.all(questions.map((question) => readAndReport(question, report)));
    },

    watch: (question: RabbitQuestion, watcher: Watcher) => watches.add(question, watcher),

    async close() {
      closing.abort(new BrokerError('BROKER_UNREACHABLE', `${broker.label}: the conversation is closed`));
      clearInterval(recheckTimer);
      watches.close();
      await Promise.allSettled([declarer?.close(), management?.close(), metrics.close()]);
      events.connections({ broker, endpoint: broker.label, open: 0 });
    },
  };
}

const RECENT_MS = 5_000;

/** Counts the different questions of each vhost within the last five to ten seconds. */
function createRecentCount(): { add(vhost: string, key: string): number } {
  const vhosts = new Map<string, { current: Set<string>; before: number; since: number }>();
  return {
    add(vhost, key) {
      const now = performance.now();
      let count = vhosts.get(vhost);
      if (count === undefined) vhosts.set(vhost, (count = { current: new Set(), before: 0, since: now }));
      if (now - count.since > RECENT_MS) {
        count.before = now - count.since > 2 * RECENT_MS ? 0 : count.current.size;
        count.current = new Set();
        count.since = now;
      }
      count.current.add(key);
      return Math.max(count.current.size, count.before);
    },
  };
}
