/**
 * Reads the management API: the totals list, statistics, single queues, nodes and the overview.
 */
import { BrokerError, toQueueScalerError } from '../../../errors.ts';
import type { Endpoint } from '../address.ts';
import { BERT } from './bert.ts';
import type { Endpoints } from '../../net/failover.ts';
import { PROMETHEUS_PORT, type Node, type PrometheusListener } from './clusterState.ts';
import type { HttpAnswer, HttpClient } from './http.ts';
import {
  asRecord,
  count,
  hasRepeatedFields,
  implausible,
  isCount,
  parseQueueStats,
  type ListKind,
  type QueueStats,
  type QueueList,
} from './queueStats.ts';

export interface Overview {
  readonly prometheus: readonly PrometheusListener[];
  readonly queues: number | undefined;
  /** `none` means that there are no rates. */
  readonly ratesMode: string | undefined;
  /** The broker collects no statistics: it tells no listeners then, no figures of nodes, and of queues only totals. */
  readonly statisticsOff: boolean;
  /** Without a list of listeners: the node that answered serves its metrics at the plugin's usual port. */
  readonly usualPrometheus: boolean;
}

export interface Management {
  overview(signal: AbortSignal): Promise<Overview>;
  nodes(signal: AbortSignal): Promise<readonly Node[]>;
  /**
   * Ready and unacknowledged messages of all queues: from the queue processes for classic ones, up to 5 s old for quorum ones.
   * `queues` is how many the broker has, if known.
   */
  totals(vhost: string, queues: number | undefined, signal: AbortSignal): Promise<QueueList>;
  /** All that the statistics database has about all queues, up to 10 s old. */
  statistics(vhost: string, signal: AbortSignal): Promise<QueueList>;
  /** The same about one queue; undefined if the API knows none of that name. */
  queue(vhost: string, name: string, signal: AbortSignal): Promise<(QueueStats & { readonly at: number }) | undefined>;
  close(): Promise<void>;
}

/** The form that costs the broker least, or JSON, which a proxy or another version may answer instead. */
export const MANAGEMENT_ACCEPT = `${BERT}, application/json;q=0.9, */*;q=0.8`;

/**
 * An empty `sort` leaves the rows unsorted, which saves the broker a fifth of the list's work: measured on RabbitMQ 3.10 with 1000
 * queues, 64 against 81 ms of CPU. Asking for `columns` would cost it up to a half more, 94 against 60 ms, and 90 against 79 with
 * arguments and policies, so unwanted fields are dropped here.
 */
const TOTALS_QUERY = 'disable_stats=true&enable_queue_totals=true&sort=';
/** With more queues the columns are requested after all: without them an answer is twice as long, and longer with policies. */
const MANY_QUEUES = 30_000;
const TOTALS_FIELDS = ['name', 'type', 'state', 'messages', 'messages_ready', 'messages_unacknowledged'];
const RATES = ['publish', 'deliver_get', 'ack'].flatMap((name) => [
  `message_stats.${name}`,
  `message_stats.${name}_details.rate`,
]);
const STATISTICS_COLUMNS = [...TOTALS_FIELDS, 'node', 'slave_nodes', 'consumers', ...RATES].join();

/** Connections to the API, and which endpoints have failed on them. */
export interface HttpPool {
  readonly http: HttpClient;
  readonly endpoints: Endpoints<Endpoint>;
}

/**
 * Lists have a pool of their own: measured on RabbitMQ 3.10, each list takes a second for every quorum queue with a member on a node
 * that hangs, long after the cluster has given that node up, while all other requests are answered in milliseconds.
 */
