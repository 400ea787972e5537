import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { FROM_ENV, KEDA_KEYS } from '../src/keda.ts';
import { SCALERS } from '../src/scalers/registry.ts';

const root = resolve(import.meta.dirname, '..');

function filesBelow(folder: string, ending: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(ending))
    .map((name) => join(folder, name))
    .filter((name) => statSync(join(root, name)).isFile());
}

const sources = filesBelow('src', '.ts').filter((name) => !name.startsWith('src/server/grpc/gen/'));
const read = (name: string): string => readFileSync(join(root, name), 'utf8');

/** Rooms of the house, upper ones first; a room may use itself, those below it, and the ground that all stand on. */
const ROOMS = ['src/cli', 'src/local', 'src/server', 'src/scalers', 'src/auth'];
const MAY_USE: Readonly<Record<string, readonly string[]>> = {
  'src/cli': ROOMS,
  'src/local': ['src/local', 'src/server', 'src/scalers', 'src/auth'],
  'src/server': ['src/server', 'src/scalers', 'src/auth'],
  'src/scalers': ['src/scalers', 'src/auth'],
  'src/auth': ['src/auth'],
};

const roomOf = (name: string): string | undefined => ROOMS.find((room) => name.startsWith(`${room}/`));

function importsOf(name: string): string[] {
  const found = read(name).matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g);
  return [...found].map(([, path]) => relative(root, resolve(root, dirname(name), path ?? '')));
}

