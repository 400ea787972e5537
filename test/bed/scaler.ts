/**
 * The scaler under test: in this process, or as the process that users start. Both on free ports, and both give back all they logged.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { noCredentialSource } from '../../src/auth/credentials.ts';
import { createLogger } from '../../src/logger.ts';
import { startServer, type RunningServer, type ServerOptions } from '../../src/server/server.ts';
import { NODE_FLAGS } from './bundle.ts';
import { createKedaClient, type KedaClient, type KedaOptions } from '../keda/client.ts';

export interface TestScaler {
  /** `HOST:PORT`. */
  readonly grpc: string;
  readonly http: string;
  readonly server: RunningServer;
  /** A KEDA of the newest released version, plain. */
  readonly client: KedaClient;
  /** One more KEDA; closed with the scaler. */
  keda(options: KedaOptions): KedaClient;
  /** All log lines so far. */
  readonly log: readonly string[];
  metrics(): Promise<string>;
  close(): Promise<void>;
}

export async function startScaler(options: Partial<ServerOptions> = {}): Promise<TestScaler> {
  const log: string[] = [];
  const server = await startServer({
    grpcAddress: '127.0.0.1:0',
    httpAddress: '127.0.0.1:0',
    credentials: noCredentialSource,
    logger: createLogger('debug', { write: (line) => void log.push(line) }),
    ...options,
  });
  const http = server.httpAddress ?? '';
  const clients = [createKedaClient(server.grpcAddress)] as [KedaClient, ...KedaClient[]];
  return {
    grpc: server.grpcAddress,
    http,
    server,
    client: clients[0],
    keda: (kedaOptions) => {
      const client = createKedaClient(server.grpcAddress, kedaOptions);
      clients.push(client);
      return client;
    },
    log,
    metrics: () => get(http, '/metrics').then(({ text }) => text),
    close: async () => {
      for (const client of clients) client.close();
      await server.close();
    },
  };
}

export interface ScalerProcess {
  readonly grpc: string;
  readonly http: string;
  readonly pid: number;
  readonly log: readonly string[];
  /** Sends the signal and resolves to the exit code when the process has ended; rejects after 10 s. */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
  close(): Promise<void>;
}

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const START_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 10_000;

/** Starts `queue-scaler serve` on free ports and waits for its line `serving`; from the sources, or from the given main file. */
export async function startScalerProcess(
  args: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
  main?: string,
): Promise<ScalerProcess> {
  const addresses = { QUEUE_SCALER_GRPC_ADDRESS: '127.0.0.1:0', QUEUE_SCALER_HTTP_ADDRESS: '127.0.0.1:0' };
  const child = spawn(
    process.execPath,
    [...NODE_FLAGS, ...(main === undefined ? ['--import', 'tsx', MAIN] : [main]), 'serve', ...args],
    {
      env: { ...process.env, ...addresses, ...env },
      stdio: ['ignore', 'inherit', 'pipe'],
    },
  );
  const log: string[] = [];
  const exited = once(child, 'exit') as Promise<[number | null]>;
  const serving = new Promise<{ grpc: string; http: string }>((resolve, reject) => {
    createInterface({ input: child.stderr }).on('line', (line) => {
      log.push(line);
      const entry = parseLine(line);
      if (entry['msg'] === 'serving') resolve({ grpc: String(entry['grpc']), http: String(entry['http']) });
    });
    exited.then(([code]) => {
      reject(new Error(`the scaler ended with ${code ?? 'a signal'} before it served:\n${log.join('\n')}`));
    }, reject);
    setTimeout(() => {
      reject(new Error(`the scaler did not serve within ${START_TIMEOUT_MS} ms:\n${log.join('\n')}`));
    }, START_TIMEOUT_MS).unref();
  });

  const stop = async (signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> => {
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    child.kill(signal);
    const overdue = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    const [code] = await exited;
    clearTimeout(overdue);
    return code;
  };

  try {
    const { grpc, http } = await serving;
    return {
      grpc,
      http,
      pid: child.pid ?? 0,
      log,
      stop,
      close: async () => {
        await stop('SIGKILL');
      },
    };
  } catch (error) {
    await stop('SIGKILL');
    throw error;
  }
}

function parseLine(line: string): Record<string, unknown> {
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return {};
  }
}

/** A GET on the scaler's HTTP side. */
export async function get(address: string, path: string): Promise<{ readonly code: number; readonly text: string }> {
  const response = await fetch(`http://${address}${path}`, { headers: { connection: 'close' } });
  return { code: response.status, text: await response.text() };
}
