/**
 * The scalers there are, by the name in `metadata.scaler`; adding one is one line here.
 */
import { rabbitmq } from './rabbitmq/index.ts';
import { redis, redisCluster, redisSentinel } from './redis/keyLengths.ts';
import { redisClusterStreams, redisSentinelStreams, redisStreams } from './redis/streams.ts';
import { invalidTrigger, type Scaler } from './contract.ts';
import { nearestName, SCALER_KEY } from './metadata.ts';

export const SCALERS: readonly Scaler[] = [
  rabbitmq,
  redis,
  redisSentinel,
  redisCluster,
  redisStreams,
  redisSentinelStreams,
  redisClusterStreams,
];

/** Finds the scaler that the metadata names, among those given. Throws a {@link TriggerError} that lists the names there are. */
export function scalerOf(metadata: Readonly<Record<string, string>>, scalers: readonly Scaler[] = SCALERS): Scaler {
  const type = metadata[SCALER_KEY]?.trim() ?? '';
  const scaler = scalers.find((each) => each.type === type);
  if (scaler !== undefined) return scaler;
  const types = scalers.map((each) => each.type);
  const nearest = nearestName(type, types);
  const message =
    type === ''
      ? `is required in metadata: one of ${types.join(', ')}`
      : `must be one of ${types.join(', ')}, not ${JSON.stringify(type.slice(0, 60))}${nearest === undefined ? '' : `; did you mean ${nearest}?`}`;
  throw invalidTrigger(type === '' ? '(none)' : type.slice(0, 60), [{ key: SCALER_KEY, message }]);
}