describe('the layout of the sources', () => {
  test('imports go one way: main → cli, server, local → scalers → auth', () => {
    const wrong = sources.flatMap((name) => {
      const allowed = MAY_USE[roomOf(name) ?? ''];
      return importsOf(name)
        .filter((imported) => {
          const room = roomOf(imported);
          return imported === 'src/main.ts' || (room !== undefined && allowed !== undefined && !allowed.includes(room));
        })
        .map((imported) => `${name} imports ${imported}`);
    });
    expect(wrong).toEqual([]);
  });

  test('no file imports itself by way of others', () => {
    const circles: string[] = [];
    const done = new Set<string>();
    const walk = (name: string, path: readonly string[]): void => {
      if (path.includes(name)) circles.push([...path.slice(path.indexOf(name)), name].join(' > '));
      if (path.includes(name) || done.has(name)) return;
      for (const imported of importsOf(name)) walk(imported, [...path, name]);
      done.add(name);
    };
    for (const name of sources) walk(name, []);
    expect(circles).toEqual([]);
  });

  test('a reader of a broker’s folder follows six files at most', () => {
    const chains = new Map<string, readonly string[]>();
    const chainOf = (name: string, folder: string): readonly string[] => {
      const known = chains.get(name);
      if (known !== undefined) return known;
      const rest = importsOf(name)
        .filter((imported) => imported.startsWith(folder))
        .map((imported) => chainOf(imported, folder));
      const chain = [name, ...rest.reduce((longest, each) => (each.length > longest.length ? each : longest), [])];
      chains.set(name, chain);
      return chain;
    };
    const folder = 'src/scalers/rabbitmq/';
    const long = sources.filter((name) => name.startsWith(folder)).map((name) => chainOf(name, folder));
    expect(long.filter((chain) => chain.length > 6)).toEqual([]);
  });

  test('the architecture page names files and folders that there are', () => {
    const page = read('docs/architecture.md');
    const inText = [...page.matchAll(/`((?:src|test|docs|proto|manifests)\/[\w./-]*)`/g)].map(([, path]) => path ?? '');
    const [, plan = ''] = /```text\n([^`]*)```/.exec(page) ?? [];
    const inPlan = plan.split('\n').flatMap((line) => {
      const folder = /^\s+([a-z]+\/)/.exec(line)?.[1] ?? '';
      const below = folder === 'rabbitmq/' || folder === 'redis/' ? folder : '';
      return [...line.matchAll(/(?<=^|\s)(?:src\/)?[\w/]+(?:\.ts|\/)(?=\s|$)/g)].map(([path]) =>
        path.startsWith('src/') ? path : `src/scalers/${path === below ? '' : below}${path}`,
      );
    });
    expect(inPlan.length).toBeGreaterThan(20);
    const paths = [...inText, ...inPlan];
    expect(paths.filter((path) => !existsSync(join(root, path)))).toEqual([]);
  });

  test('gRPC handlers know no broker’s client, and scalers know no gRPC', () => {
    const clients = /from '(?:amqplib|ioredis|undici)/;
    expect(sources.filter((name) => name.startsWith('src/server/') && clients.test(read(name)))).toEqual([]);
    expect(sources.filter((name) => name.startsWith('src/scalers/') && read(name).includes("from '@grpc/"))).toEqual([]);
  });

  test('every module begins by saying what it is for', () => {
    expect(sources.filter((name) => !/^(?:#!.*\n)?\/\*\*\n \* \S/.test(read(name)))).toEqual([]);
  });

  test('a file of more than 300 lines gives its reason first', () => {
    const long = sources.filter((name) => read(name).split('\n').length > 300);
    expect(long.filter((name) => !/long because|lines because/i.test(read(name).slice(0, 1500)))).toEqual([]);
  });

  test('only main ends the process', () => {
    expect(sources.filter((name) => name !== 'src/main.ts' && read(name).includes('process.exit('))).toEqual([]);
  });

  test('each scaler of the registry has its documentation page', () => {
    const families = new Set(SCALERS.map(({ type }) => type.split('-')[0]));
    const pages = new Set(filesBelow('docs', '.md').map((name) => name.replace(/^docs\/scalers\/(.*)\.md$/, '$1')));
    expect([...families].filter((family) => family !== undefined && !pages.has(family))).toEqual([]);
  });
});

/** Parameters that KEDA's own TriggerAuthentication gives by its `oauth2`, whatever the scaler. */
const OAUTH2_PARAMETERS = ['oauthTokenURI', 'clientID', 'clientSecret', 'endpointParams'];

interface Family {
  readonly name: string;
  readonly folder: string;
  /** Its name, what it is called otherwise, and its client library. */
  readonly names: readonly RegExp[];
  /** As whole words: names of keys that no other family has and that are no plain words. */
  readonly keys: readonly string[];
  /** Readers and commands, as quoted texts. */
  readonly texts: readonly string[];
}

const familyOf = (type: string): string => type.split('-')[0] ?? '';
const families: readonly Family[] = await Promise.all(
  [...new Set(SCALERS.map(({ type }) => familyOf(type)))].map(async (name) => {
    const own = SCALERS.filter(({ type }) => familyOf(type) === name);
    const spellings = (scalers: typeof SCALERS): string[] =>
      scalers.flatMap(({ keys }) => Object.entries(keys).flatMap(([key, { aliases }]) => [key, ...aliases]));
    const others = new Set([
      ...spellings(SCALERS.filter(({ type }) => familyOf(type) !== name)),
      ...KEDA_KEYS,
      ...OAUTH2_PARAMETERS,
    ]);
    const advice = await Promise.all(own.flatMap(({ advice: load }) => (load === undefined ? [] : [load()])));
    const folder = `src/scalers/${name}/`;
    const inside = sources.filter((file) => file.startsWith(folder)).map(read);
    return {
      name,
      folder,
      names: [new RegExp(name, 'i'), ...advice.flatMap(({ alsoCalled }) => alsoCalled ?? [])],
      keys: [...new Set(spellings(own))].filter((key) => /^[a-z]+[A-Z]/.test(key) && !others.has(key)),
      texts: inside.flatMap((text) => [
        ...[...text.matchAll(/\breader: '([^']+)'/g)].map(([, reader]) => reader ?? ''),
        ...[...text.matchAll(/\[\s*'([A-Z]{4,})'/g)].map(([, command]) => command ?? ''),
      ]),
    };
  }),
);

/** What a text says of a family. The client libraries' own names are no word of it. */
function wordsOf({ names, keys, texts }: Family, text: string): string[] {
  const plain = text.replaceAll(/\b(?:amqplib|ioredis)\b/g, '');
  return [
    ...names.map((name) => name.exec(plain)?.[0] ?? ''),
    ...keys.filter((key) => new RegExp(`\\b${key}(?:${FROM_ENV})?\\b`).test(plain)),
    ...texts.filter((word) => plain.includes(`'${word}'`)),
  ].filter((word) => word !== '');
}

describe('a broker is known to its own folder and the registry alone', () => {
  test.each(families)('nobody else names $name, its keys, readers or commands', (family) => {
    const elsewhere = filesBelow('src', '')
      .filter((file) => !file.startsWith(family.folder) && !file.startsWith('src/server/grpc/gen/'))
      .filter((file) => file !== 'src/scalers/registry.ts');
    const found = elsewhere.flatMap((file) => wordsOf(family, read(file)).map((word) => `${file}: ${word}`));
    expect(found).toEqual([]);
  });

  test('and its advice is loaded by the commands that ask for it, never with the scaler', () => {
    const loads = /^import (?!type\b)[^;]*from '[./a-z]*\/advice\.ts';/m;
    expect(sources.filter((file) => !file.endsWith('/advice.ts') && loads.test(read(file)))).toEqual([]);
  });

  test.each(['amqplib', 'ioredis'])('%s is imported by one broker’s folder', (library) => {
    const users = sources.filter((file) => new RegExp(`from '${library}\\b`).test(read(file)));
    expect(users.filter((file) => !families.some(({ folder }) => file.startsWith(folder)))).toEqual([]);
    expect(new Set(users.map((file) => file.split('/')[2])).size).toBeLessThanOrEqual(1);
  });

  test.each([
    ['a name', 'the queues of RabbitMQ', 'Rabbit'],
    ['a name within a word', 'function checkRedis() {}', 'Redis'],
    ['a scheme', 'host: amqps://broker', 'amqp'],
    ['a key', "metadata['listName']", 'listName'],
    ['a key that names a variable', 'sentinelMasterFromEnv', 'sentinelMaster'],
    ['a reader', "reader === 'passive declare'", 'passive declare'],
    ['a command', "send('XINFO')", 'XINFO'],
  ])('which fails for %s', (_, text, word) => {
    expect(families.flatMap((family) => wordsOf(family, text))).toContain(word);
  });

  test('and takes no plain word, key of KEDA’s or library for a broker’s', () => {
    const text = "host port username password tls value mode stream unsafeSsl clientID listNames from 'ioredis' 'ACTIVE'";
    expect(families.flatMap((family) => wordsOf(family, text))).toEqual([]);
  });
});
