/** Private Redis servers under private Sentinels, all on the loopback. */
import { closeAll, DOWN_AFTER_MS, startAll, startRedis, type RedisOptions, type RedisServer, type RedisTls } from './redis.ts';
import { until } from './until.ts';

export interface SentinelSet {
  readonly masterName: string;
  /** The data servers; the first was the primary at the start. */
  readonly servers: readonly RedisServer[];
  readonly sentinels: readonly RedisServer[];
  /** The data server that the sentinels name as primary now. */
  primary(): Promise<RedisServer>;
  /** Resolves when the sentinels name another primary than the given one, and it says so itself. */
  failedOver(from: RedisServer): Promise<RedisServer>;
  close(): Promise<void>;
}

/** One primary, two replicas and three sentinels. */
export async function startSentinelSet(
  options: {
    readonly password?: string;
    readonly sentinelPassword?: string;
    /** Of data servers and sentinels alike. */
    readonly tls?: RedisTls;
    readonly config?: Readonly<Record<string, string>>;
  } = {},
): Promise<SentinelSet> {
  const masterName = 'mymaster';
  const tls = options.tls === undefined ? {} : { tls: options.tls };
  const data: RedisOptions = {
    ...(options.password === undefined ? {} : { password: options.password }),
    ...tls,
    config: { 'repl-ping-replica-period': '1', ...options.config },
  };
  const started: RedisServer[] = [];
  try {
    const servers = await startAll([startRedis(data), startRedis(data), startRedis(data)]);
    started.push(...servers);
    const [first, ...replicas] = servers as [RedisServer, ...RedisServer[]];
    for (const replica of replicas) await replica.call('REPLICAOF', first.host, first.port);
    const sentinels = await startAll(
      [1, 2, 3].map(() =>
        startRedis({
          sentinel: true,
          ...tls,
          ...(options.sentinelPassword === undefined ? {} : { password: options.sentinelPassword }),
          config: {
            'sentinel monitor': `${masterName} 127.0.0.1 ${first.port} 2`,
            'sentinel down-after-milliseconds': `${masterName} ${DOWN_AFTER_MS}`,
            'sentinel failover-timeout': `${masterName} 3000`,
            'sentinel parallel-syncs': `${masterName} 2`,
            ...(options.password === undefined ? {} : { 'sentinel auth-pass': `${masterName} ${options.password}` }),
            ...(options.sentinelPassword === undefined ? {} : { 'sentinel sentinel-pass': options.sentinelPassword }),
          },
        }),
      ),
    );
    started.push(...sentinels);

    const named = async (sentinel: RedisServer): Promise<number> => {
      const address = (await sentinel.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', masterName)) as [string, string];
      return Number(address[1]);
    };
    const serverOf = (port: number): RedisServer | undefined => servers.find((server) => server.port === port);
    const agreed = async (): Promise<RedisServer | undefined> => {
      const answers = await Promise.allSettled(sentinels.map(named));
      const ports = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
      return ports.length >= 2 && new Set(ports).size === 1 && ports[0] !== undefined ? serverOf(ports[0]) : undefined;
    };
    await until(
      'all sentinels know both replicas and each other',
      async () => {
        for (const sentinel of sentinels) {
          const fields = (await sentinel.call('SENTINEL', 'MASTER', masterName)) as string[];
          const field = (name: string): string | undefined => fields[fields.indexOf(name) + 1];
          if (field('num-slaves') !== '2' || field('num-other-sentinels') !== '2') return false;
        }
        return true;
      },
      { deadlineMs: 20_000, everyMs: 100 },
    );
    return {
      masterName,
      servers,
      sentinels,
      primary: () => until('the sentinels agree on a primary', agreed),
      failedOver: (from) =>
        until(
          'a replica is promoted',
          async () => {
            const primary = await agreed();
            if (primary === undefined || primary.port === from.port) return undefined;
            const [role] = (await primary.call('ROLE')) as [string];
            return role === 'master' ? primary : undefined;
          },
          { deadlineMs: 30_000, everyMs: 50 },
        ),
      close: () => closeAll(started),
    };
  } catch (thrown) {
    await closeAll(started);
    throw thrown;
  }
}
