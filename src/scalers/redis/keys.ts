/**
 * The keys that say which Redis to ask and as whom, in KEDA's names and look-up orders, and the deployment that they describe. A
 * password is never repeated in a fault.
 */
import { Secret } from '../../auth/secret.ts';
import { isTrue } from '../../keda.ts';
import { endpoint, key, type KeyTable, type Values } from '../metadata.ts';
import { TLS_KEYS, tlsSettings } from '../net/tls.ts';
import { duration, flag, list, oneOf, text, whole } from '../values.ts';
import { addressText, parseAddress, type Address } from '../net/address.ts';
import type { Access } from './wire/session.ts';

const DEFAULT_PORT = 6379;

export type DeploymentKind = 'standalone' | 'sentinel' | 'cluster';

/** A Redis deployment as one set of credentials sees it. */
export interface Deployment {
  readonly kind: DeploymentKind;
  /** The servers themselves, or the sentinels. */
  readonly addresses: readonly Address[];
  readonly access: Access;
  readonly sentinelAccess: Access;
  /** The sentinels' name for the primary. */
  readonly masterName: string;
  /** Where the servers are reached, by the address that they announce. */
  readonly natMap: ReadonlyMap<string, Address>;
}

const ADDRESS_PLACES = { places: ['metadata', 'authentication', 'environment'] } as const;
const HOST_PLACES = { places: ['metadata', 'environment', 'authentication'] } as const;
const secret = () => text().transform((value) => new Secret(value));

export const CONNECTION_KEYS = {
  address: key(
    'Comma-separated `host:port` or `redis://[user:password@]host[:port][/db]`, `rediss://…` with TLS. A single server is the first one.',
    endpoint(list()),
    { ...ADDRESS_PLACES, aliases: ['addresses'], secret: true },
  ),
  host: key('Comma-separated hosts, in pairs with `port`; added to `address`.', endpoint(list()), {
    ...HOST_PLACES,
    aliases: ['hosts'],
  }),
  port: key('Comma-separated ports, in pairs with `host`.', list(), { ...HOST_PLACES, aliases: ['ports'] }),
  username: key('User of the access control list.', text(), HOST_PLACES),
  password: key('Password of the user, or of the server.', secret(), { ...HOST_PLACES, secret: true }),
  databaseIndex: key('Number of the database; a cluster has only 0.', whole({ min: 0, max: 65_535 })),
  staleAfter: key('How long the last known reading stands in for one that could not be had.', duration({ maxMs: 600_000 }), {
    default: '15s',
  }),
  tls: key('Whether to use TLS; `rediss://` says so too.', oneOf(['enable', 'disable']), {
    places: ['metadata', 'authentication'],
  }),
  insecureSkipVerify: key('Accept any certificate. For tests only: whoever stands between sees the password.', flag(), {
    places: ['metadata', 'authentication'],
    default: 'false',
  }),
  ...TLS_KEYS,
  cert: { ...TLS_KEYS.cert, aliases: ['Cert'] },
};

const SENTINEL_KEYS = {
  sentinelMaster: key('The sentinels’ name for the primary.', text(), { ...ADDRESS_PLACES, required: true }),
  sentinelUsername: key('User at the sentinels.', text(), ADDRESS_PLACES),
  sentinelPassword: key('Password at the sentinels.', secret(), { ...ADDRESS_PLACES, secret: true }),
};

const NAT_KEYS = {
  natMap: key(
    'Comma-separated `announced:port=reachable:port`: where to reach servers that announce an address of another network.',
    endpoint(list()),
  ),
};

/** The keys of each kind beside {@link CONNECTION_KEYS}. */
export const KEYS_OF_KIND: Readonly<Record<DeploymentKind, KeyTable>> = {
  standalone: {},
  sentinel: { ...SENTINEL_KEYS, ...NAT_KEYS },
  cluster: NAT_KEYS,
};

export type ConnectionValues = Partial<Values<typeof CONNECTION_KEYS> & Values<typeof SENTINEL_KEYS> & Values<typeof NAT_KEYS>>;
type Fault = (key: string, message: string) => void;

interface Located {
  readonly address: Address;
  readonly tls: boolean | undefined;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly database: number | undefined;
  /** Whether any certificate is to be accepted. */
  readonly unverified?: boolean;
  /** Names of parameters that mean nothing here. */
  readonly ignored?: readonly string[];
}

/** Rules between the connection keys. `awaited` keys may still come from authentication. */
export function connectionRules(
  values: ConnectionValues,
  fault: Fault,
  awaited: ReadonlySet<string>,
  metadata: Readonly<Record<string, string>>,
): void {
  const hosts = values.host ?? [];
  const ports = values.port ?? [];
  const later = ['address', 'host', 'port'].some((name) => awaited.has(name));
  for (const [index, word] of (values.address ?? []).entries()) {
    const located = locate(word);
    if (typeof located === 'string') fault('address', `element ${index + 1} ${located}`);
  }
  for (const port of ports)
    if (parseAddress(`host:${port}`) === undefined)
      fault('port', `must be numbers from 1 to 65535, not ${JSON.stringify(port.slice(0, 60))}`);
  for (const host of hosts) {
    if (parseAddress(addressText({ host, port: 1 })) === undefined)
      fault('host', `must be names or IP addresses without port, not ${JSON.stringify(host.slice(0, 60))}`);
  }
  if (hosts.length !== ports.length && !(later && (hosts.length === 0 || ports.length === 0))) {
    fault('host', `has ${hosts.length} elements and port ${ports.length}; give as many hosts as ports`);
  } else if (values.address === undefined && hosts.length === 0 && !later) {
    fault('address', 'is required: a comma-separated list of host:port, or set host and port');
  }
  const located = (values.address ?? []).map(locate).filter((each) => typeof each !== 'string');
  for (const name of ['tls', 'username', 'password', 'database'] as const) {
    if (new Set(located.map((each) => each[name])).size > 1)
      fault('address', `gives more than one ${name}; all elements must agree`);
  }
  // Of a trigger that was moved by hand this would otherwise mean plain text, password and all.
  const open = values.tls === undefined && !awaited.has('tls') && !awaited.has('address');
  if (open && isTrue(metadata['enableTLS']) && !located.some((each) => each.tls === true))
    fault(
      'tls',
      'is required beside enableTLS, which KEDA takes for its link to this scaler: tls: enable if Redis speaks TLS, tls: disable if not',
    );
  if (values.tls === 'disable' && located.some((each) => each.tls === true))
    fault('tls', 'says disable, but the address says rediss://');
  if ((values.cert === undefined) !== (values.key === undefined) && !awaited.has('cert') && !awaited.has('key')) {
    fault(
      values.cert === undefined ? 'cert' : 'key',
      'is missing: a client certificate needs its key, and the key its certificate',
    );
  }
  for (const pair of values.natMap ?? []) {
    if (natPair(pair) === undefined)
      fault('natMap', `must be pairs announced:port=reachable:port, not ${JSON.stringify(pair.slice(0, 60))}`);
  }
}

