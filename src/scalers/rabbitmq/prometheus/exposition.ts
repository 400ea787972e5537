/**
 * Reads the Prometheus plugin of every node, the cheapest reader there is; its figures are up to 5 s old. Each node reports only the
 * queues that it leads, so if one node is silent the list cannot show which queues are missing. It is asked without a login.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { BrokerError } from '../../../errors.ts';
import type { Endpoint } from '../address.ts';
import type { HttpClient } from '../management/http.ts';
import { implausible, type QueueStats, type QueueList } from '../management/queueStats.ts';

const LINE =
  /^rabbitmq_detailed_queue_messages(_ready|_unacked)?\{vhost="((?:[^"\\\n]|\\.)*)",queue="((?:[^"\\\n]|\\.)*)"\} (\S+)$/gm;
/**
 * Characters parsed in one turn of the event loop: half a millisecond's work, twice that before the code is warm. A wake-up must not
 * wait for a long answer.
 */
const TURN_CHARACTERS = 16_384;
const COUNT = /^\d{1,15}(?:\.0+)?$/;

/** Rejects with a {@link BrokerError} unless every node answers. */
export async function scrape(
  http: HttpClient,
  nodes: readonly Endpoint[],
  vhost: string,
  signal: AbortSignal,
): Promise<QueueList> {
  const path = `/metrics/detailed?family=queue_coarse_metrics&vhost=${encodeURIComponent(vhost)}`;
  const answers = await Promise.all(nodes.map((node) => http.get(node, path, signal)));
  const rows = new Map<string, QueueStats>();
  for (const { body } of answers) {
    for (const [name, row] of await parseMetrics(body, vhost)) {
      // A node that no longer leads a queue, or led a deleted one of that name, may keep its line for a while.
      rows.set(name, rows.has(name) ? { ...row, error: implausible(name, 'more than one node claims to lead it') } : row);
    }
  }
  return { kind: 'prometheus', at: Math.min(...answers.map(({ at }) => at)), queues: rows };
}

/** The queues of one node's answer. A figure whose line is absent, given twice, or no count is absent in the row. */
export async function parseMetrics(body: string, vhost: string): Promise<Map<string, QueueStats>> {
  if (!/^#|^$/.test(body))
    throw new BrokerError('BROKER_REPLY_INVALID', 'the Prometheus plugin answered something other than metrics');
  /** Of each queue, by the end of the metric's name. */
  const found = new Map<string, Map<string, number | undefined>>();
  for (let start = 0; start < body.length;) {
    const end = body.indexOf('\n', start + TURN_CHARACTERS) + 1 || body.length;
    for (const [, suffix = '', inVhost = '', queue = '', text = ''] of body.slice(start, end).matchAll(LINE)) {
      if (unescape(inVhost) !== vhost) continue;
      const name = unescape(queue);
      let figures = found.get(name);
      if (figures === undefined) found.set(name, (figures = new Map<string, number | undefined>()));
      figures.set(suffix, figures.has(suffix) || !COUNT.test(text) ? undefined : Number(text));
    }
    start = end;
    if (start < body.length) await nextTurn();
  }
  const rows = new Map<string, QueueStats>();
  for (const [name, figures] of found) {
    const [ready, unacknowledged, messages] = ['_ready', '_unacked', ''].map((suffix) => figures.get(suffix));
    rows.set(name, { name, replicated: false, ready, unacknowledged, messages });
  }
  return rows;
}

function unescape(label: string): string {
  return label.replaceAll(/\\(.)/g, (_, letter: string) => (letter === 'n' ? '\n' : letter));
}
