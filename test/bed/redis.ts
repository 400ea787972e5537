/**
 * Private Redis servers on the loopback, alone, under Sentinel or as a cluster: free ports, own temporary folders, nothing on disk
 * unless asked for, and nothing left behind.
 */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { freePort } from './ports.ts';
import { launch, type LaunchedProcess } from './process.ts';
import { until } from './until.ts';

const START_MS = 10_000;
/** Another process may take a free port before the server does. */
const PORT_ATTEMPTS = 5;
/** How fast the small sets notice a dead primary; production uses tens of seconds. */
const DOWN_AFTER_MS = 1_000;

export interface RedisServer {
  readonly host: '127.0.0.1';
  readonly port: number;
  readonly url: string;
  readonly pid: number;
  readonly password: string | undefined;
  /** SIGTERM: saves where persistence is on. */
  stop(): Promise<void>;
  kill(): Promise<void>;
  /** SIGSTOP: connections stay open and nothing answers. */
  pause(): void;
  resume(): void;
  /** Again, with the same port, folder and options. */
  start(): Promise<void>;
  /** One command on a connection of its own. */
  call(command: string, ...args: readonly (string | number)[]): Promise<unknown>;
  /** CPU time of the process in ms. */
  cpuMs(): number;
  output(): string;
  close(): Promise<void>;
}

export interface RedisOptions {
  /** Lines of redis.conf: name to value. */
  readonly config?: Readonly<Record<string, string>>;
  /** Password of the default user. */
  readonly password?: string;
  /** Keeps every write on disk, so that a restart finds it again. */
  readonly persistent?: boolean;
  readonly sentinel?: boolean;
  /** Files in PEM; the port then speaks TLS only. */
  readonly tls?: {
    readonly cert: string;
    readonly key: string;
    readonly ca: string;
    /** Makes the server demand a client's certificate; its own calls show this one. */
    readonly client?: { readonly cert: string; readonly key: string };
  };
}

export async function startRedis(options: RedisOptions = {}): Promise<RedisServer> {
  const folder = await mkdtemp(join(tmpdir(), 'queue-scaler-redis-'));
  const client = options.tls?.client;
  const clientTls =
    options.tls === undefined
      ? {}
      : {
          tls: {
            rejectUnauthorized: false,
            ...(client === undefined ? {} : { cert: readFileSync(client.cert), key: readFileSync(client.key) }),
          },
        };
  let port = await freePort();
  let process: LaunchedProcess | undefined;

  async function writeConfig(): Promise<string> {
    const { cert, key, ca } = options.tls ?? {};
    const lines: Record<string, string> = {
      bind: '127.0.0.1',
      dir: folder,
      ...(cert === undefined || key === undefined || ca === undefined
        ? { port: String(port) }
        : {
            port: '0',
            'tls-port': String(port),
            'tls-cert-file': cert,
            'tls-key-file': key,
            'tls-ca-cert-file': ca,
            'tls-auth-clients': client === undefined ? 'no' : 'yes',
            'tls-replication': 'yes',
          }),
      ...(options.sentinel === true
        ? {}
        : {
            save: '""',
            appendonly: options.persistent === true ? 'yes' : 'no',
            appendfsync: 'always',
            'repl-diskless-sync-delay': '0',
          }),
      ...(options.password === undefined ? {} : { requirepass: options.password, masterauth: options.password }),
      ...options.config,
    };
    const file = join(folder, 'redis.conf');
    await writeFile(
      file,
      Object.entries(lines)
        .map(([name, value]) => `${name} ${value}\n`)
        .join(''),
    );
    return file;
  }

  async function call(command: string, ...args: readonly (string | number)[]): Promise<unknown> {
    const client = new Redis({
      host: '127.0.0.1',
      port,
      ...clientTls,
      ...(options.password === undefined ? {} : { password: options.password }),
      protocol: 2,
      lazyConnect: true,
      retryStrategy: () => null,
      enableReadyCheck: false,
      disableClientInfo: true,
      connectTimeout: 2_000,
      commandTimeout: 5_000,
    });
    client.on('error', () => undefined);
    try {
      await client.connect();
      return await client.call(command, ...args);
    } finally {
      client.disconnect();
    }
  }

  async function run(file: string): Promise<void> {
    const launched = launch('redis-server', [file, ...(options.sentinel === true ? ['--sentinel'] : [])]);
    process = launched;
    await until(`redis-server answers on port ${port}`, async () => !launched.alive() || (await call('PING')) === 'PONG', {
      deadlineMs: START_MS,
    });
    if (!launched.alive()) throw new Error(`redis-server ended (${await launched.ended}):\n${launched.output()}`);
  }

  async function remove(): Promise<void> {
    await process?.kill();
    await rm(folder, { recursive: true, force: true });
  }

  let file = await writeConfig();
  for (let attempt = 1; ; attempt++) {
    try {
      await run(file);
      break;
    } catch (thrown) {
      const taken = process?.output().includes('Address already in use') === true;
      if (!taken || attempt === PORT_ATTEMPTS) {
        await remove();
        throw thrown;
      }
      port = await freePort();
      file = await writeConfig();
    }
  }

  const running = (): LaunchedProcess => {
    if (process === undefined) throw new Error('never started');
    return process;
  };
  const credentials = options.password === undefined ? '' : `:${encodeURIComponent(options.password)}@`;
  return {
    host: '127.0.0.1',
    port,
    url: `redis${options.tls === undefined ? '' : 's'}://${credentials}127.0.0.1:${port}`,
    get pid() {
      return running().pid;
    },
    password: options.password,
    stop: () => running().stop(),
    kill: () => running().kill(),
    pause: () => {
      running().signal('SIGSTOP');
    },
    resume: () => {
      running().signal('SIGCONT');
    },
    // Not rewritten: Sentinel and the cluster keep what they have learnt in their files.
    start: () => run(file),
    call,
    cpuMs: () => running().cpuMs(),
    output: () => running().output(),
    close: remove,
  };
}

