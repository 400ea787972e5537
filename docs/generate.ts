/**
 * Writes the reference tables of the documentation from the code: `npm run docs`. Between the marks `<!-- table:NAME -->` and
 * `<!-- /table -->` of a page stands what this makes; a test compares, so that pages and code cannot drift apart.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { format, resolveConfig } from 'prettier';
import { RULES } from '../src/cli/check/finding.ts';
import { ERRORS } from '../src/errors.ts';
import { createMetrics } from '../src/server/metrics.ts';
import { EVENT_REASONS } from '../src/server/stateEvents.ts';
import { envOf, flagOf, LOCAL_SETTINGS, SERVE_SETTINGS, type SettingTable } from '../src/settings.ts';
import { VERSION } from '../src/version.ts';
import { SCALER_PARTS } from './scalerParts.ts';
import { table } from './table.ts';

const MARK = /(<!-- table:(\S+) -->\n)[\s\S]*?(<!-- \/table -->)/g;

const RETRIES: Readonly<Record<(typeof ERRORS)[keyof typeof ERRORS]['retry'], string>> = {
  never: 'no',
  later: 'when asked next',
  endpoint: 'at the next endpoint, or after a pause',
  credentials: 'with credentials read anew',
  objects: 'with objects read anew',
};

function errors(): string {
  const rows = Object.entries(ERRORS).map(([code, { radius, grpc, retry, allowStale, meaning, remedy }]) => [
    `\`${code}\``,
    radius,
    `\`${grpc}\``,
    RETRIES[retry],
    allowStale ? 'yes' : 'no',
    meaning,
    remedy,
  ]);
  const head = ['code', 'concerns', 'gRPC status', 'tried again', 'last known reading may stand in', 'meaning', 'what to do'];
  return table(head, rows);
}

function rules(): string {
  const rows = Object.entries(RULES).map(([rule, { severity, doc }]) => [`\`${rule}\``, severity, doc]);
  return table(['rule', 'severity', 'meaning'], rows);
}

function settings(command: string): string {
  const tables: Readonly<Record<string, SettingTable>> = { serve: SERVE_SETTINGS, local: LOCAL_SETTINGS };
  const found = tables[command];
  if (found === undefined) throw new Error(`no settings are those of ${command}`);
  const rows = Object.entries(found).map(([name, { default: value, doc }]) => [
    `\`${flagOf(name)}\``,
    `\`${envOf(name)}\``,
    value === undefined ? '–' : `\`${value}\``,
    doc,
  ]);
  return table(['flag', 'environment', 'default', 'meaning'], rows);
}

function metrics(): string {
  const none = (): number => 0;
  const { registry } = createMetrics(VERSION, { connections: none, streams: none, triggers: none, watches: () => [] });
  const rows = registry
    .getMetricsAsArray()
    .filter(({ name }) => name.startsWith('queue_scaler_'))
    .map((metric) => {
      // The registry hands out the metrics themselves, of which its types tell only a part.
      const { labelNames } = metric as unknown as { readonly labelNames: readonly string[] };
      const labels = labelNames.length === 0 ? '–' : labelNames.map((label) => `\`${label}\``).join(', ');
      return [`\`${metric.name}\``, String(metric.type), labels, metric.help];
    });
  return table(['metric', 'type', 'labels', 'meaning'], rows);
}

function events(): string {
  const rows = Object.entries(EVENT_REASONS).map(([reason, { type, meaning }]) => [`\`${reason}\``, type, meaning]);
  return table(['reason', 'type', 'meaning'], rows);
}

function make(name: string): string {
  const [kind, of] = name.split(':');
  if (kind === 'errors') return errors();
  if (kind === 'rules') return rules();
  if (kind === 'metrics') return metrics();
  if (kind === 'events') return events();
  if (kind === 'settings' && of !== undefined) return settings(of);
  const part = Object.hasOwn(SCALER_PARTS, kind ?? '') ? SCALER_PARTS[kind ?? ''] : undefined;
  if (part !== undefined && of !== undefined) return part(of);
  throw new Error(`no table is called ${name}`);
}

/** The page with its tables as the code has them now. */
export async function withTables(page: string): Promise<string> {
  const filled = page.replaceAll(MARK, (_, open: string, name: string, close: string) => `${open}\n${make(name)}\n\n${close}`);
  return format(filled, { ...(await resolveConfig(import.meta.filename)), parser: 'markdown' });
}

/** All pages, by path. */
export function pages(): string[] {
  return readdirSync(import.meta.dirname, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join(import.meta.dirname, name));
}

if (process.argv[1] === import.meta.filename) {
  for (const page of pages()) writeFileSync(page, await withTables(readFileSync(page, 'utf8')));
}
