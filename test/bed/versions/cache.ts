/** Where unpacked versions of brokers are kept, and which of them are whole. */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { BrokerVersion } from './catalogue.ts';

export interface Provisioned {
  /** The folder that stands for `/`. */
  readonly root: string;
  /** As its makers count, such as `4.3.6`. */
  readonly version: string;
  /** Debian's suite that it comes from. */
  readonly suite: string;
}

export function cacheFolder(): string {
  const cache = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
  return process.env['QUEUE_SCALER_BROKER_CACHE'] ?? join(cache, 'keda-queue-scaler', 'brokers');
}

const recordOf = ({ folder }: BrokerVersion): string => join(cacheFolder(), `${folder}.json`);

/** What is in the cache, if it is whole. */
export function provisioned(version: BrokerVersion): Provisioned | undefined {
  const record = recordOf(version);
  return existsSync(record) ? (JSON.parse(readFileSync(record, 'utf8')) as Provisioned) : undefined;
}

/** Says that it is whole from now on. */
export function recordProvisioned(version: BrokerVersion, done: Provisioned): void {
  const record = recordOf(version);
  // At once, so that nobody reads half of it.
  writeFileSync(`${record}.new`, JSON.stringify(done));
  renameSync(`${record}.new`, record);
}
