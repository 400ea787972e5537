/**
 * One private RabbitMQ node as an operating-system process: Debian's files, but nothing of the system's service: own folders,
 * cookie, name server and ports, all on the loopback. It must never touch another node, whoever's that is.
 * More than 300 lines because the node's files, environment, life and calls share the same names and ports.
 */
import { randomBytes } from 'node:crypto';
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePort, freePorts } from './ports.ts';
import { launch, type LaunchedProcess } from './process.ts';
import { until } from './until.ts';
import { rabbitCommand, rabbitTraits } from './versions/chosen.ts';

/** The scripts behind Debian's wrapper, which would change the user. */
const SCRIPTS = '/usr/lib/rabbitmq/bin';
const START_DEADLINE_MS = 60_000;
const STOP_DEADLINE_MS = 40_000;
const PORT_ATTEMPTS = 5;
const CTL_DEADLINE_MS = 60_000;

/** Erlang's name server and the secret that nodes of one cluster share. */
export interface Site {
  readonly home: string;
  readonly epmdPort: number;
  close(): Promise<void>;
}

export async function startSite(): Promise<Site> {
  const home = mkdtempSync(join(tmpdir(), 'queue-scaler-rabbitmq-'));
  const remove = (): void => {
    rmSync(home, { recursive: true, force: true, maxRetries: 5 });
  };
  writeFileSync(join(home, '.erlang.cookie'), randomBytes(15).toString('hex'), { mode: 0o400 });
  for (let attempt = 1; ; attempt++) {
    const epmdPort = await freePort();
    const [program, ...args] = rabbitCommand('/usr/bin/epmd', ['-port', `${epmdPort}`, '-address', '127.0.0.1']);
    const epmd = launch(program, args);
    await until('epmd listens', async () => !epmd.alive() || (await isServing(epmdPort)));
    if (epmd.alive()) {
      writeFileSync(join(home, 'epmd.pid'), `${epmd.pid}`);
      return {
        home,
        epmdPort,
        close: async () => {
          await epmd.kill();
          remove();
        },
      };
    }
    if (attempt === PORT_ATTEMPTS) {
      remove();
      throw new Error(`epmd ended with ${await epmd.ended}: ${epmd.output()}`);
    }
  }
}

export interface NodeOptions {
  /** Plugins beside rabbitmq_management and rabbitmq_prometheus. */
  readonly plugins?: readonly string[];
  /** Lines of rabbitmq.conf, over the bed's own. */
  readonly config?: Readonly<Record<string, string>>;
  /** PEM files; with them the node listens for amqps and https too. */
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string; readonly verifyPeer?: boolean };
}

export interface RabbitNode {
  /** Erlang's name of the node, such as `r1@localhost`. */
  readonly name: string;
  readonly host: '127.0.0.1';
  readonly amqpPort: number;
  readonly managementPort: number;
  readonly prometheusPort: number;
  /** 0 where the node was started without `tls`. */
  readonly amqpsPort: number;
  /** Of the management API over TLS; 0 where the node was started without `tls`. */
  readonly httpsPort: number;
  readonly user: 'guest';
  readonly password: 'guest';
  /** Of the Erlang VM that runs now. */
  readonly pid: number;
  running(): boolean;
  /** `amqp://guest:guest@127.0.0.1:PORT`, with the vhost's name behind it where one is given. */
  amqpUrl(vhost?: string): string;
  /** The management API's address, built like {@link amqpUrl}. */
  httpUrl(vhost?: string): string;
  amqpsUrl(vhost?: string): string;
  httpsUrl(vhost?: string): string;
  /** One call of the management API, `path` behind `/api`; the parsed answer, or undefined where it has no body. Rejects for 4xx and 5xx. */
  api(method: 'GET' | 'PUT' | 'POST' | 'DELETE', path: string, body?: unknown, deadlineMs?: number): Promise<unknown>;
  /** Runs rabbitmqctl and gives what it prints. Takes a second or two: it is an Erlang VM of its own. */
  ctl(...args: string[]): Promise<string>;
  /** Orderly shutdown. */
  stop(): Promise<void>;
  /** Writes definitions to disk: a queue declared less than some seconds ago may not outlive a kill otherwise, its messages with it. */
  flush(): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** SIGSTOP: connections stay open and nothing is answered. */
  pause(): void;
  resume(): void;
  /** Starts a node that was stopped or killed again, with its data and ports; resolves when it takes AMQP connections. */
  start(): Promise<void>;
  /** CPU time of the VM since its last start, in ms. */
  cpuMs(): number;
  /** Ends the node in whatever state it is and removes its folder. */
  close(): Promise<void>;
}

const PORTS = ['amqp', 'management', 'prometheus', 'distribution', 'amqps', 'https', 'stream'] as const;
type Ports = Record<(typeof PORTS)[number], number>;

