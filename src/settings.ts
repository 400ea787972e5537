/**
 * Every setting of the process in one table, from which flags, environment variables and the reference documentation are made. All
 * bad values are told at once, and no setting may take a name that Kubernetes itself puts into a pod's environment.
 */
import type { Command } from 'commander';
import type { z } from 'zod';
import { decimal, duration, flag, list, oneOf, text } from './scalers/values.ts';
import { KEDA_VERSIONS } from './local/keda/versions.ts';
import { LOG_LEVELS } from './logger.ts';
import { parseAddress } from './server/address.ts';
import type { ServerOptions } from './server/server.ts';

export interface Setting<Value = unknown> {
  readonly schema: z.ZodType<Value, string>;
  /** As the user would write it; without one the setting is off unless given. */
  readonly default?: string;
  /** What stands for the value in the help text. */
  readonly placeholder: string;
  /** One or two sentences. */
  readonly doc: string;
}

export type SettingTable = Readonly<Record<string, Setting>>;

export type Settings<Table extends SettingTable> = {
  readonly [Name in keyof Table]: Table[Name] extends { readonly default: string }
    ? z.output<Table[Name]['schema']>
    : z.output<Table[Name]['schema']> | undefined;
};

/** `HOST:PORT` in one of the forms that can be listened on. */
function address() {
  return text().refine((word) => parseAddress(word) !== undefined, 'must be an address such as 0.0.0.0:6000 or [::1]:6000');
}

export const SERVE_SETTINGS = {
  grpcAddress: {
    schema: address(),
    default: '0.0.0.0:6000',
    placeholder: 'host:port',
    doc: 'Where KEDA reaches the scaler by gRPC. Port 0 takes a free one.',
  },
  httpAddress: {
    schema: address(),
    default: '0.0.0.0:8080',
    placeholder: 'host:port',
    doc: 'Where /metrics, /livez and /readyz are served. Port 0 takes a free one.',
  },
  page: {
    schema: oneOf(['on', 'off']),
    default: 'on',
    placeholder: 'on|off',
    doc: 'Whether the status page is served at / of the HTTP address. It shows names and figures to whoever reaches it, and no secrets.',
  },
  reflection: {
    schema: oneOf(['on', 'off']),
    default: 'off',
    placeholder: 'on|off',
    doc: 'Whether tools such as grpcurl may ask by gRPC reflection what services and messages there are.',
  },
  kubernetes: {
    schema: oneOf(['auto', 'off']),
    default: 'auto',
    placeholder: 'auto|off',
    doc: 'Whether credentials are looked up in Kubernetes: auto does so inside a cluster and where KUBECONFIG is set.',
  },
  tlsCert: {
    schema: text(),
    placeholder: 'file',
    doc: 'Certificate (PEM, with its chain) that gRPC is served with; without it gRPC is plain. A changed file is used by itself.',
  },
  tlsKey: { schema: text(), placeholder: 'file', doc: 'Private key (PEM) of the certificate.' },
  tlsClientCa: {
    schema: text(),
    placeholder: 'file',
    doc: 'Authority (PEM) that clients’ certificates must come from; without it clients need none.',
  },
  tlsClientNames: {
    schema: list(),
    placeholder: 'name,…',
    doc: 'DNS and URI names of which a client’s certificate must have one, exactly as written; without it all of the authority’s are allowed.',
  },
  maxConnectionAge: {
    schema: duration({ minMs: 1_000 }),
    default: '30m',
    placeholder: 'duration',
    doc: 'Age at which connections and streams are asked to end, with OK, so that callers find new replicas.',
  },
  clusterObjectNamespace: {
    schema: text(),
    default: 'keda',
    placeholder: 'namespace',
    doc: 'Namespace of the Secrets and ConfigMaps that ClusterTriggerAuthentications name; KEDA’s KEDA_CLUSTER_OBJECT_NAMESPACE.',
  },
  restrictSecretAccess: {
    schema: flag(),
    default: 'false',
    placeholder: 'true|false',
    doc: 'Whether Secrets are read from the cluster object namespace alone; KEDA’s KEDA_RESTRICT_SECRET_ACCESS.',
  },
  filePathRoot: {
    schema: text(),
    placeholder: 'folder',
    doc: 'Folder of the files that ClusterTriggerAuthentications name by filePath; KEDA’s --filepath-auth-root-path.',
  },
  vaultAddresses: {
    schema: list().refine((words) => words.every((word) => URL.canParse(word)), 'must be URLs such as https://vault.vault:8200'),
    placeholder: 'url,…',
    doc: 'HashiCorp Vault servers that may be given this process’s own service account token. Others get only what a TriggerAuthentication itself holds.',
  },
  shutdownGrace: {
    schema: duration({ minMs: 100, maxMs: 300_000 }),
    default: '5s',
    placeholder: 'duration',
    doc: 'Longest time from SIGTERM to the end. Less than the pod’s terminationGracePeriodSeconds.',
  },
  logLevel: {
    schema: oneOf(LOG_LEVELS),
    default: 'info',
    placeholder: LOG_LEVELS.join('|'),
    doc: 'The least level that is logged.',
  },
} as const satisfies SettingTable;

