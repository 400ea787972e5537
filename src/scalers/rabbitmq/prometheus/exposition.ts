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
    const perNode = await parseMetrics(body, vhost);
    for (const [name, row] of perNode) {
      // A node that no longer leads a queue, or led a deleted one of that name, may keep its line for a while.
      const error = rows.has(name) ? implausible(name, 'more than one node claims to lead it') : row.error;
      rows.set(name, { ...row, error });
    }
  }
  return { kind: 'prometheus', at: Math.min(...answers.map(({ at }) => at)), queues: rows };
}

/** Figures by the end of their metric's name; undefined if given twice or no count. */
type Figures = Map<string, number | undefined>;

/** The queues of one node's answer. A figure whose line is absent, given twice, or no count is absent in the row. */
export async function parseMetrics(body: string, vhost: string): Promise<Map<string, QueueStats>> {
  if (!/^#|^$/.test(body))
    throw new BrokerError('BROKER_REPLY_INVALID', 'the Prometheus plugin answered something other than metrics');
  const found = new Map<string, Figures>();
  for (let start = 0; start < body.length;) {
    const end = body.indexOf('\n', start + TURN_CHARACTERS) + 1 || body.length;
    readLines(body.slice(start, end), vhost, found);
    start = end;
    if (start < body.length) await nextTurn();
  }
  const rows = new Map<string, QueueStats>();
  for (const [name, figures] of found) {
    rows.set(name, {
      name,
      replicated: false,
      ready: figures.get('_ready'),
      unacknowledged: figures.get('_unacked'),
      messages: figures.get(''),
    });
  }
  return rows;
}

function readLines(lines: string, vhost: string, found: Map<string, Figures>): void {
  for (const [, suffix = '', inVhost = '', queue = '', text = ''] of lines.matchAll(LINE)) {
    if (unescape(inVhost) !== vhost) continue;
    const name = unescape(queue);
    let figures = found.get(name);
    if (figures === undefined) found.set(name, (figures = new Map<string, number | undefined>()));
    figures.set(suffix, figures.has(suffix) || !COUNT.test(text) ? undefined : Number(text));
  }
}

function unescape(label: string): string {
  return label.replaceAll(/\\(.)/g, (_, letter: string) => (letter === 'n' ? '\n' : letter));
}
