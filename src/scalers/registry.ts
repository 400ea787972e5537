/**
 * The scalers there are, by the name in `metadata.scaler`; adding one is one line here.
 */
import type { EndpointKeys } from '../auth/crossNamespaceGuard.ts';
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

/** For the guard of credentials: the keys by which a trigger of that metadata names hosts; undefined for an unknown scaler. */
export function endpointKeysOf(
  metadata: Readonly<Record<string, string>>,
  scalers: readonly Scaler[] = SCALERS,
): EndpointKeys | undefined {
  const scaler = scalers.find(({ type }) => type === metadata[SCALER_KEY]?.trim());
  if (scaler === undefined) return undefined;
  return new Map(
    Object.entries(scaler.keys).flatMap(([name, { endpoint, aliases }]) =>
      endpoint === undefined ? [] : [name, ...aliases].map((spelling) => [spelling, endpoint.noHost] as const),
    ),
  );
}
