import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import packageJson from '../../package.json' with { type: 'json' };
import { startApiServer, type ApiServer } from '../auth/apiServer.ts';
import { authentication, fromSecret, scaledObject, secret } from '../auth/objects.ts';
import { BASE_RBAC, rulesIn } from '../auth/rbac.ts';
import { bundle, ENTRY_POINT, NODE_FLAGS } from '../bed/bundle.ts';
import { get } from '../bed/scaler.ts';
import { createKedaClient } from '../keda/client.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const lines = readFileSync(join(ROOT, 'Dockerfile'), 'utf8').split('\n');
const COPY = /^COPY (?:--from=(?<stage>\S+) )?(?<sources>.+) (?<target>\S+)$/;
const copies = lines.flatMap((line) => {
  const { stage, sources = '', target = '' } = COPY.exec(line)?.groups ?? {};
  return sources === '' ? [] : [{ stage, sources: sources.split(' '), target }];
});
/** The user of the image, `65532:65532`. */
const [uid = 0, gid = 0] = (lines.find((line) => line.startsWith('USER '))?.slice(5) ?? '').split(':').map(Number);
const isRoot = process.getuid?.() === 0;

describe('the Dockerfile', () => {
  it('builds from the locked dependencies by the script of package.json, from sources that exist', () => {
    const text = lines.join('\n');
    expect(text).toContain('npm ci');
    expect(text).toContain('npm run bundle');
    const sources = copies.filter(({ stage }) => stage === undefined).flatMap((copy) => copy.sources);
    expect(sources.length).toBeGreaterThan(3);
    expect(sources.filter((source) => !existsSync(join(ROOT, source)))).toEqual([]);
    expect(text.lastIndexOf('FROM gcr.io/distroless/')).toBeGreaterThan(text.indexOf('FROM node:'));
    expect(uid).toBeGreaterThan(0);
  });

  it('runs a Node that the program is for', () => {
    const versions = [...lines.join('\n').matchAll(/FROM (?:node:|\S+\/nodejs)(\d+)/g)].map(([, version]) => Number(version));
    expect(versions).toHaveLength(2);
    expect(new Set(versions).size).toBe(1);
    expect(versions[0]).toBeGreaterThanOrEqual(Number(/\d+/.exec(packageJson.engines.node)?.[0]));
  });

  it('tells Node what `npm start`, the command itself and the README tell it', () => {
    const flags = NODE_FLAGS.join(' ');
    expect(flags).toBe('--v8-pool-size=1');
    expect(packageJson.scripts.start).toBe(`node ${flags} dist/main.js serve`);
    expect(readFileSync(join(ROOT, packageJson.bin['queue-scaler'].replace(/^dist(.*)js$/, 'src$1ts')), 'utf8')).toMatch(
      new RegExp(`^#!/usr/bin/env -S node ${flags}\n`),
    );
    expect(readFileSync(join(ROOT, 'README.md'), 'utf8')).toContain(`node ${flags} dist/main.js serve`);
  });
});

describe('what the image holds, on a file system that cannot be written, without root', () => {
  let folder: string;
  let api: ApiServer;
  let child: ChildProcess;
  let grpc = '';
  let http = '';
  const log: string[] = [];

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'image-'));
    for (const { stage, sources, target } of copies) {
      if (stage === undefined) continue;
      for (const source of sources) {
        const inside = join(folder, target.endsWith('/') ? join(target, source.slice(source.lastIndexOf('/'))) : target);
        if (source === '/src/dist/bundle') await bundle(inside);
        else cpSync(join(ROOT, source.replace('/src/', '')), inside);
      }
    }
    api = await startApiServer(await rulesIn(BASE_RBAC));
    api.put(
      scaledObject('shop', 'orders', { scaler: 'redis', listName: 'orders', listLength: '5' }, { name: 'redis' }),
      authentication('shop', 'redis', fromSecret('login', 'address')),
      secret('shop', 'login', { address: '127.0.0.1:1' }),
    );
    const [command] = JSON.parse(lines.find((line) => line.startsWith('CMD '))?.slice(4) ?? '[]') as string[];
    // What it reads must be readable to that user.
    const readable = spawn('chmod', ['-R', 'a+rX,a-w', folder, dirname(api.kubeconfig)]);
    await once(readable, 'exit');
    // Node's permission model: reading alone is allowed, so any attempt to write, or to start another program, would fail.
    const onlyReading = ['--experimental-permission', '--allow-fs-read=*', '--disable-warning=ExperimentalWarning'];
    child = spawn(process.execPath, [...onlyReading, ...ENTRY_POINT, command ?? ''], {
      cwd: folder,
      env: {
        KUBECONFIG: api.kubeconfig,
        NODE_ENV: 'production',
        NODE_OPTIONS: '--enable-source-maps --max-old-space-size=384',
        QUEUE_SCALER_GRPC_ADDRESS: '127.0.0.1:0',
        QUEUE_SCALER_HTTP_ADDRESS: '127.0.0.1:0',
      },
      stdio: ['ignore', 'inherit', 'pipe'],
      ...(isRoot ? { uid, gid } : {}),
    });
    if (child.stderr === null) throw new Error('no stderr');
    for await (const line of createInterface({ input: child.stderr })) {
      log.push(line);
      if (!line.includes('"msg":"serving"')) continue;
      ({ grpc, http } = JSON.parse(line) as { readonly grpc: string; readonly http: string });
      break;
    }
    child.stderr.resume();
  });

  afterAll(async () => {
    const exited = child.exitCode === null ? once(child, 'exit') : undefined;
    child.kill('SIGKILL');
    await exited;
    await api.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it('serves, with the cluster’s objects, the status page and metrics', async () => {
    expect(log.join('\n')).toContain('"msg":"serving"');
    expect(log.join('\n')).toContain('"ScaledObject":1');
    expect((await get(http, '/readyz')).code).toBe(200);
    expect((await get(http, '/')).text).toContain('<html');
    expect((await get(http, '/page/app.js')).code).toBe(200);
    expect((await get(http, '/metrics')).text).toContain('queue_scaler_kubernetes_objects{kind="ScaledObject"} 1');
  });

  it('answers KEDA, and tries the broker that the Secret names', async () => {
    const client = createKedaClient(grpc);
    const reference = {
      namespace: 'shop',
      name: 'orders',
      scalerMetadata: { scaler: 'redis', listName: 'orders', listLength: '5' },
    };
    try {
      await client.call('GetMetricSpec', reference);
      await expect(client.call('IsActive', reference)).rejects.toThrow('127.0.0.1:1');
    } finally {
      client.close();
    }
  });

  it('ends in order when it is told to', async () => {
    const exited = once(child, 'exit');
    child.kill('SIGTERM');
    expect((await exited)[0]).toBe(0);
  });
});
