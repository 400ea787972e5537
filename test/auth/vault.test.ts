import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { AuthenticationSpec } from '../../src/auth/objects.ts';
import { createVault, type VaultContext } from '../../src/auth/vault.ts';

type VaultSpec = NonNullable<AuthenticationSpec['hashiCorpVault']>;

/** What the double was asked: method, path, and the token or identity that came with it. */
let asked: string[] = [];
/** Tokens that the double takes now. */
let valid = new Set<string>();
let password = 'from-vault';
let logins = 0;

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const body =
      chunks.length === 0 ? undefined : (JSON.parse(Buffer.concat(chunks).toString()) as { role: string; jwt: string });
    const token = request.headers['x-vault-token'] as string | undefined;
    asked.push(`${request.method ?? ''} ${request.url ?? ''} ${body === undefined ? (token ?? '') : `${body.role}:${body.jwt}`}`);
    const reply = (status: number, answer: object): void => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
    };
    if (body !== undefined) {
      const issued = `login-${++logins}`;
      valid.add(issued);
      reply(200, { auth: { client_token: issued, lease_duration: 3600 } });
    } else if (token === undefined || !valid.has(token)) reply(403, { errors: [`permission denied for ${token ?? ''}`] });
    else if (request.url === '/v1/kv1/rabbit') reply(200, { data: { password, port: 5672 } });
    else if (request.url === '/v1/kv2/data/rabbit') reply(200, { data: { data: { password }, metadata: { version: 3 } } });
    else if (request.url === '/v1/kv2/data/gone') reply(200, { data: { data: null, metadata: { deletion_time: 'x' } } });
    else reply(404, { errors: [] });
  });
});

let address = '';
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.close();
  server.closeAllConnections();
});
beforeEach(() => {
  asked = [];
  valid = new Set(['root']);
  password = 'from-vault';
  logins = 0;
});

const context = (more: Partial<VaultContext> = {}): VaultContext => ({
  label: 'TriggerAuthentication shop/auth',
  trusted: false,
  serviceAccountToken: (name) => Promise.resolve(`jwt-of-${name}`),
  signal: AbortSignal.timeout(2_000),
  maxAgeMs: undefined,
  ...more,
});
const spec = (path: string, more: Partial<VaultSpec> = {}, type: '' | 'secret' | 'secretV2' | 'pki' = ''): VaultSpec => ({
  address,
  authentication: 'token',
  credential: { token: 'root' },
  secrets: [{ parameter: 'password', path, key: 'password', type }],
  ...more,
});
const kubernetes = (credential?: VaultSpec['credential']): Partial<VaultSpec> => ({
  authentication: 'kubernetes',
  role: 'scaler',
  credential,
});
const read = async (given: VaultSpec, more: Partial<VaultContext> = {}, vault = createVault([])) =>
  Object.fromEntries(await vault.read(given, context(more)));

describe('HashiCorp Vault', () => {
  it.each([
    ['version 1', 'kv1/rabbit', ''],
    ['version 1, said so', 'kv1/rabbit', 'secret'],
    ['version 2, by its full path', 'kv2/data/rabbit', ''],
    ['version 2, said so', 'kv2/rabbit', 'secretV2'],
    ['version 2, said so, by its full path', 'kv2/data/rabbit', 'secretV2'],
  ] as const)('is read by token from a key-value store of %s', async (_, path, type) => {
    expect(await read(spec(path, {}, type))).toEqual({ password: 'from-vault' });
  });

  it('is read by a Kubernetes login with the named service account’s token, once for many reads', async () => {
    const vault = createVault([]);
    const given = spec('kv1/rabbit', kubernetes({ serviceAccountName: 'reader' }));
    for (let round = 0; round < 3; round++) expect(await read(given, {}, vault)).toEqual({ password: 'from-vault' });
    expect(asked).toEqual(['POST /v1/auth/kubernetes/login scaler:jwt-of-reader', 'GET /v1/kv1/rabbit login-1']);
  });

  it('logs in again when its login has ended early', async () => {
    const vault = createVault([]);
    const given = spec('kv1/rabbit', kubernetes({ serviceAccountName: 'reader' }));
    await read(given, {}, vault);
    valid.delete('login-1');
    password = 'rotated';
    await new Promise((resolve) => setTimeout(resolve, 1_050));
    expect(await read(given, { maxAgeMs: 0 }, vault)).toEqual({ password: 'rotated' });
    expect(logins).toBe(2);
  });

  it('never gets this process’s own token unless the operator has named the server', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'vault-'));
    const file = join(folder, 'token');
    await writeFile(file, 'own-token\n');
    const given = spec('kv1/rabbit', kubernetes({ serviceAccount: file }));
    try {
      for (const trusted of [false, true]) {
        await expect(read(given, { trusted })).rejects.toMatchObject({ code: 'NOT_ALLOWED' });
        await expect(read(spec('kv1/rabbit', kubernetes()), { trusted })).rejects.toMatchObject({ code: 'NOT_ALLOWED' });
        await expect(read(given, { trusted }, createVault(['http://127.0.0.1:1']))).rejects.toMatchObject({
          code: 'NOT_ALLOWED',
        });
      }
      expect(asked).toEqual([]);
      await expect(read(given, {}, createVault([address]))).rejects.toThrow(
        'only a ClusterTriggerAuthentication may name a file',
      );
      expect(await read(given, { trusted: true }, createVault([`${address}/`]))).toEqual({ password: 'from-vault' });
      expect(asked[0]).toBe('POST /v1/auth/kubernetes/login scaler:own-token');
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it.each([
    ['a wrong token', spec('kv1/rabbit', { credential: { token: 'hunter2' } }), 'answered 403 for kv1/rabbit'],
    ['a path without a secret', spec('kv1/none'), 'answered 404 for kv1/none'],
    ['a deleted version', spec('kv2/gone', {}, 'secretV2'), 'the Vault secret at kv2/data/gone is deleted'],
    ['a missing token', spec('kv1/rabbit', { credential: {} }), 'credential.token is missing'],
    ['a missing role', spec('kv1/rabbit', { authentication: 'kubernetes' }), 'role is missing'],
    ['a certificate to issue', spec('pki/issue/x', {}, 'pki'), 'type pki are not issued'],
    [
      'a number for text',
      { ...spec('kv1/rabbit'), secrets: [{ parameter: 'p', path: 'kv1/rabbit', key: 'port' }] },
      'has no text under key port',
    ],
  ])('says what is wrong with %s, and shows no secret', async (_, given, message) => {
    const filled = { ...given, address };
    await expect(read(filled)).rejects.toMatchObject({
      code: 'AUTHENTICATION_UNRESOLVED',
      message: expect.stringContaining(message) as string,
    });
    await expect(read(filled)).rejects.not.toThrow(/hunter2|root|from-vault/);
  });

  it('that cannot be reached is an error that names it', async () => {
    await expect(read(spec('kv1/rabbit', { address: 'http://127.0.0.1:1' }))).rejects.toThrow(
      'TriggerAuthentication shop/auth: Vault http://127.0.0.1:1 gave no usable answer for kv1/rabbit',
    );
  });
});