export function createManagement(lists: HttpPool, others: HttpPool): Management {
  async function get(
    path: string,
    signal: AbortSignal,
    { http, endpoints } = others,
    fields?: readonly string[],
  ): Promise<{ readonly answer: HttpAnswer; readonly json: unknown }> {
    return endpoints.attempt(async (endpoint) => {
      const answer = await http.get(endpoint, path, signal, fields);
      return { answer, json: parse(answer.body) };
    }, toQueueScalerError);
  }

  async function list(
    kind: ListKind,
    vhost: string,
    query: string,
    signal: AbortSignal,
    fields?: readonly string[],
  ): Promise<QueueList> {
    const { answer, json } = await get(`/api/queues/${encodeURIComponent(vhost)}?${query}`, signal, lists, fields);
    if (answer.status === 404) throw new BrokerError('BROKER_FORBIDDEN', `the management API knows no vhost ${vhost}`);
    if (!Array.isArray(json)) throw new BrokerError('BROKER_REPLY_INVALID', 'the management API answered no list of queues');
    const repeated = hasRepeatedFields(answer.body, json, kind);
    const rows = new Map<string, QueueStats>();
    for (const item of json) {
      const row = parseQueueStats(item, repeated);
      if (row === undefined) continue;
      rows.set(row.name, rows.has(row.name) ? { ...row, error: implausible(row.name, 'it is listed twice') } : row);
    }
    return { kind, at: answer.at, queues: rows };
  }

  /** Whether the node that answers has a listener there; false as well where the API does not tell. */
  async function listensAt(port: number, signal: AbortSignal): Promise<boolean> {
    try {
      // Past the failover: a node without that listener answers 503, which is no trouble of its own.
      const answer = await others.http.get(others.endpoints.current, `/api/health/checks/port-listener/${port}`, signal);
      return answer.status === 200;
    } catch {
      return false;
    }
  }

  return {
    async overview(signal) {
      const { json } = await get('/api/overview?columns=listeners,object_totals.queues,rates_mode,disable_stats', signal);
      const overview = asRecord(json);
      const listeners = Array.isArray(overview['listeners']) ? overview['listeners'].map(asRecord) : [];
      const prometheus = listeners.flatMap(({ protocol, node, port }) => {
        const tls = protocol === 'https/prometheus';
        if (!tls && protocol !== 'http/prometheus') return [];
        return typeof node === 'string' && isCount(port) && port > 0 && port < 65_536 ? [{ node, port, tls }] : [];
      });
      const ratesMode = overview['rates_mode'];
      const statisticsOff = overview['disable_stats'] === true;
      return {
        prometheus,
        queues: count(asRecord(overview['object_totals'])['queues']),
        ratesMode: typeof ratesMode === 'string' ? ratesMode : undefined,
        statisticsOff,
        usualPrometheus: statisticsOff && (await listensAt(PROMETHEUS_PORT, signal)),
      };
    },

    async nodes(signal) {
      const { json } = await get('/api/nodes?columns=name,running,uptime', signal);
      if (!Array.isArray(json)) throw new BrokerError('BROKER_REPLY_INVALID', 'the management API answered no list of nodes');
      const rows = json.map(asRecord);
      // Where the broker collects no statistics no node has figures.
      const someReport = rows.some(({ uptime }) => uptime !== undefined);
      return rows.flatMap(({ name, running, uptime }) => {
        if (typeof name !== 'string') return [];
        const runs = running === true;
        return [{ name, running: runs, reports: someReport ? uptime !== undefined : runs, uptimeMs: count(uptime) }];
      });
    },

    totals(vhost, queues = 0, signal) {
      const columns = queues > MANY_QUEUES ? `&columns=${TOTALS_FIELDS.join()}` : '';
      return list('totals', vhost, `${TOTALS_QUERY}${columns}`, signal, TOTALS_FIELDS);
    },

    statistics: (vhost, signal) => list('statistics', vhost, `columns=${STATISTICS_COLUMNS}`, signal),

    async queue(vhost, name, signal) {
      const path = `/api/queues/${encodeURIComponent(vhost)}/${encodeURIComponent(name)}?columns=${STATISTICS_COLUMNS}`;
      const { answer, json } = await get(path, signal);
      if (answer.status === 404) return undefined;
      const row = parseQueueStats(json, hasRepeatedFields(answer.body, json, 'statistics'));
      if (row?.name !== name) throw new BrokerError('BROKER_REPLY_INVALID', `the management API answered no queue ${name}`);
      return { ...row, at: answer.at };
    },

    async close() {
      await Promise.all([lists.http.close(), others.http.close()]);
    },
  };
}

function parse(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    // Without the parser's message, which quotes the body.
    throw new BrokerError('BROKER_REPLY_INVALID', 'the management API answered something other than JSON');
  }
}
