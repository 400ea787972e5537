/**
 * Host and port of a server, as text and parsed.
 */
import { z } from 'zod';
import { endpoint } from '../metadata.ts';
import { list } from '../values.ts';

export interface Address {
  readonly host: string;
  readonly port: number;
}

const MAX_PORT = 65_535;

/** `host:port`, with an IPv6 host in brackets. */
export function addressText({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Reads `host:port` or `[host]:port`; undefined where the text is neither, or the port out of range. */
export function parseAddress(text: string): Address | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/@[\]]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  return host !== undefined && port >= 1 && port <= MAX_PORT ? { host, port } : undefined;
}

/** The value of a key that names one server or more: `host:port`, or several separated by commas. */
export function addresses() {
  return endpoint(
    list().transform((words, context) => {
      const [first, ...more] = words.map(parseAddress).filter((address) => address !== undefined);
      if (first !== undefined && more.length + 1 === words.length) return [first, ...more] as const;
      context.addIssue({ code: 'custom', message: 'must be host:port, or several separated by commas' });
      return z.NEVER;
    }),
  );
}
