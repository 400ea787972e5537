/**
 * The documentation as a reader meets it: every command that a page shows is typed into a shell, page by page, and what the page says
 * will be seen is seen. A command that can neither be run nor is on the list of those vouched for otherwise fails the test.
 */
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { checkCommand } from '../../src/cli/check.ts';
import { convertCommand } from '../../src/cli/convert.ts';
import { localCommand } from '../../src/cli/local.ts';
import { readCommand } from '../../src/cli/read.ts';
import { serveCommand } from '../../src/cli/serve.ts';
import { startApiServer, type ApiServer, type KubernetesObject } from '../auth/apiServer.ts';
import { BASE_RBAC, rulesIn } from '../auth/rbac.ts';
import { freePorts } from '../bed/ports.ts';
import { startRedis, type RedisServer } from '../bed/redis.ts';
import { commandsOf, pagePaths, readPage, ROOT, type Command } from './blocks.ts';
import { ELSEWHERE } from './elsewhere.ts';
import { FIXTURES, IN_CLUSTER } from './fixtures.ts';
import { openSession, type Running } from './session.ts';

/** What runs until Ctrl-C, and what shows that it does. */
const LONG: readonly { readonly command: RegExp; readonly shows: RegExp }[] = [
  { command: /\blocal\b.*\.yaml/, shows: /^[\d:.]+ serving on/m },
  { command: /\bserve\b/, shows: /"msg":"serving"/ },
  { command: /\bread\b.*--watch/, shows: /because/ },
];
const PAGE_MS = 60_000;

const commands = pagePaths().flatMap((page) => commandsOf(page));
const vouched = ({ text }: Command) => ELSEWHERE.find(({ command }) => command.test(text));
const pagesToRun = pagePaths()
  .map((page) => [page, commands.filter((command) => command.page === page && vouched(command) === undefined)] as const)
  .filter(([, typed]) => typed.length > 0);

/** Holds the project as a clone does, and the programs that stand in for what a reader has. */
const place = mkdtempSync(join(tmpdir(), 'docs-place-'));
const project = join(place, 'project');
let redis: RedisServer;
let api: ApiServer;
let ports: ReadonlyMap<string, number>;

/** The documents name usual ports; here each run has its own. */
const local = (text: string): string =>
  text.replaceAll(/(?<=(?:127\.0\.0\.1|localhost|0\.0\.0\.0):)\d+/g, (port) => String(ports.get(port) ?? port));

function write(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, local(text));
}

