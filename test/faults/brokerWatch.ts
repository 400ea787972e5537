/**
 * What the nodes that survive a failure say themselves of the queues that they hold as well: the measure for what the scaler may be
 * asked to tell, and no part of what it does.
 */
import { connect, type ChannelModel } from 'amqplib';
import { untilAborted } from '../../src/abort.ts';
import type { RabbitNode } from '../bed/rabbitmq.ts';
import { rabbitTraits } from '../bed/versions/chosen.ts';
import { watch, type Witness } from './recorder.ts';

/** How long the broker is waited for, in ms: as long as a trigger waits for one request. */
const BROKER_MS = 3_000;

export type ReplicatedType = 'mirrored' | 'quorum' | 'stream';
const REPLICATED: readonly ReplicatedType[] = [
  ...(rabbitTraits().hasMirroredQueues ? (['mirrored'] as const) : []),
  'quorum',
  'stream',
];
export const isReplicated = (type: string): type is ReplicatedType => REPLICATED.some((each) => each === type);

export interface BrokerWatch {
  /** Ms from `since` until all survivors told of the queue rightly, and did from then on; Infinity where they don't. */
  tellsAfter(type: ReplicatedType, byHttp: boolean, since: number): number;
  stop(): Promise<void>;
}

/** What the survivors say themselves of each replicated queue, asked for it alone: nobody can tell sooner than they do. */
export async function watchBroker(
  survivors: readonly RabbitNode[],
  suffix: string,
  depths: Readonly<Record<ReplicatedType, number>>,
): Promise<BrokerWatch> {
  const connections = await Promise.all(survivors.map((node) => connect(node.amqpUrl(), { noDelay: true })));
  const declared = async (connection: ChannelModel, queue: string): Promise<number> => {
    // A declare that hangs holds up its channel.
    const channel = await connection.createChannel();
    channel.on('error', () => undefined);
    const told = channel.checkQueue(queue).finally(() => void channel.close().catch(() => undefined));
    told.catch(() => undefined);
    return (await untilAborted(told, AbortSignal.timeout(BROKER_MS))).messageCount;
  };
  const watchQueue = (type: ReplicatedType): { readonly amqp: Witness; readonly http: Witness } => {
    const queue = `${type}-${suffix}`;
    const truth = depths[type];
    return {
      amqp: watch(`${type}, passive declare`, truth, async () => {
        const counts = await Promise.all(connections.map((connection) => declared(connection, queue)));
        return { value: Math.min(...counts), active: true };
      }),
      http: watch(`${type}, management API`, truth, async () => {
        const path = `/queues/%2F/${queue}?columns=state,messages`;
        const rows = await Promise.all(
          survivors.map(
            async (node) => (await node.api('GET', path, undefined, BROKER_MS)) as { state?: string; messages?: number },
          ),
        );
        return {
          value: Math.min(...rows.map(({ messages = NaN }) => messages)),
          active: rows.every(({ state }) => state === 'running'),
        };
      }),
    };
  };
  const witnesses = Object.fromEntries(REPLICATED.map((type) => [type, watchQueue(type)])) as Record<
    ReplicatedType,
    ReturnType<typeof watchQueue>
  >;
  return {
    tellsAfter: (type, byHttp, since) => witnesses[type][byHttp ? 'http' : 'amqp'].rightSince(since) ?? Infinity,
    async stop() {
      await Promise.all(Object.values(witnesses).flatMap(({ amqp, http }) => [amqp.stop(), http.stop()]));
      await Promise.all(connections.map((connection) => connection.close()));
    },
  };
}
