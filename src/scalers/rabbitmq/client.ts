/**
 * The client of one RabbitMQ broker: shares its readers among all questions, and watches their queues. A question that hangs never
 * holds up another.
 */
import { BrokerError } from '../../errors.ts';
import type { BrokerEvents, BrokerIdentity } from '../brokerEvents.ts';
import type { BrokerClient, Report } from '../contract.ts';
import type { Reading } from '../reading.ts';
import { createTurns } from '../turns.ts';
import type { Declarer } from './amqp/declarePool.ts';
import type { Management } from './management/api.ts';
import { createManagementHealth } from './management/health.ts';
import { createQueueListCache } from './management/queueListCache.ts';
import type { QueueStats } from './management/queueStats.ts';
import { createPrometheusScraper, type ScraperOptions } from './prometheus/scraper.ts';
import type { RabbitQuestion } from './question.ts';
import { createQuestionReader, wakeReading, type QuestionReader } from './read/questionReader.ts';
import { createForgettingMap, createQueueMemory } from './read/queueMemory.ts';
import { createQueueSets } from './read/queueSet.ts';
import { createWatches } from './wake/watches.ts';

/** The lists of a vhost that nobody asks about are dropped after this time. */
const VHOST_IDLE_MS = 120_000;
/** Questions of a batch that are begun in one turn of the event loop. */
const BEGUN_PER_TURN = 100;

export interface RabbitClientParts {
  readonly broker: BrokerIdentity;
  readonly events: BrokerEvents;
  /** Called once; the declarer reports what changes on the node's side. */
  readonly declarer: ((onNodeEvent: () => void) => Declarer) | undefined;
  readonly management: Management | undefined;
  /** The management API was only guessed. */
  readonly managementIsOptional: boolean;
  readonly metrics: Pick<ScraperOptions, 'setting' | 'http' | 'host'>;
}

interface Vhost {
  readonly reader: QuestionReader;
  /** Counts a question, and returns how many different ones were lately asked. */
  readonly asked: (key: string) => number;
}

export function createRabbitClient(parts: RabbitClientParts): BrokerClient<RabbitQuestion> {
  const { broker, events, management } = parts;
  const closing = new AbortController();
  const { signal } = closing;
  const health = createManagementHealth(management, parts.managementIsOptional, signal, parts.declarer !== undefined);
  const declarer = parts.declarer?.(health.nodeChanged);
  const scraper = createPrometheusScraper({
    ...parts.metrics,
    cluster: health.state,
    signal,
    onFailure: (endpoint, error) => {
      events.failure({ broker, endpoint, error });
    },
  });
  const vhosts = createForgettingMap<Vhost>(VHOST_IDLE_MS);
  const memory = createQueueMemory();
  const sets = createQueueSets();
  const turn = createTurns(BEGUN_PER_TURN);
  /** A declare that finds work ends the queue's streaks of zeros, whoever asked. */
  const declare =
    declarer &&
    (async (vhost: string, queue: string) => {
      const answer = await declarer.declare(vhost, queue);
      if (!(answer instanceof Error) && answer.ready > 0) memory.update(vhost, queue, { zeros: undefined, workAt: answer.at });
      return answer;
    });
  const watches = createWatches({
    read,
    queuesOf: (question) => vhostOf(question.vhost).reader.queuesOf(question),
    wakeReading,
    declare,
    calm: () => !health.state().recentNodeChange,
  });

  function vhostOf(name: string): Vhost {
    let vhost = vhosts.get(name);
    if (vhost === undefined) vhosts.set(name, (vhost = { reader: readerOf(name), asked: createRecentCount() }));
    return vhost;
  }

  function readerOf(vhost: string): QuestionReader {
    const totals = () => health.use((api) => api.totals(vhost, health.state().queues, signal));
    const lists = createQueueListCache({
      totals,
      // If a node's metrics cannot be had, the totals list covers all nodes.
      prometheus: async () => (await scraper.scrape(vhost)) ?? totals(),
      counters: async () => (scraper.isAvailable() ? await scraper.scrape(vhost, true) : undefined) ?? totals(),
      async statistics() {
        const list = await health.use((api) => api.statistics(vhost, signal));
        await seeBothSides([...list.queues.values()], list.at);
        return list;
      },
    });
    const readers = {
      declare: declare && ((queue: string) => declare(vhost, queue)),
      lists,
      prometheusAvailable: scraper.isAvailable,
      async single(queue: string) {
        const stats = await health.use((api) => api.queue(vhost, queue, signal));
        if (stats !== undefined) await seeBothSides([stats], stats.at);
        return stats;
      },
    };
    return createQuestionReader({ readers, cluster: health, memory, sets });
  }

  /** Statistics may be those of both sides of a split, which only the nodes of a cluster show, seen after the answer. */
  async function seeBothSides(all: readonly QueueStats[], at: number): Promise<void> {
    const { nodeNames = [], allReport } = health.state();
    if (nodeNames.length < 2) return;
    if (!allReport || all.some(({ replicated, messages }) => replicated && messages !== 0)) await health.seeNodes(at);
  }

  function read(question: RabbitQuestion): Promise<Reading> {
    const { reader, asked } = vhostOf(question.vhost);
    return reader.read(question, asked(question.key));
  }

  async function readAndReport(question: RabbitQuestion, report: Report): Promise<void> {
    await turn();
    const reading = await read(question);
    if (signal.aborted) return;
    report(question.key, reading);
  }

  return {
    async readBatch(questions, report) {
      for (const { vhost, key } of questions) vhostOf(vhost).asked(key);
      await Promise.all(questions.map((question) => readAndReport(question, report)));
    },

    watch: (question, watcher) => watches.add(question, watcher),

    async close() {
      closing.abort(new BrokerError('BROKER_UNREACHABLE', `${broker.label}: the client is closed`));
      watches.close();
      await Promise.allSettled([declarer?.close(), management?.close(), scraper.close()]);
      events.connections({ broker, endpoint: broker.label, open: 0 });
    },
  };
}

const RECENT_MS = 5_000;

/** Counts different keys within the last five to ten seconds; each call returns the count with its key. */
function createRecentCount(): (key: string) => number {
  let current = new Set<string>();
  let before = 0;
  let since = performance.now();
  return (key) => {
    const ageMs = performance.now() - since;
    if (ageMs > RECENT_MS) {
      before = ageMs > 2 * RECENT_MS ? 0 : current.size;
      current = new Set();
      since += ageMs;
    }
    current.add(key);
    return Math.max(current.size, before);
  };
}
