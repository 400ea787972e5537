/**
 * Takes a `host` URL apart into endpoint, login, vhost and sub-path. The password may hold any character.
 */
import { Secret } from '../../auth/secret.ts';

export type Scheme = 'amqp' | 'amqps' | 'http' | 'https';

export const DEFAULT_PORT: Readonly<Record<Scheme, number>> = { amqp: 5672, amqps: 5671, http: 15672, https: 15671 };
/** Where a port is not given in an http URL, it is the scheme's own, as for every http URL. */
const URL_PORT: Readonly<Record<Scheme, number>> = { amqp: 5672, amqps: 5671, http: 80, https: 443 };

export interface Endpoint {
  readonly scheme: Scheme;
  readonly host: string;
  readonly port: number;
  /** Path before `/api`, empty or `/…` without a slash at the end, still percent-encoded. Empty for AMQP. */
  readonly path: string;
}

export interface Address {
  readonly endpoint: Endpoint;
  readonly user: string | undefined;
  readonly password: Secret | undefined;
  /** Decoded; `/` where the URL names none. */
  readonly vhost: string;
  /** What follows the `?` of an AMQP URL, https://www.rabbitmq.com/docs/uri-query-parameters */
  readonly parameters: Readonly<Record<string, string>>;
}

export interface Login {
  readonly user: string;
  readonly password: Secret;
}