async function closeAll(servers: readonly { close(): Promise<void> }[]): Promise<void> {
  await Promise.all(servers.map((server) => server.close()));
}

/** Starts servers one beside the other; if one fails, none stays. */
async function startAll(starts: readonly Promise<RedisServer>[]): Promise<RedisServer[]> {
  const started = await Promise.allSettled(starts);
  const servers = started.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  const failed = started.find((result) => result.status === 'rejected');
  if (failed !== undefined) {
    await closeAll(servers);
    throw failed.reason;
  }
  return servers;
}

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
    readonly config?: Readonly<Record<string, string>>;
  } = {},
): Promise<SentinelSet> {
  const masterName = 'mymaster';
  const data: RedisOptions = {
    ...(options.password === undefined ? {} : { password: options.password }),
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

export interface RedisCluster {
  /** The first half were the primaries at the start, each followed by its replica in the second half. */
  readonly nodes: readonly RedisServer[];
  /** Comma list of all nodes' `host:port`. */
  readonly addresses: string;
  /** The node that serves the slot now, as the most recent configuration that any node knows says. */
  ownerOf(slot: number): Promise<RedisServer>;
  /** Resolves when every node that answers says that all slots are served and all agree on the owners. */
  settled(): Promise<void>;
  close(): Promise<void>;
}

const SLOTS = 16_384;
const PRIMARIES = 3;

/** Three primaries with one replica each; all slots covered. */
export async function startRedisCluster(
  options: { readonly password?: string; readonly config?: Readonly<Record<string, string>> } = {},
): Promise<RedisCluster> {
  const nodes = await startAll(
    Array.from({ length: 2 * PRIMARIES }, async () =>
      startRedis({
        ...(options.password === undefined ? {} : { password: options.password }),
        config: {
          'cluster-enabled': 'yes',
          'cluster-config-file': 'nodes.conf',
          'cluster-port': String(await freePort()),
          'cluster-node-timeout': String(DOWN_AFTER_MS),
          'cluster-replica-validity-factor': '0',
          ...options.config,
        },
      }),
    ),
  );
  const slotOwners = async (node: RedisServer): Promise<Map<number, number>> => {
    const owners = new Map<number, number>();
    for (const [from, to, [, port]] of (await node.call('CLUSTER', 'SLOTS')) as [number, number, [string, number]][]) {
      for (let slot = from; slot <= to; slot++) owners.set(slot, port);
    }
    return owners;
  };
  const cluster: RedisCluster = {
    nodes,
    addresses: nodes.map(({ host, port }) => `${host}:${port}`).join(','),
    ownerOf: (slot) =>
      until(`somebody owns slot ${slot}`, async () => {
        const votes = new Map<number, number>();
        for (const result of await Promise.allSettled(nodes.map(slotOwners))) {
          const port = result.status === 'fulfilled' ? result.value.get(slot) : undefined;
          if (port !== undefined) votes.set(port, (votes.get(port) ?? 0) + 1);
        }
        const [winner] = [...votes].sort(([, left], [, right]) => right - left);
        return nodes.find((node) => node.port === winner?.[0]);
      }),
    settled: async () => {
      await until(
        'all nodes agree that all slots are served',
        async () => {
          const states = await Promise.allSettled(
            nodes.map(async (node) => {
              const info = String(await node.call('CLUSTER', 'INFO'));
              const owners = await slotOwners(node);
              return info.includes('cluster_state:ok') && owners.size === SLOTS ? JSON.stringify([...owners].sort()) : 'not yet';
            }),
          );
          const said = new Set(states.flatMap((state) => (state.status === 'fulfilled' ? [state.value] : [])));
          return said.size === 1 && !said.has('not yet');
        },
        { deadlineMs: 30_000, everyMs: 100 },
      );
    },
    close: () => closeAll(nodes),
  };
  try {
    const ids = (await Promise.all(nodes.map((node) => node.call('CLUSTER', 'MYID')))) as string[];
    const share = Math.ceil(SLOTS / PRIMARIES);
    for (const [index, node] of nodes.slice(0, PRIMARIES).entries()) {
      await node.call('CLUSTER', 'ADDSLOTSRANGE', index * share, Math.min((index + 1) * share, SLOTS) - 1);
      await node.call('CLUSTER', 'SET-CONFIG-EPOCH', index + 1);
    }
    const [first, ...others] = nodes as [RedisServer, ...RedisServer[]];
    for (const node of others) {
      const busPort = Number(((await node.call('CONFIG', 'GET', 'cluster-port')) as [string, string])[1]);
      await first.call('CLUSTER', 'MEET', node.host, node.port, busPort);
    }
    for (const [index, node] of nodes.slice(PRIMARIES).entries()) {
      const primary = ids[index];
      if (primary === undefined) throw new Error('a primary has no id');
      await until('the replica knows its primary', async () => (await node.call('CLUSTER', 'REPLICATE', primary)) === 'OK');
    }
    await cluster.settled();
    await until('every replica follows its primary', async () => {
      const roles = (await Promise.all(nodes.slice(PRIMARIES).map((node) => node.call('ROLE')))) as string[][];
      return roles.every((role) => role[0] === 'slave' && role[3] === 'connected');
    });
    return cluster;
  } catch (thrown) {
    await cluster.close();
    throw thrown;
  }
}
