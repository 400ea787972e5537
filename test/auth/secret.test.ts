import { inspect } from 'node:util';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fingerprint, scrub, Secret } from '../../src/auth/secret.ts';

test('a secret shows in no form of printing', () => {
  const secret = new Secret('hunter2');
  const shown = [
    String(secret),
    JSON.stringify({ secret }),
    inspect({ secret }, { depth: 5 }),
    Object.values(secret).join(),
    secret.toString(),
  ];
  for (const text of shown) expect(text).not.toContain('hunter2');
  expect(secret.reveal()).toBe('hunter2');
});

test('scrub takes the user part out of every URL, whatever the password holds', () => {
  expect(scrub('cannot reach amqp://bob:s3cr@t/x@host:5672/vhost today')).toBe('cannot reach amqp://***@host:5672/vhost today');
  expect(scrub('two: redis://a:b@h and https://c:d@e')).toBe('two: redis://***@h and https://***@e');
  expect(scrub('no secret in http://host/path')).toBe('no secret in http://host/path');
});

test('scrub removes known secrets, plain or percent-encoded', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 6, unit: 'grapheme' }), fc.string(), fc.string(), (value, before, after) => {
      fc.pre(!value.includes('*') && !before.includes(value) && !after.includes(value));
      const clean = scrub(`${before} ${value} ${encodeURIComponent(value)} ${after}`, [new Secret(value)]);
      expect(clean.includes(value)).toBe(false);
    }),
  );
});

test('scrub masks whole words, so that the mask itself tells nothing', () => {
  const said = (secret: string) => scrub('cannot authenticate user root: latest password', [new Secret(secret)]);
  for (const part of ['a', 'te', 'oo', 'test', '']) expect(said(part)).toBe('cannot authenticate user root: latest password');
  expect(said('root')).toBe('cannot authenticate user ***: latest password');
  expect(scrub('the login xhunter22x; hunter22', [new Secret('hunter22')])).toBe('the login ***; ***');
  expect(scrub('AUTH a.b+c failed', [new Secret('a.b+c')])).toBe('AUTH *** failed');
});

test('fingerprints are equal for equal settings only, and parts do not run into each other', () => {
  expect(fingerprint('a', new Secret('b'))).toBe(fingerprint('a', new Secret('b')));
  expect(fingerprint('ab', 'c')).not.toBe(fingerprint('a', 'bc'));
  expect(fingerprint(undefined)).not.toBe(fingerprint('undefined'));
  expect(fingerprint('hunter2')).not.toContain('hunter2');
  const settings = { at: [{ host: 'a', port: 1 }], login: new Secret('s'), nat: new Map([['a', { port: 1 }]]), tls: undefined };
  expect(fingerprint({ ...settings })).toBe(fingerprint(Object.fromEntries(Object.entries(settings).reverse())));
  for (const other of [
    { ...settings, at: [{ host: 'a', port: 2 }] },
    { ...settings, at: [] },
    { ...settings, login: new Secret('t') },
    { ...settings, nat: new Map([['a', { port: 2 }]]) },
    { ...settings, tls: false },
  ])
    expect(fingerprint(other)).not.toBe(fingerprint(settings));
  expect(() => fingerprint({ open: () => undefined })).toThrow('has no fingerprint');
});