beforeAll(async () => {
  redis = await startRedis();
  const [grpc = 0, http = 0] = await freePorts(2);
  ports = new Map([
    ['6379', redis.port],
    ['6000', grpc],
    ['8080', http],
  ]);
  api = await startApiServer(await rulesIn(BASE_RBAC));
  api.put(
    ...Object.values(IN_CLUSTER)
      .map((text) => parse(text) as KubernetesObject)
      .map(withData),
  );
  for (const name of ['src', 'proto', 'examples', 'manifests', 'package.json', 'tsconfig.json', 'tsconfig.build.json'])
    cpSync(resolve(ROOT, name), join(project, name), { recursive: true });
  symlinkSync(resolve(ROOT, 'node_modules'), join(project, 'node_modules'));
  const example = join(project, 'examples/local/redis.yaml');
  writeFileSync(example, local(readFileSync(example, 'utf8')));
  write(join(place, 'home/.kube/config'), '');
  cpSync(api.kubeconfig, join(place, 'home/.kube/config'));
  const program = (name: string, script: string): void => {
    mkdirSync(join(place, 'bin'), { recursive: true });
    writeFileSync(join(place, 'bin', name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  };
  const redisCli = execFileSync('sh', ['-c', 'command -v redis-cli'], { encoding: 'utf8' }).trim();
  program('queue-scaler', `exec node ${project}/dist/main.js "$@"`);
  program('redis-cli', `case "$1" in -u|-p) exec ${redisCli} "$@";; *) exec ${redisCli} -p ${redis.port} "$@";; esac`);
  program('kustomize', 'cat manifests/*.yaml');
  // `npm run build` is a step of CI; for the same program at the same place the bundle is made in a tenth of the time.
  execFileSync('npm', ['run', 'bundle'], { cwd: project, stdio: 'pipe' });
  writeFileSync(join(project, 'dist/main.js'), "import './bundle/main.mjs';\n");
}, 120_000);
afterAll(async () => {
  await Promise.all([redis.close(), api.close()]);
  rmSync(place, { recursive: true, force: true });
});

/** As the API server gives a Secret. */
function withData({ stringData, ...object }: KubernetesObject): KubernetesObject {
  if (stringData === undefined) return object;
  const data = Object.entries(stringData as Record<string, string>).map(([name, value]) => [
    name,
    Buffer.from(local(value)).toString('base64'),
  ]);
  return { ...object, data: Object.fromEntries(data) as Record<string, string> };
}

describe('the commands of the documentation', () => {
  test.each(pagesToRun)('%s does what it says', { timeout: PAGE_MS }, async (page, typed) => {
    const { inProject = false, files = {}, orders = 0 } = FIXTURES[page] ?? {};
    await redis.call('FLUSHALL');
    if (orders > 0) await redis.call('RPUSH', 'orders', ...Array.from({ length: orders }, (_, index) => index));
    const session = await openSession({
      PATH: `${join(place, 'bin')}${delimiter}${process.env['PATH'] ?? ''}`,
      HOME: join(place, 'home'),
      NO_COLOR: '1',
      KUBECONFIG: '',
    });
    const running: Running[] = [];
    try {
      const folder = inProject ? project : session.folder;
      for (const [name, text] of Object.entries(files)) write(join(folder, name), text);
      expect(await session.run(`cd '${folder}'`)).toMatchObject({ code: 0 });
      for (const { text, shown, line } of typed) {
        const where = `${page}:${line}: ${text}`;
        const long = LONG.find(({ command }) => command.test(text));
        if (long !== undefined) {
          // One at a time has the ports of the page.
          for (const other of running.splice(0)) expect(await other.stop()).toBe(0);
          running.push(await session.start(local(text), long.shows));
          continue;
        }
        const { code, output } = await session.run(local(text));
        expect(code, `${where}\n${output}`).toBe(0);
        expectShown(shown, output, where);
      }
      for (const each of running.splice(0)) expect(await each.stop(), await each.output()).toBe(0);
    } finally {
      await session.close();
    }
  });

  test('that are not run are vouched for otherwise', () => {
    const others = commands.filter((command) => vouched(command) !== undefined);
    expect(others.filter((command) => vouched(command)?.vouched() !== true)).toEqual([]);
    const idle = ELSEWHERE.filter(({ command }) => !commands.some(({ text }) => command.test(text)));
    expect(idle.map(({ reason }) => reason)).toEqual([]);
  });

  test('and the words about them name only commands and flags that there are', () => {
    const known = new Map(
      [serveCommand(), localCommand(), checkCommand(), readCommand(), convertCommand()].map((command) => [
        command.name(),
        new Set([...command.options.map(({ long }) => long), '--help']),
      ]),
    );
    const named = pagePaths().flatMap((page) =>
      [...readPage(page).matchAll(/queue-scaler ([a-z]+)((?: [^`|\n]*)?)/g)]
        .filter(([, name = '']) => known.has(name))
        .flatMap(([, name = '', rest = '']) => (rest.match(/(?<= )--[\w-]+/g) ?? []).map((flag) => ({ page, name, flag }))),
    );
    expect(named.length).toBeGreaterThan(5);
    expect(named.filter(({ name, flag }) => known.get(name)?.has(flag) !== true)).toEqual([]);
    // A flag that stands alone in its quotes is one of some command.
    const all = new Set([...known.values()].flatMap((flags) => [...flags]));
    const alone = pagePaths()
      .filter((page) => /docs\/(?:check|read|local|page|migrating|server)\.md$/.test(page))
      .flatMap((page) => [...readPage(page).matchAll(/`(--[\w-]+)/g)].map(([, flag = '']) => flag));
    expect(alone.filter((flag) => !all.has(flag))).toEqual([]);
  });

  test('name only scripts that there are', () => {
    const { scripts } = JSON.parse(readFileSync(resolve(ROOT, 'package.json'), 'utf8')) as { scripts: Record<string, string> };
    const named = pagePaths().flatMap((page) => [...readPage(page).matchAll(/npm run ([\w:-]+)/g)].map(([, name = '']) => name));
    expect(named.length).toBeGreaterThan(5);
    expect(named.filter((name) => scripts[name] === undefined)).toEqual([]);
  });

  test('and their pages lead only to files and sections that there are', () => {
    const broken = pagePaths().flatMap((page) =>
      [...readPage(page).matchAll(/\]\(([^)\s]+)\)/g)]
        .map(([, link = '']) => link)
        .filter((link) => !/^[a-z]+:/.test(link) && !leads(page, link))
        .map((link) => `${page}: ${link}`),
    );
    expect(broken).toEqual([]);
  });
});

/** Each shown line appears, in order. */
function expectShown(shown: readonly string[], output: string, where: string): void {
  let rest = output.split('\n');
  for (const line of shown) {
    const pattern = new RegExp(
      `^${line
        .split('…')
        .map((part) => escaped(local(part)))
        .join('.*')}$`,
    );
    const at = rest.findIndex((each) => pattern.test(each.trimEnd()));
    expect(at, `${where}\ndoes not show: ${line}\nin:\n${output}`).toBeGreaterThanOrEqual(0);
    rest = rest.slice(at + 1);
  }
}

function escaped(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`);
}

function leads(page: string, link: string): boolean {
  const [path = '', section] = link.split('#');
  const file = path === '' ? resolve(ROOT, page) : resolve(ROOT, dirname(page), path);
  if (!existsSync(file)) return false;
  if (section === undefined || !file.endsWith('.md')) return true;
  const anchors = [...readFileSync(file, 'utf8').matchAll(/^#+ (.*)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replaceAll(/\s/g, '-'),
  );
  return anchors.includes(section);
}

test('a fence of a shell is never overlooked, and neither are its parts', () => {
  const page =
    "1. x\n\n   ```sh\n   a b # c\n   cat > f <<'E'\n   x\n   E\n   d \\\n     e\n   ```\n\n   ```text\n   shown\n   ```\n";
  expect(commandsOf('p', page)).toEqual([
    { page: 'p', line: 4, text: 'a b', shown: [] },
    { page: 'p', line: 5, text: "cat > f <<'E'\nx\nE", shown: [] },
    { page: 'p', line: 8, text: 'd \\\n  e', shown: ['shown'] },
  ]);
  expect(readdirSync(resolve(ROOT, 'docs')).length).toBeGreaterThan(5);
});
