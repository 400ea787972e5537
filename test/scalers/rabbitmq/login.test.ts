import { describe, expect, it } from 'vitest';
import { Secret } from '../../../src/auth/secret.ts';
import { parseAddress } from '../../../src/scalers/rabbitmq/address.ts';
import { loginOf, type LoginValues } from '../../../src/scalers/rabbitmq/login.ts';

interface Given {
  readonly username?: string;
  readonly password?: string;
  readonly cert?: string;
}

/** The user and password that log in, or EXTERNAL where the certificate does. */
function login(url: string, { username, password, cert }: Given = {}): string {
  const host = parseAddress(url);
  if (typeof host === 'string') throw new Error(host);
  const values: LoginValues = { host, username, cert, password: password === undefined ? undefined : new Secret(password) };
  const found = loginOf(values);
  return found === undefined ? 'EXTERNAL' : `${found.user}:${found.password.reveal()}`;
}

describe('the login over AMQP', () => {
  it.each<[string, string, Given, string]>([
    ['a certificate and no password is SASL EXTERNAL', 'amqps://broker', { cert: 'c' }, 'EXTERNAL'],
    ['a certificate and a user in host without password is SASL EXTERNAL', 'amqps://user@broker', { cert: 'c' }, 'EXTERNAL'],
    ['a certificate and a password in host is that user', 'amqps://user:pass@broker', { cert: 'c' }, 'user:pass'],
    ['a certificate and credentials is that user', 'amqps://broker', { cert: 'c', username: 'u', password: 'p' }, 'u:p'],
    ['a certificate without TLS is never shown, so the default user', 'amqp://broker', { cert: 'c' }, 'guest:guest'],
    ['an authority alone is no login, so the default user', 'amqps://broker', {}, 'guest:guest'],
    ['a URL that says so is SASL EXTERNAL', 'amqps://user:pass@broker?auth_mechanism=EXTERNAL', { cert: 'c' }, 'EXTERNAL'],
    ['credentials go before those in host', 'amqp://user:pass@broker', { username: 'u', password: 'p' }, 'u:p'],
    ['a user in host without password', 'amqp://user@broker', {}, 'user:'],
  ])('with %s', (_, url, given, expected) => {
    expect(login(url, given)).toBe(expected);
  });
});
