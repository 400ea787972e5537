/**
 * The parts of a scaler's page that are made from its key table and its example: the specification, the parameters, the authentication
 * parameters, the example itself and, for the members of the Redis family, their share of the table of differences.
 */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseAllDocuments } from 'yaml';
import type { Key } from '../src/scalers/metadata.ts';
import { SCALERS } from '../src/scalers/registry.ts';
import { table } from './table.ts';

const EXAMPLES = resolve(import.meta.dirname, '../manifests/examples');
/** The example that stands for a scaler. */
const EXAMPLE_OF: Readonly<Record<string, string>> = { rabbitmq: 'rabbitmq-user-password', redis: 'redis-list' };

type Part = (type: string) => string;

export const SCALER_PARTS: Readonly<Record<string, Part>> = { specification, parameters, authentication, example, differences };

function keysOf(type: string): [string, Key][] {
  const scaler = SCALERS.find((candidate) => candidate.type === type);
  if (scaler === undefined) throw new Error(`no scaler is called ${type}`);
  return Object.entries(scaler.keys);
}

function exampleText(type: string): string {
  return readFileSync(resolve(EXAMPLES, `${EXAMPLE_OF[type] ?? type}.yaml`), 'utf8').trimEnd();
}

const fenced = (yaml: string): string => `\`\`\`yaml\n${yaml}\n\`\`\``;

/** The trigger of the example, and below it all that may stand there as well. */
function specification(type: string): string {
  interface Example {
    readonly kind: string;
    readonly spec: { readonly triggers: readonly { readonly metadata: Readonly<Record<string, string>> }[] };
  }
  const object = parseAllDocuments(exampleText(type))
    .map((document) => document.toJS() as Example)
    .find(({ kind }) => kind === 'ScaledObject');
  const given = object?.spec.triggers[0]?.metadata ?? {};
  const keys = keysOf(type).filter(([, { places, deprecated }]) => places.includes('metadata') && deprecated === undefined);
  const nameIn = (name: string, { aliases }: Key): string | undefined =>
    [name, ...aliases].find((each) => given[each] !== undefined);
  const lines = keys.flatMap(([name, key]) => {
    const spelling = nameIn(name, key);
    const note = key.required ? '' : key.default === undefined ? ' # optional' : ` # optional, default ${key.default}`;
    return spelling === undefined ? [] : [`      ${spelling}: '${given[spelling] ?? ''}'${note}`];
  });
  const others = keys
    .filter(([name, key]) => nameIn(name, key) === undefined)
    .map(([name, { default: value }]) => `      # ${name}:${value === undefined ? '' : ` '${value}'`}`);
  return fenced(
    [
      'triggers:',
      '  - type: external-push',
      '    metadata:',
      '      scalerAddress: keda-queue-scaler.keda:6000 # of this scaler, as KEDA reaches it',
      `      scaler: ${type}`,
      ...lines,
      ...(others.length === 0 ? [] : ['      # Further keys, with their defaults:', ...others]),
      '    authenticationRef:',
      `      name: ${type}`,
    ].join('\n'),
  );
}

const spellings = (name: string, { aliases }: Key): string => [name, ...aliases].map((each) => `\`${each}\``).join(', ');
const meaning = ({ doc, deprecated }: Key): string => (deprecated === undefined ? doc : `${doc} **Deprecated:** ${deprecated}`);

/** What may stand in the trigger's metadata, there also by way of a variable. */
function parameters(type: string): string {
  const rows = keysOf(type)
    .filter(([, { places }]) => places.some((place) => place !== 'authentication'))
    .map(([name, key]) => {
      const elsewhere = [
        ...(key.places.includes('environment') ? [`\`${name}FromEnv\``] : []),
        ...(key.places.includes('authentication') ? ['authentication'] : []),
        ...(key.places.includes('metadata') ? [] : ['not in metadata']),
      ];
      const otherwise = key.required ? 'required' : key.default === undefined ? '–' : `\`${key.default}\``;
      return [spellings(name, key), otherwise, elsewhere.join(', ') || '–', meaning(key)];
    });
  return table(['parameter', 'default', 'also as', 'meaning'], rows);
}

/** What a TriggerAuthentication may give. */
function authentication(type: string): string {
  const rows = keysOf(type)
    .filter(([, { places }]) => places.includes('authentication'))
    .map(([name, key]) => [spellings(name, key), key.secret ? 'yes' : 'no', meaning(key)]);
  return table(['parameter', 'secret', 'meaning'], rows);
}

function example(type: string): string {
  return fenced(exampleText(type));
}

/** The rows of the family's table that concern the type, by its first column. */
function differences(type: string): string {
  const page = readFileSync(resolve(import.meta.dirname, 'scalers/redis.md'), 'utf8');
  const section = page.split(/^## /m).find((part) => part.startsWith('Differences'));
  if (section === undefined) throw new Error('the page of redis has no section of differences');
  const [head = [], , ...rows] = section
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) =>
      line
        .split(/(?<!\\)\|/)
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
  const concerned = ['all', type.endsWith('streams') ? 'streams' : 'lists', ...(type.includes('sentinel') ? ['Sentinel'] : [])];
  const own = rows.filter(([of = '']) => concerned.includes(of));
  if (own.length === 0) throw new Error(`no difference concerns ${type}`);
  return table(
    head.slice(1),
    own.map((row) => row.slice(1)),
  );
}
