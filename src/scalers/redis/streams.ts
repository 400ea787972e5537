/**
 * The triggers on Redis streams: `redis-streams`, `redis-sentinel-streams`, `redis-cluster-streams`.
 */
import { fingerprint } from '../../auth/secret.ts';
import { QueueError } from '../../errors.ts';
import { key, type Values } from '../metadata.ts';
import { metricName } from '../metricName.ts';
import { defineScaler, type Decision, type Scaler } from '../contract.ts';
import { flag, text, whole } from '../values.ts';
import { inProgressKey, type InProgress } from '../inProgress.ts';
import { asksDeployment } from './deployment.ts';
import { addressNotes, CONNECTION_KEYS, connectionRules, KEYS_OF_KIND, type DeploymentKind } from './keys.ts';
import type { Known } from '../reading.ts';
import type { Measures, StreamMode, StreamQuestion } from './question.ts';

const STREAM_KEYS = {
  stream: key('Key of the stream.', text(), { required: true }),
  consumerGroup: key('The group whose work is counted; without it the stream’s length is.', text()),
  streamLength: key('Target without a group: entries in the stream per replica.', whole({ min: 1 }), { default: '5' }),
  pendingEntriesCount: key('Target with a group: entries delivered and not acknowledged per replica.', whole({ min: 1 }), {
    default: '5',
  }),
  lagCount: key(
    'Target with a group, in place of pendingEntriesCount: entries not yet delivered or not yet acknowledged per replica.',
    whole({ min: 1 }),
  ),
  inProgress: inProgressKey('pending entries, with `lagCount`,'),
  activationLagCount: key('The trigger is active above this number, whichever of the three is counted.', whole({ min: 0 }), {
    default: '0',
  }),
  requireMatch: key('Whether it is an error that the stream has never been seen.', flag(), { default: 'false' }),
};

function modeOf({ consumerGroup, lagCount }: Values<typeof STREAM_KEYS>): StreamMode {
  return consumerGroup === undefined ? 'length' : lagCount !== undefined ? 'lag' : 'pending';
}

function defineStreams(type: string, kind: DeploymentKind, doc: string): Scaler {
  const keys: typeof STREAM_KEYS & typeof CONNECTION_KEYS = { ...STREAM_KEYS, ...CONNECTION_KEYS, ...KEYS_OF_KIND[kind] };
  return defineScaler({
    type,
    doc,
    keys,
    advice: async () => (await import('./advice.ts')).streamAdvice(kind),
    ...asksDeployment(kind),
    rules(values, fault, awaited, metadata) {
      connectionRules(values, fault, awaited, metadata);
      if (values.inProgress !== undefined && (values.consumerGroup === undefined || values.lagCount === undefined))
        fault(
          'inProgress',
          'goes with consumerGroup and lagCount: without them nothing but pending entries, or none, are counted',
        );
    },
    spec: (values) => ({
      name: metricName('redis-streams', values.stream),
      target: { length: values.streamLength, pending: values.pendingEntriesCount, lag: values.lagCount ?? NaN }[modeOf(values)],
    }),
    question(values): StreamQuestion {
      const { stream, consumerGroup: group, requireMatch, staleAfter: staleAfterMs } = values;
      const mode = modeOf(values);
      const subject = group === undefined ? stream : `${stream} (group ${group})`;
      const notes = addressNotes(values);
      const key = fingerprint('stream', { stream, group, mode, requireMatch, staleAfterMs, notes });
      return { kind: 'stream', key, subject, stream, group, mode, requireMatch, staleAfterMs, notes };
    },
    decide: (values) => (reading) =>
      decideStream(reading, modeOf(values), values.activationLagCount, values.inProgress ?? 'count'),
    backlog: ({ length, pending, lag }: Measures) => ({ waiting: lag ?? length, held: pending }),
  });
}

/** Active above the threshold; and in a group, unless told otherwise, while a consumer holds an entry, as it must not be stopped then. */
function decideStream(
  { measures }: Known<Measures>,
  mode: StreamMode,
  activationLagCount: number,
  inProgress: InProgress,
): Decision {
  if (mode === 'length') {
    const { length } = measures;
    if (length === undefined) throw new QueueError('FIELD_MISSING', 'the reading holds no length');
    return {
      value: length,
      active: length > activationLagCount,
      because: [`${length} entries`, compared(length, activationLagCount)],
    };
  }
  const { pending, lag } = measures;
  if (pending === undefined || lag === undefined)
    throw new QueueError('FIELD_MISSING', 'the reading holds no pending entries or no lag');
  const work = inProgress === 'count' ? pending + lag : lag;
  const busy = inProgress !== 'ignore' && pending > 0;
  const active = busy || work > activationLagCount;
  const because = [
    inProgress === 'count' ? `${lag} unread + ${pending} pending = ${work}` : `${lag} unread`,
    busy ? `active: ${pending} pending` : compared(work, activationLagCount),
  ];
  return mode === 'lag'
    ? { value: work, active, because }
    : // Entries that nobody has read are not pending; without a worker nobody ever reads them.
      { value: pending, active, because: [...because, `value: ${pending} pending`] };
}

function compared(value: number, activation: number): string {
  return value > activation
    ? `active: ${value} > activationLagCount ${activation}`
    : `inactive: ${value} <= activationLagCount ${activation}`;
}

export const redisStreams = defineStreams(
  'redis-streams',
  'standalone',
  'Length, pending entries or lag of a stream on one Redis server.',
);
export const redisSentinelStreams = defineStreams(
  'redis-sentinel-streams',
  'sentinel',
  'The same on the primary that Redis Sentinel names.',
);
export const redisClusterStreams = defineStreams('redis-cluster-streams', 'cluster', 'The same in a Redis Cluster.');
