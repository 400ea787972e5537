/**
 * Private Redis servers on the loopback: free ports, own temporary folders, nothing on disk unless asked for, and nothing left behind.
 */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { freePort } from './ports.ts';
import { launch, type LaunchedProcess } from './process.ts';
import { until } from './until.ts';
import { redisCommand } from './versions/chosen.ts';

const START_MS = 10_000;
/** Another process may take a free port before the server does. */
const PORT_ATTEMPTS = 5;
/** How fast the small sets notice a dead primary; production uses tens of seconds. */
export const DOWN_AFTER_MS = 1_000;

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
  readonly tls?: RedisTls;
}

/** Files in PEM; the port then speaks TLS only, with other servers too. */
export interface RedisTls {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
  /** Makes the server demand a client's certificate; its own calls show this one. */
  readonly client?: { readonly cert: string; readonly key: string };
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
    const [program, ...args] = redisCommand([file, ...(options.sentinel === true ? ['--sentinel'] : [])]);
    const launched = launch(program, args);
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

export async function closeAll(servers: readonly { close(): Promise<void> }[]): Promise<void> {
  await Promise.all(servers.map((server) => server.close()));
}

/** Starts servers one beside the other; if one fails, none stays. */
export async function startAll(starts: readonly Promise<RedisServer>[]): Promise<RedisServer[]> {
  const started = await Promise.allSettled(starts);
  const servers = started.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  const failed = started.find((result) => result.status === 'rejected');
  if (failed !== undefined) {
    await closeAll(servers);
    throw failed.reason;
  }
  return servers;
}
