/**
 * A private beanstalkd on the loopback, on a free port and with nothing on disk, and a client of it for tests.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import { freePort } from './ports.ts';
import { launch, type LaunchedProcess } from './process.ts';
import { until } from './until.ts';

/** Another process may take a free port before the server does. */
const PORT_ATTEMPTS = 5;
/** Time to run of the jobs, in seconds: no test lasts as long. */
const TIME_TO_RUN = 3600;

export interface BeanstalkdServer {
  readonly port: number;
  kill(): Promise<void>;
  /** SIGSTOP: connections stay open and nothing answers. */
  pause(): void;
  resume(): void;
  /** Again, on the same port, and empty. */
  start(): Promise<void>;
  close(): Promise<void>;
}

export async function startBeanstalkd(): Promise<BeanstalkdServer> {
  let port = await freePort();
  let process: LaunchedProcess | undefined;

  async function start(): Promise<void> {
    const launched = launch('/usr/bin/beanstalkd', ['-l', '127.0.0.1', '-p', String(port)]);
    process = launched;
    await until('beanstalkd takes connections', async () => {
      if (!launched.alive()) return true;
      const socket = connect(port, '127.0.0.1');
      await once(socket, 'connect');
      socket.destroy();
      return true;
    });
    if (!launched.alive()) throw new Error(`beanstalkd has ended: ${launched.output()}`);
  }

  for (let attempt = 1; ; attempt++) {
    try {
      await start();
      break;
    } catch (error) {
      if (attempt === PORT_ATTEMPTS) throw error;
      port = await freePort();
    }
  }
  return {
    get port() {
      return port;
    },
    kill: async () => process?.kill(),
    pause: () => process?.signal('SIGSTOP'),
    resume: () => process?.signal('SIGCONT'),
    start,
    close: async () => process?.stop(),
  };
}

export interface BeanstalkdClient {
  put(tube: string, jobs: number, delaySeconds?: number): Promise<void>;
  /** Deletes all jobs that are ready. */
  drain(tube: string): Promise<void>;
  /** Takes jobs, and holds them until `finish`, `bury` or the connection's end. */
  reserve(tube: string, jobs: number): Promise<void>;
  /** Deletes the jobs that are held. */
  finish(tube: string): Promise<void>;
  bury(tube: string): Promise<void>;
  /** Connections to the server, without this one. */
  connections(): Promise<number>;
  close(): void;
}

export async function connectBeanstalkd(port: number): Promise<BeanstalkdClient> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  socket.on('error', () => undefined);
  const held = new Map<string, string[]>();
  let received = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => (received += chunk));

  /** Sends a command and takes what is expected, or anything else, for its answer; one at a time. */
  async function ask(command: string, answer: RegExp): Promise<RegExpExecArray> {
    received = '';
    socket.write(`${command}\r\n`);
    const found = await until(`the answer to ${command}`, () => answer.exec(received) ?? undefined);
    return found;
  }

  async function take(tube: string): Promise<string | undefined> {
    await ask(`watch ${tube}`, /^WATCHING \d+\r\n/);
    const [, id] = await ask('reserve-with-timeout 0', /^(?:RESERVED (\d+) \d+\r\n[^]*\r\n|TIMED_OUT\r\n)/);
    await ask(`ignore ${tube}`, /^WATCHING \d+\r\n/);
    return id;
  }

  async function settle(tube: string, command: (id: string) => string): Promise<void> {
    for (const id of held.get(tube) ?? []) await ask(command(id), /^(?:DELETED|BURIED)\r\n/);
    held.delete(tube);
  }

  return {
    async put(tube, jobs, delaySeconds = 0) {
      await ask(`use ${tube}`, /^USING .*\r\n/);
      for (let job = 0; job < jobs; job++) await ask(`put 0 ${delaySeconds} ${TIME_TO_RUN} 3\r\njob`, /^INSERTED \d+\r\n/);
      await ask('use default', /^USING default\r\n/);
    },
    async drain(tube) {
      for (let id = await take(tube); id !== undefined; id = await take(tube)) await ask(`delete ${id}`, /^DELETED\r\n/);
    },
    async reserve(tube, jobs) {
      for (let job = 0; job < jobs; job++) {
        const id = await take(tube);
        if (id === undefined) throw new Error(`tube ${tube} has no job to reserve`);
        held.set(tube, [...(held.get(tube) ?? []), id]);
      }
    },
    finish: (tube) => settle(tube, (id) => `delete ${id}`),
    bury: (tube) => settle(tube, (id) => `bury ${id} 0`),
    async connections() {
      const [, count] = await ask('stats', /current-connections: (\d+)\n[^]*\r\n$/);
      return Number(count) - 1;
    },
    close: () => void socket.destroy(),
  };
}
