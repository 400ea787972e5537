/**
 * Bounded GETs from the management API or the Prometheus plugin, over one pool of connections. Answers that are too large, too slow
 * or malformed are errors, and none of their text leaves here unscrubbed.
 */
import { Agent, request } from 'undici';
import { tlsOptions, type TlsSettings } from '../../net/tls.ts';
import { scrub, type Secret } from '../../../auth/secret.ts';
import { BrokerError, type QueueScalerError } from '../../../errors.ts';
import { endpointLabel, type Endpoint } from '../address.ts';
import { BERT, jsonOfBert } from './bert.ts';
import { describeNetworkError } from '../../net/networkErrors.ts';

/** Largest answer taken, in bytes: a totals list of 100 000 queues has 26 MB. */
const MAX_BODY_BYTES = 33_554_432;
const MAX_HEADER_BYTES = 16_384;
const KEEP_ALIVE_MS = 60_000;
const MAX_QUOTED = 200;

/** What the API says where a right is missing, and what gives it. */
const RIGHTS: readonly (readonly [RegExp, string])[] = [
  [/not management user/i, 'the user needs the tag `management`, or `monitoring`, which shows the nodes as well'],
  [/not a? ?monitor/i, 'the user needs the tag `monitoring`'],
  [/not administrator/i, 'the user needs the tag `administrator`'],
  [/not authori[sz]ed to access/i, 'the user needs a permission in that vhost'],
];

export interface HttpAnswer {
  readonly status: 200 | 404;
  /** As it came; BERT is converted to JSON. */
  readonly body: string;
  /** When the answer was complete, in ms of `performance.now()`. */
  readonly at: number;
}

export interface HttpClient {
  /**
   * Answers 200 and 404; rejects with a {@link BrokerError} for all else. `path` begins with a slash. A list in BERT keeps
   * only `fields` of its rows.
   */
  get(endpoint: Endpoint, path: string, signal: AbortSignal, fields?: readonly string[]): Promise<HttpAnswer>;
  close(): Promise<void>;
}

/** Where the `Authorization` header comes from. */
export interface Authorization {
  /** The header's value; undefined sends none. */
  header(): Promise<string | undefined>;
  /** Whether a header that was just refused is to be replaced by another. */
  isStale(header: string | undefined): boolean;
}

export const fixedHeader = (header: string | undefined): Authorization => ({
  header: () => Promise.resolve(header),
  isStale: () => false,
});

export interface HttpOptions {
  readonly authorization: Authorization;
  /** The value of the `Accept` header. */
  readonly accept: string;
  readonly tls: TlsSettings;
  /** Longest wait for one whole answer, in ms. */
  readonly timeoutMs: number;
  /** Connections to one endpoint at most. */
  readonly connections: number;
  readonly secrets: readonly Secret[];
}

export function createHttpClient(options: HttpOptions): HttpClient {
  const { timeoutMs, secrets, authorization } = options;
  const agent = new Agent({
    connections: options.connections,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connect: { timeout: timeoutMs, ...tlsOptions(options.tls) },
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    maxHeaderSize: MAX_HEADER_BYTES,
  });

  async function get(endpoint: Endpoint, path: string, signal: AbortSignal, fields?: readonly string[]): Promise<HttpAnswer> {
    const subject = `HTTP at ${endpointLabel(endpoint)}`;
    // Bounds the answer as a whole: a body that drips passes every other timeout.
    const bounded = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    const send = async (header: string | undefined): Promise<{ readonly status: number; readonly body: string }> => {
      const response = await request(`${endpointLabel(endpoint)}${endpoint.path}${path}`, {
        dispatcher: agent,
        signal: bounded,
        headers: { accept: options.accept, ...(header === undefined ? {} : { authorization: header }) },
      });
      const bytes = await readBody(response.body, MAX_BODY_BYTES, subject);
      const body = response.headers['content-type'] === BERT ? readBert(bytes, fields, subject) : bytes.toString('utf8');
      return { status: response.statusCode, body };
    };
    try {
      const header = await authorization.header();
      let answer = await send(header);
      if (answer.status === 401 && authorization.isStale(header)) answer = await send(await authorization.header());
      const { status, body } = answer;
      // Only the management API's own 404, which is JSON, means that something is missing; a proxy has its own.
      if (status === 200 || (status === 404 && /^\s*[{[]/.test(body))) return { status, body, at: performance.now() };
      throw refusal(status, body, subject);
    } catch (thrown) {
      throw describeNetworkError(thrown, subject);
    }
  }

  function refusal(status: number, body: string, subject: string): QueueScalerError {
    const said = scrub(body.slice(0, MAX_QUOTED).replaceAll(/\s+/g, ' '), secrets);
    const message = `${subject} answered ${status}: ${said}`;
    // The same status stands for wrong credentials and for good ones without the right.
    const [, remedy] = RIGHTS.find(([text]) => text.test(body)) ?? [];
    if (remedy !== undefined && (status === 401 || status === 403))
      return new BrokerError('BROKER_FORBIDDEN', `${message}; ${remedy}`);
    if (status === 401) return new BrokerError('BROKER_REFUSED', message);
    if (status === 403) return new BrokerError('BROKER_FORBIDDEN', message);
    if (status >= 500 || status === 429) return new BrokerError('BROKER_BUSY', message);
    return new BrokerError('BROKER_REPLY_INVALID', message);
  }

  return { get, close: () => agent.destroy() };
}

export async function readBody(body: AsyncIterable<Buffer>, maxBytes: number, subject: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    // Leaving the loop destroys the stream and its connection.
    if (bytes > maxBytes) throw new BrokerError('BROKER_REPLY_INVALID', `${subject} sent more than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function readBert(bytes: Buffer, fields: readonly string[] | undefined, subject: string): string {
  try {
    return jsonOfBert(bytes, { maxBytes: MAX_BODY_BYTES, fields });
  } catch (cause) {
    throw new BrokerError('BROKER_REPLY_INVALID', `${subject} sent BERT that cannot be read`, { cause });
  }
}
