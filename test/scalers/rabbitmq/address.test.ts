import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  endpointLabel,
  ignoredParameters,
  parseAddress,
  parseEndpoint,
  type Address,
} from '../../../src/scalers/rabbitmq/address.ts';

function parse(url: string): Address {
  const address = parseAddress(url);
  if (typeof address === 'string') throw new Error(address);
  return address;
}

describe('the vhost of an http host', () => {
  // KEDA's table; `over` stands for vhostName, which takes the place of the last segment.
  it.each([
    ['', '/', ''],
    ['/', '/', ''],
    ['//', '/', ''],
    ['/%2F', '/', ''],
    ['/myVhost', 'myVhost', ''],
    ['/%2FmyVhost', '/myVhost', ''],
    ['/sub1/myVhost', 'myVhost', '/sub1'],
    ['/sub1/%2FmyVhost', '/myVhost', '/sub1'],
    ['/sub1/', '/', '/sub1'],
    ['/sub1//', '/', '/sub1'],
    ['/sub1/%2F', '/', '/sub1'],
    ['/sub1/sub2/myVhost', 'myVhost', '/sub1/sub2'],
    ['/sub1/sub2/%2FmyVhost', '/myVhost', '/sub1/sub2'],
    ['/sub1/sub2/', '/', '/sub1/sub2'],
    ['/sub1/sub2//', '/', '/sub1/sub2'],
    ['/sub1/sub2/%2F', '/', '/sub1/sub2'],
    ['/a%20b', 'a b', ''],
    ['/a+b', 'a+b', ''],
  ])('in path %j is %j below %j', (path, vhost, subPath) => {
    for (const host of ['http://host', 'https://host:15671', 'http://user:pass@host']) {
      const address = parse(host + path);
      expect(address.vhost).toBe(vhost);
      expect(address.endpoint.path).toBe(subPath);
    }
  });
});

describe('the vhost of an amqp host', () => {
  it.each([
    ['amqp://h', '/'],
    ['amqp://h/', '/'],
    ['amqp://h//', '/'],
    ['amqp://h/%2F', '/'],
    ['amqp://h/%2f', '/'],
    ['amqp://h/shop', 'shop'],
    ['amqp://h/%2Fshop', '/shop'],
    ['amqp://h/a/b', 'a/b'],
    ['amqp://h/vh@st', 'vh@st'],
  ])('%s is %j', (url, vhost) => {
    expect(parse(url)).toMatchObject({ vhost, endpoint: { host: 'h', port: 5672, path: '' } });
  });
});

describe('a query', () => {
  it.each([
    ['amqp://h?heartbeat=30', '/', { heartbeat: '30' }],
    ['amqp://u:p@h:1/shop?heartbeat=30&connection_timeout=500', 'shop', { heartbeat: '30', connection_timeout: '500' }],
    ['amqps://h/%2F?cacertfile=/etc/ca.pem&verify=verify_peer', '/', { cacertfile: '/etc/ca.pem', verify: 'verify_peer' }],
    ['amqp://u:p?a=b@h/shop', 'shop', {}],
  ])('of %s is taken apart from the vhost', (url, vhost, parameters) => {
    expect(parse(url)).toMatchObject({ endpoint: { host: 'h' }, vhost, parameters });
  });

  it('that has no effect is named without its value', () => {
    expect(ignoredParameters(parse('amqps://h?auth_mechanism=external&verify=verify_none'))).toBeUndefined();
    expect(ignoredParameters(parse('amqp://h?heartbeat=30&password=s3cret&certfile=c'))).toBe(
      'host: heartbeat, password, certfile have no effect here; certificates are given as ca, cert and key',
    );
  });

  it.each(['http://h/v?x=y', 'amqp://h/shop?', 'amqp://h/a?b'])('of %s is refused', (url) => {
    expect(parseAddress(url)).toContain('encode ?');
  });
});

it.each(['amqp://a/;amqp://b/', 'amqp://u:p@a:1//;amqp://u:p@b:2//', 'amqp://a,amqp://b'])(
  'a list of URLs, %s, is refused, and the key for it named',
  (url) => {
    expect(parseAddress(url)).toContain('hosts');
  },
);

describe('a login in the URL', () => {
  it.each([
    ['amqp://u:p@h', 'u', 'p'],
    ['amqp://u:p@ss@h', 'u', 'p@ss'],
    ['amqp://u:p:w@h', 'u', 'p:w'],
    ['amqp://u:p/w@h/v', 'u', 'p/w'],
    ['amqp://u:p#w?x@h/v', 'u', 'p#w?x'],
    ['amqp://u:p%40ss@h', 'u', 'p@ss'],
    ['amqp://u:100%@h', 'u', '100%'],
    ['amqp://u:a+b@h', 'u', 'a+b'],
    ['amqp://u%2Fx:p@h', 'u/x', 'p'],
    ['amqp://u:@h', 'u', ''],
  ])('%s', (url, user, password) => {
    const address = parse(url);
    expect(address.user).toBe(user);
    expect(address.password?.reveal()).toBe(password);
    expect(address.endpoint.host).toBe('h');
  });

  it('comes out as it went in, whatever its characters, when percent-encoded', () => {
    const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(text, text, (user, password) => {
        const address = parse(`amqp://${encodeURIComponent(user)}:${encodeURIComponent(password)}@h:1/v`);
        expect(address.user).toBe(user);
        expect(address.password?.reveal()).toBe(password);
        expect(address).toMatchObject({ vhost: 'v', endpoint: { host: 'h', port: 1 } });
      }),
    );
  });

  it('is in no label', () => {
    expect(endpointLabel(parse('amqps://u:secret@[::1]:5671/v').endpoint)).toBe('amqps://[::1]:5671');
  });
});

describe('an address that is none', () => {
  it.each(['', 'host', 'amqp:/h', '://h', 'amqp://', 'redis://h', 'amqp://h:0', 'amqp://h:65536', 'amqp://h:x', 'amqp://a b'])(
    '%j says what is wrong',
    (url) => {
      expect(parseAddress(url)).toMatch(/^must /);
    },
  );

  it('never crashes and never repeats what it was given', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 60 }), (text) => {
        const url = `amqp://user:S3CRET@${text}`;
        const parsed = parseAddress(url);
        if (typeof parsed === 'string') expect(parsed).not.toContain('S3CRET');
        else expect(JSON.stringify(parsed)).not.toContain('S3CRET@');
      }),
    );
  });
});

describe('more hosts', () => {
  const like = parse('amqps://u:p@one:5699/v').endpoint;
  it.each([
    ['two', { scheme: 'amqps', host: 'two', port: 5699 }],
    ['two:1', { scheme: 'amqps', host: 'two', port: 1 }],
    ['amqps://two:2', { scheme: 'amqps', host: 'two', port: 2 }],
    ['[::1]', { scheme: 'amqps', host: '::1', port: 5699 }],
  ])('%s', (text, endpoint) => {
    expect(parseEndpoint(text, like)).toMatchObject(endpoint);
  });

  it.each(['u:p@two', 'http://two', ''])('not %j', (text) => {
    expect(parseEndpoint(text, like)).toEqual(expect.any(String));
  });
});