/** As people read it, without login or path. An IPv6 address stands in brackets. */
export function endpointLabel({ scheme, host, port }: Endpoint): string {
  return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

const AUTHORITY = /^(?:\[([0-9a-f:.]+(?:%[\w.-]+)?)\]|([^\s:@/[\]?#]+))(?::(\d{1,5}))?(\/[^]*)?$/i;

/** The URL's parts, or what is wrong with it as a predicate of the key. */
export function parseAddress(url: string): Address | string {
  const [, word, all] = /^([a-z][a-z0-9+.-]*):\/\/([^]+)$/i.exec(url) ?? [];
  if (word === undefined || all === undefined) return 'must be a URL such as amqp://host:5672/vhost';
  if (/[;,]\s*(?:amqps?|https?):\/\//i.test(all)) return 'must be one URL; name the other hosts in hosts, separated by commas';
  const scheme = schemeOf(word);
  if (scheme === undefined) return `must begin with amqp://, amqps://, http:// or https://, not ${word.slice(0, 20)}://`;

  const { rest, parameters } = scheme.startsWith('amqp') ? splitQuery(all) : { rest: all, parameters: {} };
  const { userinfo, remainder } = splitUserinfo(rest);
  const parts = AUTHORITY.exec(remainder.replace(/^[/]*$/, ''));
  if (parts === null) return 'must name a host, and a port from 1 to 65535 if any, such as amqp://host:5672/vhost';
  const [, ipv6, name, digits, path = ''] = parts;
  const port = digits === undefined ? URL_PORT[scheme] : Number(digits);
  if (port < 1 || port > 65_535) return 'must have a port from 1 to 65535';
  if (/[?#]/.test(path))
    return 'must not have a fragment, nor a query but name=value&… of amqp; encode ? as %3F and # as %23 in a vhost';

  const { vhost, subPath } = scheme.startsWith('http') ? splitPath(path) : { vhost: decode(path.slice(1)) || '/', subPath: '' };
  const colon = userinfo?.indexOf(':') ?? -1;
  return {
    endpoint: { scheme, host: (ipv6 ?? name ?? '').toLowerCase(), port, path: subPath },
    user: userinfo === undefined ? undefined : decode(colon < 0 ? userinfo : userinfo.slice(0, colon)),
    password: userinfo === undefined || colon < 0 ? undefined : new Secret(decode(userinfo.slice(colon + 1))),
    vhost,
    parameters,
  };
}

/** What looks like `?name=value&…` at the end; a password may hold a `?` of its own. */
function splitQuery(rest: string): { readonly rest: string; readonly parameters: Readonly<Record<string, string>> } {
  const [query, pairs = ''] = /\?([a-z_]+=[^&?#@]*(?:&[a-z_]+=[^&?#@]*)*)$/.exec(rest) ?? [];
  if (query === undefined) return { rest, parameters: {} };
  return { rest: rest.slice(0, -query.length), parameters: Object.fromEntries(new URLSearchParams(pairs)) };
}

/** One more endpoint of the same broker: `host`, `host:port` or a URL with neither login nor path. */
export function parseEndpoint(text: string, like: Endpoint): Endpoint | string {
  const address = parseAddress(text.includes('://') ? text : `${like.scheme}://${text}`);
  if (typeof address === 'string') return address;
  if (address.user !== undefined) return 'must not hold a login; it is the same as in host';
  if (address.endpoint.scheme !== like.scheme) return `must have the scheme of host, ${like.scheme}`;
  const hasPort = /:\d+\/*$/.test(text.replace(/^[a-z]+:\/\//i, ''));
  return { ...address.endpoint, port: hasPort ? address.endpoint.port : like.port, path: like.path };
}

function schemeOf(word: string): Scheme | undefined {
  const scheme = word.toLowerCase();
  return scheme === 'amqp' || scheme === 'amqps' || scheme === 'http' || scheme === 'https' ? scheme : undefined;
}

/**
 * Splits at the last `@` of the authority as the URL standard does. Where that leaves no valid host, the password holds a
 * character that should have been encoded, and the last `@` of all is meant.
 */
function splitUserinfo(rest: string): { readonly userinfo: string | undefined; readonly remainder: string } {
  const authorityEnd = rest.search(/\//);
  const authority = authorityEnd < 0 ? rest : rest.slice(0, authorityEnd);
  const at = authority.lastIndexOf('@');
  if (at >= 0 && AUTHORITY.test(rest.slice(at + 1))) return { userinfo: rest.slice(0, at), remainder: rest.slice(at + 1) };
  if (at < 0 && AUTHORITY.test(rest)) return { userinfo: undefined, remainder: rest };
  const last = rest.lastIndexOf('@');
  return last < 0 ? { userinfo: undefined, remainder: rest } : { userinfo: rest.slice(0, last), remainder: rest.slice(last + 1) };
}

/** An http path is the sub-path and then the vhost, as in KEDA: `/sub/vhost`; an empty last segment is the vhost `/`. */
function splitPath(path: string): { readonly vhost: string; readonly subPath: string } {
  const trimmed = path.replace(/^\/+/, '');
  const slash = trimmed.lastIndexOf('/');
  const before = slash < 0 ? '' : trimmed.slice(0, slash).replace(/\/+$/, '');
  return { vhost: decode(trimmed.slice(slash + 1)) || '/', subPath: before === '' ? '' : `/${before}` };
}

/** Percent-decodes; a text that is not validly encoded was not encoded, and stands for itself. `+` is a plus. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Whether the URL says that the client's certificate is the login. */
export function isExternal({ parameters }: Address): boolean {
  return parameters['auth_mechanism']?.toLowerCase() === 'external';
}

/** Whether the URL says that any certificate of the broker will do. */
export function isUnverified({ parameters }: Address): boolean {
  return parameters['verify'] === 'verify_none';
}

const HONOURED: ReadonlySet<string> = new Set(['auth_mechanism', 'verify']);

/** A sentence on what the URL asks for and is not done here, by the names of the parameters alone; undefined if that is nothing. */
export function ignoredParameters({ parameters }: Address): string | undefined {
  const names = Object.keys(parameters).filter((name) => !HONOURED.has(name));
  if (names.length === 0) return undefined;
  const files = names.some((name) => name.endsWith('file')) ? '; certificates are given as ca, cert and key' : '';
  return `host: ${names.join(', ')} ${names.length === 1 ? 'has' : 'have'} no effect here${files}`;
}