/** The deployment that values which keep the rules describe. */
export function deploymentOf(kind: DeploymentKind, values: ConnectionValues): Deployment {
  const located = (values.address ?? []).map(locate).filter((each) => typeof each !== 'string');
  const pairs = (values.host ?? []).map((host, index) => ({ host, port: Number(values.port?.[index]) }));
  const addresses = [...located.map(({ address }) => address), ...pairs];
  const [first] = located;
  const unverified =
    values.insecureSkipVerify === true || (located.length > 0 && located.every((each) => each.unverified === true));
  const tls = values.tls === 'enable' || first?.tls === true ? tlsSettings(values, !unverified) : undefined;
  const access: Access = {
    kind: kind === 'cluster' ? 'cluster' : 'standalone',
    // In the URL of a sentinel the credentials are the servers', as are those beside it.
    username: values.username ?? first?.username,
    password: values.password ?? (first?.password === undefined ? undefined : new Secret(first.password)),
    tls,
    database: kind === 'cluster' ? 0 : (values.databaseIndex ?? first?.database ?? 0),
  };
  return {
    kind,
    // Any sentinel and any node leads to the others: in one order, equal sets are one client's.
    addresses:
      kind === 'standalone'
        ? addresses.slice(0, 1)
        : addresses.toSorted((left, right) => (addressText(left) < addressText(right) ? -1 : 1)),
    access,
    sentinelAccess: { kind: 'sentinel', username: values.sentinelUsername, password: values.sentinelPassword, tls, database: 0 },
    masterName: values.sentinelMaster ?? '',
    natMap: new Map((values.natMap ?? []).map(natPair).filter((pair) => pair !== undefined)),
  };
}

/** Parameters by which URLs of redis-py, Celery and go-redis leave certificates unchecked, and their values that do. */
const UNVERIFIED: ReadonlyMap<string, readonly string[]> = new Map([
  ['ssl_cert_reqs', ['none', 'cert_none', 'optional', 'cert_optional']],
  ['skip_verify', ['true', '1']],
]);

/** What of the address is passed over, for a person; a client's own parameters stand in the URLs of applications. */
export function addressNotes({ address = [] }: ConnectionValues): readonly string[] {
  const ignored = address.map(locate).flatMap((each) => (typeof each === 'string' ? [] : (each.ignored ?? [])));
  return ignored.length === 0
    ? []
    : [`parameters of the address that mean nothing here are ignored: ${[...new Set(ignored)].join(', ').slice(0, 200)}`];
}

/** One element of `address`; a text says what is wrong with it without repeating it, as it may hold a password. */
function locate(word: string): Located | string {
  if (!word.includes('://')) {
    const address = parseAddress(word);
    return address === undefined
      ? 'must be host:port, [IPv6]:port or a redis:// or rediss:// URL'
      : { address, tls: undefined, username: undefined, password: undefined, database: undefined };
  }
  let url: URL;
  try {
    url = new URL(word);
  } catch {
    return 'is not a URL; percent-encode special characters of user and password';
  }
  if (url.protocol !== 'redis:' && url.protocol !== 'rediss:') return 'must have the scheme redis:// or rediss://';
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (host === '') return 'names no host';
  // The parameter counts more than the path, as in redis-py, whose URLs have it.
  const database = url.searchParams.get('db') ?? url.pathname.replace(/^\//, '');
  if (!/^\d{0,5}$/.test(database)) return 'must have a number as its database, which is its path or db parameter';
  if (url.hash !== '') return 'may not have a # part; percent-encode special characters of user and password';
  try {
    return {
      address: { host, port: url.port === '' ? DEFAULT_PORT : Number(url.port) },
      tls: url.protocol === 'rediss:',
      username: url.username === '' ? undefined : decodeURIComponent(url.username),
      password: url.password === '' ? undefined : decodeURIComponent(url.password),
      database: database === '' ? undefined : Number(database),
      unverified: [...url.searchParams].some(([name, value]) => UNVERIFIED.get(name)?.includes(value.toLowerCase()) === true),
      ignored: [...url.searchParams.keys()].filter((name) => name !== 'db' && !UNVERIFIED.has(name)),
    };
  } catch {
    return 'has a user or password that is not percent-encoded well';
  }
}

function natPair(pair: string): [string, Address] | undefined {
  const [announced, reached, ...more] = pair.split('=').map((word) => parseAddress(word.trim()));
  return announced === undefined || reached === undefined || more.length > 0 ? undefined : [addressText(announced), reached];
}
