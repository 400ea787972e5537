import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
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
