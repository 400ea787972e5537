import { readdirSync, readFileSync, statSync } from 'node:fs';
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