export const LOCAL_SETTINGS = {
  kedaVersion: {
    schema: oneOf(KEDA_VERSIONS),
    default: '2.20',
    placeholder: KEDA_VERSIONS.join('|'),
    doc: 'Whose way with errors is followed: from 2.20 on one in the wrong moment counts as an inactive trigger.',
  },
  hpaSyncPeriod: {
    schema: duration({ minMs: 100 }),
    default: '15s',
    placeholder: 'duration',
    doc: 'Time between the syncs of the HPA, as of kube-controller-manager.',
  },
  hpaTolerance: {
    schema: decimal({ min: 0, max: 1 }),
    default: '0.1',
    placeholder: 'fraction',
    doc: 'How far a metric may stray from its target before replicas change, as of kube-controller-manager.',
  },
  duration: {
    schema: duration({ minMs: 100 }),
    placeholder: 'duration',
    doc: 'Ends the run after so long, such as 90s. With --until-idle that is a failure.',
  },
  workerOutput: {
    schema: oneOf(['show', 'drop']),
    default: 'show',
    placeholder: 'show|drop',
    doc: 'Whether what the workers write is shown, on stderr.',
  },
  httpAddress: {
    schema: address(),
    placeholder: 'host:port',
    doc: 'Where the scaler’s metrics and status are served. Port 0 takes a free one.',
  },
} as const satisfies SettingTable;

const ENV_PREFIX = 'QUEUE_SCALER_';

/** `grpcAddress` → `--grpc-address`. */
export function flagOf(name: string): string {
  return `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** `grpcAddress` → `QUEUE_SCALER_GRPC_ADDRESS`. */
export function envOf(name: string): string {
  return `${ENV_PREFIX}${name.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}

/** Arguments or environment are wrong; the message has a line for each fault. */
export class UsageError extends Error {
  constructor(faults: readonly string[]) {
    super(faults.join('\n'));
    this.name = 'UsageError';
  }
}

/** Declares the table's flags on a command. */
export function declareFlags(command: Command, table: SettingTable): Command {
  for (const [name, setting] of Object.entries(table)) {
    const fallback = setting.default === undefined ? '' : ` Default: ${setting.default}.`;
    command.option(`${flagOf(name)} <${setting.placeholder}>`, `${setting.doc}${fallback} [${envOf(name)}]`);
  }
  return command;
}

/**
 * Reads the values: a flag's, or its environment variable's (an empty one counts as absent), or the default. Throws a
 * {@link UsageError} that lists every fault.
 */
export function readSettings<Table extends SettingTable>(
  table: Table,
  flags: Readonly<Record<string, string | undefined>>,
  env: Readonly<Record<string, string | undefined>>,
): Settings<Table> {
  const faults: string[] = [];
  const values: Record<string, unknown> = {};
  for (const [name, setting] of Object.entries(table)) {
    const flag = flags[name];
    const variable = env[envOf(name)] === '' ? undefined : env[envOf(name)];
    const word = flag ?? variable ?? setting.default;
    if (word === undefined) continue;
    const result = setting.schema.safeParse(word.trim());
    if (result.success) values[name] = result.data;
    else {
      const source = flag === undefined ? envOf(name) : flagOf(name);
      faults.push(
        `${source} ${result.error.issues[0]?.message ?? 'is not valid'}, not ${JSON.stringify(word.slice(0, MAX_SHOWN))}`,
      );
    }
  }
  if (faults.length > 0) throw new UsageError(faults);
  return values as Settings<Table>;
}

const MAX_SHOWN = 60;

/** TLS as the server takes it, or undefined for none. Throws a {@link UsageError} where files that belong together are not given together. */
export function tlsOf(settings: Settings<typeof SERVE_SETTINGS>): ServerOptions['tls'] {
  const { tlsCert, tlsKey, tlsClientCa, tlsClientNames } = settings;
  const faults: string[] = [];
  if ((tlsCert === undefined) !== (tlsKey === undefined)) faults.push('--tls-cert and --tls-key are only of use together');
  if (tlsClientCa !== undefined && tlsCert === undefined) faults.push('--tls-client-ca needs --tls-cert and --tls-key');
  if (tlsClientNames !== undefined && tlsClientCa === undefined) faults.push('--tls-client-names needs --tls-client-ca');
  if (faults.length > 0) throw new UsageError(faults);
  if (tlsCert === undefined || tlsKey === undefined) return undefined;
  return {
    cert: tlsCert,
    key: tlsKey,
    ...(tlsClientCa === undefined ? {} : { clientCa: tlsClientCa }),
    ...(tlsClientNames === undefined ? {} : { clientNames: tlsClientNames }),
  };
}
