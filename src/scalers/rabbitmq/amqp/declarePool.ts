/**
 * Live ready counts and consumer counts by passive declare, over one long-lived connection per vhost. A connection that breaks
 * costs a question one more try, on the next endpoint; never its answer's truth.
 */
import { toQueueScalerError, type QueueScalerError } from '../../../errors.ts';
import { endpointLabel, type Endpoint } from '../address.ts';
import { MAX_CHANNELS, type Answer } from './channels.ts';
import { allowedChannels } from './refusals.ts';
import { openAmqp, type AmqpConnection, type AmqpOptions } from './connection.ts';
import type { Endpoints } from '../../net/failover.ts';
import { describeNetworkError } from '../../net/networkErrors.ts';

/** A vhost's connection that nobody has used for so long is closed. */
const IDLE_CLOSE_MS = 120_000;

export interface Declarer {
  /** Resolves in any case, with the counts or why there are none. */
  readonly declare: (vhost: string, queue: string) => Promise<Answer>;
  close(): Promise<void>;
}

export interface DeclarerOptions extends Pick<AmqpOptions, 'tls' | 'login' | 'connectTimeoutMs' | 'timeoutMs'> {
  readonly endpoints: Endpoints<Endpoint>;
  /** A connection was opened or lost: what a node says in the next seconds may be false. */
  readonly onChange: (endpoint: string, open: number, error: QueueScalerError | undefined) => void;
}

interface Lane {
  connection: Promise<AmqpConnection> | undefined;
  /** Fewer once the broker has closed a connection of its own accord for having too many. */
  maxChannels: number;
  usedAt: number;
}

export function createDeclarer(options: DeclarerOptions): Declarer {
  const { endpoints, onChange, ...forAll } = options;
  const lanes = new Map<string, Lane>();
  let open = 0;
  let closing = false;
  const timer = setInterval(closeIdle, IDLE_CLOSE_MS / 4);
  timer.unref();

  function laneOf(vhost: string): Lane {
    let lane = lanes.get(vhost);
    if (lane === undefined) lanes.set(vhost, (lane = { connection: undefined, maxChannels: MAX_CHANNELS, usedAt: 0 }));
    lane.usedAt = performance.now();
    return lane;
  }

  function connect(lane: Lane, vhost: string): Promise<AmqpConnection> {
    if (lane.connection !== undefined) return lane.connection;
    const attempt = async (endpoint: Endpoint): Promise<AmqpConnection> => {
      const label = endpointLabel(endpoint);
      const onEnd = (error: QueueScalerError | undefined): void => {
        const allowed = allowedChannels(error);
        // Halved at least, as the user may have others.
        if (allowed !== undefined) lane.maxChannels = Math.max(1, Math.min(allowed, lane.maxChannels >> 1));
        if (lane.connection === opening) lane.connection = undefined;
        open--;
        onChange(label, open, error);
      };
      const connection = await openAmqp({ ...forAll, endpoint, vhost, maxChannels: lane.maxChannels, onEnd });
      open++;
      onChange(label, open, undefined);
      return connection;
    };
    const opening = endpoints.attempt(attempt, (thrown, endpoint) =>
      describeNetworkError(thrown, `AMQP at ${endpointLabel(endpoint)}`),
    );
    lane.connection = opening;
    opening.catch(() => {
      if (lane.connection === opening) lane.connection = undefined;
    });
    return opening;
  }

  async function ask(lane: Lane, vhost: string, queue: string): Promise<Answer> {
    return (await connect(lane, vhost)).declare(queue);
  }

  function closeIdle(): void {
    for (const [vhost, lane] of lanes) {
      if (performance.now() - lane.usedAt < IDLE_CLOSE_MS) continue;
      lanes.delete(vhost);
      void lane.connection?.then((connection) => connection.close()).catch(() => undefined);
    }
  }

  return {
    async declare(vhost, queue) {
      const lane = laneOf(vhost);
      try {
        const answer = await ask(lane, vhost, queue);
        const broken = answer instanceof Error && (answer.code === 'BROKER_UNREACHABLE' || answer.code === 'BROKER_TIMEOUT');
        return broken && !closing ? await ask(lane, vhost, queue) : answer;
      } catch (thrown) {
        return toQueueScalerError(thrown);
      }
    },

    async close() {
      closing = true;
      clearInterval(timer);
      const connections = [...lanes.values()].flatMap(({ connection }) => connection ?? []);
      lanes.clear();
      await Promise.allSettled(connections.map(async (connection) => (await connection).close()));
    },
  };
}
