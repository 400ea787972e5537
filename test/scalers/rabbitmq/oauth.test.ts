import { createSign, generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { createBrokerPool } from '../../../src/scalers/brokerPool.ts';
import { noEvents } from '../../../src/scalers/brokerEvents.ts';
import type { Reading } from '../../../src/scalers/reading.ts';
import { rabbitmq } from '../../../src/scalers/rabbitmq/index.ts';
import { startRabbit, type RabbitNode } from '../../bed/rabbitmq.ts';
import { connectQueues } from './queues.ts';

const CLIENT = 'queue scaler:1';
const CLIENT_SECRET = 's3cret/of+the%client';
const DEPTH = 4;
const folder = mkdtempSync(join(tmpdir(), 'queue-scaler-oauth-'));
const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
let node: RabbitNode;
let issuer: Server;
/** The form of each token request, in order. */
let forms: URLSearchParams[];
/** How long a token lives, in s. */
let lifeS: number;
/** How long the broker takes a token, in s, whatever the issuer says. */
let takenS: number;
/** What the next token allows; false refuses the client. */
let grants: readonly string[] | false;

/** A broker that takes an issuer's tokens at its management API, and the issuer, which knows one client. */
beforeAll(async () => {
  const signingKey = join(folder, 'signing.pem');
  writeFileSync(signingKey, publicKey.export({ type: 'spki', format: 'pem' }));
  issuer = createServer((request, response) => {
    void takeForm(request).then((form) => {
      forms.push(form);
      const login = `${encodeURIComponent(CLIENT)}:${encodeURIComponent(CLIENT_SECRET)}`;
      const known = request.headers.authorization === `Basic ${Buffer.from(login).toString('base64')}`;
      if (!known || grants === false) response.writeHead(401).end('{"error":"invalid_client"}');
      else response.end(JSON.stringify({ access_token: token(grants), token_type: 'bearer', expires_in: lifeS }));
    });
  });
  await new Promise<void>((resolve) => issuer.listen(0, '127.0.0.1', resolve));
  node = await startRabbit({
    plugins: ['rabbitmq_auth_backend_oauth2'],
    config: {
      'auth_backends.1': 'internal',
      'auth_backends.2': 'rabbit_auth_backend_oauth2',
      'auth_oauth2.resource_server_id': 'rabbitmq',
      'auth_oauth2.default_key': 'issuer',
      'auth_oauth2.signing_keys.issuer': signingKey,
    },
  });
  const queues = await connectQueues(node.amqpUrl());
  await queues.declare('q');
  await queues.put('q', DEPTH);
  await queues.close();
});
afterAll(async () => {
  await node.close();
  await new Promise((resolve) => issuer.close(resolve));
  rmSync(folder, { recursive: true, force: true });
});
beforeEach(() => {
  forms = [];
  lifeS = takenS = 300;
  grants = ['rabbitmq.tag:monitoring', 'rabbitmq.read:*/*', 'rabbitmq.configure:*/*'];
});

async function takeForm(request: IncomingMessage): Promise<URLSearchParams> {
  let text = '';
  for await (const chunk of request) text += String(chunk);
  return new URLSearchParams(text);
}

function token(scope: readonly string[]): string {
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const now = Math.floor(Date.now() / 1000);
  const signed = `${part({ alg: 'RS256', typ: 'JWT', kid: 'issuer' })}.${part({ aud: 'rabbitmq', client_id: 'scaler', iat: now, exp: now + takenS, scope })}`;
  return `${signed}.${createSign('RSA-SHA256').update(signed).sign(privateKey, 'base64url')}`;
}

interface Reader {
  read(): Promise<Reading>;
  close(): Promise<void>;
}

function open(authentication: Readonly<Record<string, string>> = {}): Reader {
  const brokers = createBrokerPool(noEvents);
  const bound = rabbitmq.bind(
    { scaler: 'rabbitmq', queueName: 'q', host: `http://127.0.0.1:${node.managementPort}`, prometheus: 'off' },
    {
      oauthTokenURI: `http://127.0.0.1:${(issuer.address() as AddressInfo).port}/token`,
      clientID: CLIENT,
      clientSecret: CLIENT_SECRET,
      ...authentication,
    },
  );
  return {
    read: () => brokers.of(bound).read(bound.question, AbortSignal.timeout(5_000)),
    close: () => brokers.close(),
  };
}

async function once(authentication?: Readonly<Record<string, string>>): Promise<Reading> {
  const reader = open(authentication);
  try {
    return await reader.read();
  } finally {
    await reader.close();
  }
}

it('client credentials get a token, and the token gets the figures', async () => {
  expect(await once()).toMatchObject({ known: true, measures: { messages: DEPTH } });
  expect(forms.map((form) => Object.fromEntries(form))).toEqual([{ grant_type: 'client_credentials' }]);
});

it('scopes and more parameters are sent along', async () => {
  const more = { scopes: 'rabbitmq.read:*/*,rabbitmq.tag:monitoring', endpointParams: 'audience=a%26b&resource=r' };
  expect(await once(more)).toMatchObject({ known: true });
  expect(Object.fromEntries(forms[0] ?? [])).toEqual({
    grant_type: 'client_credentials',
    scope: 'rabbitmq.read:*/* rabbitmq.tag:monitoring',
    audience: 'a&b',
    resource: 'r',
  });
});

it('one token answers until shortly before it ends, then it is renewed', async () => {
  lifeS = 3;
  const reader = open();
  try {
    const startedAt = performance.now();
    await reader.read();
    expect(forms).toHaveLength(1);
    await expect.poll(async () => (await reader.read()).known && forms.length, { timeout: 10_000, interval: 100 }).toBe(2);
    expect(performance.now() - startedAt).toBeGreaterThan(1_400);
  } finally {
    await reader.close();
  }
});

it('a token that the broker takes no longer is given up for another, and no reading is lost', async () => {
  takenS = 6;
  const reader = open();
  const unknown: Reading[] = [];
  try {
    await expect
      .poll(
        async () => {
          const reading = await reader.read();
          if (!reading.known || reading.since !== undefined) unknown.push(reading);
          return forms.length;
        },
        { timeout: 15_000, interval: 200 },
      )
      .toBe(2);
    expect(unknown).toEqual([]);
  } finally {
    await reader.close();
  }
});

it('a token that the broker never takes is not asked for again and again', async () => {
  takenS = -60;
  const reader = open();
  try {
    for (let time = 0; time < 5; time++) expect(await reader.read()).toMatchObject({ known: false });
    expect(forms).toHaveLength(1);
  } finally {
    await reader.close();
  }
});

it('a client that is refused, and one whose token allows too little, are told apart, without secrets', async () => {
  const refused = await once({ clientSecret: 'wrong-s3cret' });
  expect(refused).toMatchObject({ known: false, error: { code: 'BROKER_REFUSED' } });
  expect(JSON.stringify(refused)).not.toContain('s3cret');
  grants = ['rabbitmq.read:*/*'];
  expect(await once()).toMatchObject({
    known: false,
    error: { code: expect.stringMatching(/^BROKER_(FORBIDDEN|REFUSED)$/) as string },
  });
});