/** Starts a node; `peers` are the names of all nodes of its cluster, itself among them. */
export async function startNode(
  site: Site,
  shortName: string,
  peers: readonly string[],
  options: NodeOptions,
): Promise<RabbitNode> {
  const name = `${shortName}@localhost`;
  const folder = join(site.home, shortName);
  mkdirSync(folder);
  const file = (leaf: string): string => join(folder, leaf);
  const plugins = ['rabbitmq_management', 'rabbitmq_prometheus', ...(options.plugins ?? [])];
  writeFileSync(file('enabled_plugins'), `[${[...new Set(plugins)].join(',')}].\n`);

  let ports: Ports;
  let child: LaunchedProcess | undefined;

  async function choosePorts(): Promise<void> {
    const free = await freePorts(PORTS.length);
    ports = Object.fromEntries(PORTS.map((use, index) => [use, free[index]])) as Ports;
    writeFileSync(file('rabbitmq.conf'), configuration(ports, peers, options));
  }

  function environment(): NodeJS.ProcessEnv {
    return {
      PATH: process.env['PATH'],
      LANG: 'C.UTF-8',
      HOME: site.home,
      ERL_EPMD_PORT: `${site.epmdPort}`,
      ERL_EPMD_ADDRESS: '127.0.0.1',
      RABBITMQ_NODENAME: name,
      RABBITMQ_CONF_ENV_FILE: file('no-environment-file'),
      RABBITMQ_CONFIG_FILE: file('rabbitmq.conf'),
      RABBITMQ_ENABLED_PLUGINS_FILE: file('enabled_plugins'),
      RABBITMQ_MNESIA_BASE: file('data'),
      RABBITMQ_LOG_BASE: file('log'),
      RABBITMQ_PID_FILE: file('pid'),
      RABBITMQ_GENERATED_CONFIG_DIR: file('config'),
      RABBITMQ_DIST_PORT: `${ports.distribution}`,
      RABBITMQ_CTL_DIST_PORT_MIN: '0',
      RABBITMQ_CTL_DIST_PORT_MAX: '0',
      // Makes the script exec the VM, so that the process we start is the VM itself.
      RABBITMQ_ALLOW_INPUT: '1',
      // Two schedulers and no busy waiting: several nodes share a small machine, and idle CPU time stays near nothing.
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS:
        '-noinput +S 2:2 +SDio 2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}',
      RABBITMQ_CTL_ERL_ARGS: '+S 1:1 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}',
    };
  }

  async function run(): Promise<void> {
    const [program, ...args] = rabbitCommand(join(SCRIPTS, 'rabbitmq-server'), []);
    const started = launch(program, args, { env: environment(), cwd: folder });
    child = started;
    // The AMQP listener is the last thing that opens; the management API is there before it.
    await until(`${name} takes AMQP connections`, async () => !started.alive() || (await speaksAmqp(ports.amqp)), {
      deadlineMs: START_DEADLINE_MS,
    });
    if (!started.alive()) throw new Error(`${name} ended with ${await started.ended}`);
  }

  async function ctl(...args: string[]): Promise<string> {
    const [program, ...command] = rabbitCommand(join(SCRIPTS, 'rabbitmqctl'), ['-q', '-n', name, ...args]);
    const { stdout } = await promisify(execFile)(program, command, {
      env: environment(),
      cwd: folder,
      timeout: CTL_DEADLINE_MS,
    });
    return stdout;
  }

  function log(): string {
    const path = file(`log/${name}.log`);
    return `${child?.output().slice(-4000) ?? ''}\n${existsSync(path) ? readFileSync(path, 'utf8').slice(-4000) : ''}`;
  }

  async function start(): Promise<void> {
    if (child?.alive() === true) throw new Error(`${name} already runs`);
    try {
      await run();
    } catch (error) {
      await child?.kill();
      throw new Error(`${name} did not start; its last words:\n${log()}`, { cause: error });
    }
  }

  const current = (): LaunchedProcess => {
    if (child === undefined) throw new Error(`${name} was never started`);
    return child;
  };

  const url = (scheme: string, port: number, vhost: string | undefined): string =>
    `${scheme}://guest:guest@127.0.0.1:${port}${vhost === undefined ? '' : `/${encodeURIComponent(vhost)}`}`;

  for (let attempt = 1; ; attempt++) {
    await choosePorts();
    try {
      await start();
      break;
    } catch (error) {
      if (attempt === PORT_ATTEMPTS || !/eaddrinuse|address already in use/i.test(log())) throw error;
    }
  }

  return {
    name,
    host: '127.0.0.1',
    user: 'guest',
    password: 'guest',
    get amqpPort() {
      return ports.amqp;
    },
    get managementPort() {
      return ports.management;
    },
    get prometheusPort() {
      return ports.prometheus;
    },
    get amqpsPort() {
      return options.tls === undefined ? 0 : ports.amqps;
    },
    get httpsPort() {
      return options.tls === undefined ? 0 : ports.https;
    },
    get pid() {
      return current().pid;
    },
    running: () => current().alive(),
    amqpUrl: (vhost) => url('amqp', ports.amqp, vhost),
    httpUrl: (vhost) => url('http', ports.management, vhost),
    amqpsUrl: (vhost) => url('amqps', ports.amqps, vhost),
    httpsUrl: (vhost) => url('https', ports.https, vhost),
    async api(method, path, body, deadlineMs = CTL_DEADLINE_MS) {
      const response = await fetch(`http://127.0.0.1:${ports.management}/api${path}`, {
        method,
        headers: {
          authorization: `Basic ${Buffer.from('guest:guest').toString('base64')}`,
          'content-type': 'application/json',
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(deadlineMs),
      });
      const text = await response.text();
      if (!response.ok) throw new Error(`${method} /api${path} at ${name}: ${response.status} ${text}`);
      return text === '' ? undefined : (JSON.parse(text) as unknown);
    },
    ctl,
    async stop() {
      // RabbitMQ takes SIGTERM as the order to shut down in good order.
      current().signal('SIGTERM');
      await until(`${name} shuts down`, () => !current().alive(), { deadlineMs: STOP_DEADLINE_MS });
    },
    async flush() {
      // Khepri has it on disk before it answers.
      if (rabbitTraits().metadata === 'mnesia') await ctl('eval', 'mnesia:sync_log().');
    },
    kill: () => current().kill(),
    pause: () => {
      current().signal('SIGSTOP');
    },
    resume: () => {
      current().signal('SIGCONT');
    },
    start,
    cpuMs: () => current().cpuMs(),
    close: () => current().kill(),
  };
}

function configuration(ports: Ports, peers: readonly string[], { tls, config, plugins }: NodeOptions): string {
  const tlsLines: Record<string, string> = {};
  if (tls !== undefined) {
    tlsLines['listeners.ssl.1'] = `127.0.0.1:${ports.amqps}`;
    tlsLines['management.ssl.ip'] = '127.0.0.1';
    tlsLines['management.ssl.port'] = `${ports.https}`;
    for (const listener of ['ssl_options', 'management.ssl']) {
      tlsLines[`${listener}.cacertfile`] = tls.ca;
      tlsLines[`${listener}.certfile`] = tls.cert;
      tlsLines[`${listener}.keyfile`] = tls.key;
      tlsLines[`${listener}.verify`] = tls.verifyPeer === true ? 'verify_peer' : 'verify_none';
      tlsLines[`${listener}.fail_if_no_peer_cert`] = tls.verifyPeer === true ? 'true' : 'false';
    }
  }
  const cluster: Record<string, string> =
    peers.length < 2
      ? {}
      : {
          'cluster_formation.peer_discovery_backend': 'classic_config',
          ...Object.fromEntries(peers.map((peer, index) => [`cluster_formation.classic_config.nodes.${index + 1}`, peer])),
        };
  const lines: Record<string, string> = {
    'listeners.tcp.1': `127.0.0.1:${ports.amqp}`,
    'management.tcp.ip': '127.0.0.1',
    'management.tcp.port': `${ports.management}`,
    'prometheus.tcp.ip': '127.0.0.1',
    'prometheus.tcp.port': `${ports.prometheus}`,
    'log.console': 'false',
    ...(plugins?.includes('rabbitmq_stream') === true ? { 'stream.listeners.tcp.1': `127.0.0.1:${ports.stream}` } : {}),
    ...cluster,
    ...tlsLines,
    ...config,
  };
  return Object.entries(lines)
    .map(([key, value]) => `${key} = ${value}\n`)
    .join('');
}

/** Whether something takes connections on that port. */
function isServing(port: number): Promise<boolean> {
  return probe(port, (socket, done) => {
    socket.once('connect', () => {
      done(true);
    });
  });
}

/** Whether an AMQP broker greets on that port. */
function speaksAmqp(port: number): Promise<boolean> {
  return probe(port, (socket, done) => {
    socket.write('AMQP\0\0\x09\x01');
    socket.once('data', () => {
      done(true);
    });
  });
}

function probe(port: number, ask: (socket: Socket, done: (yes: boolean) => void) => void): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const done = (yes: boolean): void => {
      socket.destroy();
      resolve(yes);
    };
    socket.setTimeout(2000, () => {
      done(false);
    });
    socket.once('error', () => {
      done(false);
    });
    socket.once('close', () => {
      done(false);
    });
    ask(socket, done);
  });
}
