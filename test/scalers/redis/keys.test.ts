import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { parseNames } from '../../../src/scalers/redis/names.ts';
import { parseClusterNodes, slotOf, slotOwners } from '../../../src/scalers/redis/topology/slots.ts';
import { scalerOf } from '../../../src/scalers/registry.ts';
import { bind, faults, minimal } from './bound.ts';

const TYPES = ['redis', 'redis-sentinel', 'redis-cluster', 'redis-streams', 'redis-sentinel-streams', 'redis-cluster-streams'];

describe.each(TYPES)('%s', (type) => {
  it('finds its address under every name and at every place, the first one first', () => {
    const labels = [
      bind({ ...minimal(type), address: 'a:1', addresses: 'b:2' }),
      bind({ ...minimal(type), addresses: 'b:2', addressFromEnv: 'c:3' }, { address: 'd:4' }),
      bind({ ...minimal(type), addressFromEnv: 'c:3' }, { addresses: 'd:4' }),
      bind({ ...minimal(type), addressFromEnv: 'c:3' }),
      bind({ ...minimal(type), host: 'e', portFromEnv: '5' }, { port: '6' }),
      bind(minimal(type), { hosts: 'f', ports: '6' }),
    ].map(({ broker }) => broker.label);
    expect(labels.map((label) => /\b[a-f]:\d/.exec(label)?.[0])).toEqual(['a:1', 'b:2', 'd:4', 'c:3', 'e:5', 'f:6']);
  });

  it('tells the faults of its address', () => {
    expect(faults(minimal(type))).toEqual(['address']);
    expect(faults({ ...minimal(type), host: 'a' })).toEqual(['host']);
    expect(faults({ ...minimal(type), hosts: 'a,b', ports: '1' })).toEqual(['host']);
    expect(faults({ ...minimal(type), address: 'nowhere' })).toEqual(['address']);
    expect(faults({ ...minimal(type), address: 'a:99999' })).toEqual(['address']);
    expect(faults({ ...minimal(type), address: 'http://a:1' })).toEqual(['address']);
    expect(faults({ ...minimal(type), address: 'rediss://a:1', tls: 'disable' })).toEqual(['tls']);
  });

  it('leaves unsafeSsl to KEDA’s own connection to this scaler, and enableTLS where tls says what Redis speaks', () => {
    const plain = { ...minimal(type), address: 'a:1' };
    const own = { enableTLS: 'true', unsafeSsl: 'true' };
    expect(bind({ ...plain, ...own, tls: 'disable' }).broker).toEqual(bind(plain).broker);
    expect(bind({ ...plain, ...own }, { tls: 'enable' }).broker).toEqual(bind(plain, { tls: 'enable' }).broker);
    expect(faults({ ...plain, address: 'rediss://a:1', ...own })).toEqual([]);
    expect(faults({ ...plain, ...own, enableTLS: 'false' })).toEqual([]);
    // Without it Redis would be read in plain text where the owner thinks of TLS.
    expect(faults({ ...plain, ...own })).toEqual(['tls']);
    expect(() => bind({ ...plain, ...own })).toThrow(/tls: enable.*tls: disable/);
  });

  it('takes the parameters of applications’ URLs for what they mean here, and passes over the others', () => {
    const at = (address: string) => bind({ ...minimal(type), address });
    const secure = bind({ ...minimal(type), address: 'rediss://a:1', insecureSkipVerify: 'true' });
    for (const parameter of ['ssl_cert_reqs=none', 'ssl_cert_reqs=CERT_NONE', 'skip_verify=true'])
      expect(at(`rediss://a:1?${parameter}`).broker).toEqual(secure.broker);
    expect(at('rediss://a:1?ssl_cert_reqs=required').broker).toEqual(at('rediss://a:1').broker);
    expect(at('redis://a:1/2?db=3').broker).toEqual(at('redis://a:1/3').broker);
    expect(at('redis://a:1?socket_timeout=5&constructor=3').broker).toEqual(at('redis://a:1').broker);
    expect(at('redis://a:1?socket_timeout=5&protocol=3').question).toMatchObject({
      notes: ['parameters of the address that mean nothing here are ignored: socket_timeout, protocol'],
    });
    for (const wrong of ['redis://a:1/x', 'redis://a:1?db=x', 'redis://a:1#2'])
      expect(faults({ ...minimal(type), address: wrong }), wrong).toEqual(['address']);
  });

  it('shares a client with equal settings only, and shows no password', () => {
    const one = bind({ ...minimal(type), address: 'redis://user:s3cret@a:1' });
    const same = bind({ ...minimal(type), address: 'a:1', username: 'user', password: 's3cret' });
    const other = bind({ ...minimal(type), address: 'a:1', username: 'user', password: 'other' });
    expect(one.broker).toEqual(same.broker);
    expect(other.broker.key).not.toBe(one.broker.key);
    expect(JSON.stringify([one.broker, one.question])).not.toContain('s3cret');
    expect(() => bind({ ...minimal(type), address: 'redis://user:s3cret@a:1:2' })).not.toThrow(/s3cret/);
  });
});

it('list and stream triggers on one server with one set of credentials share a client', () => {
  expect(bind({ ...minimal('redis'), address: 'a:1' }).broker).toEqual(
    bind({ ...minimal('redis-streams'), address: 'a:1' }).broker,
  );
});

it('a sentinel trigger needs the primary’s name', () => {
  expect(faults({ scaler: 'redis-sentinel', listName: 'q', address: 'a:1' })).toEqual(['sentinelMaster']);
});

it.each([
  ['listLength', ['0', '-1', 'x', '1.5', 'NaN', '1e999']],
  ['activationListLength', ['-1', 'x']],
  ['operation', ['avg']],
  ['requireMatch', ['yes']],
  ['databaseIndex', ['-1', 'x']],
  ['staleAfter', ['-1s', 'soon']],
])('%s is at fault as each of %j', (key, values) => {
  for (const value of values) expect(faults({ ...minimal('redis'), address: 'a:1', [key]: value }), value).toEqual([key]);
});

it('a stream’s mode follows its keys as in KEDA', () => {
  const spec = (more: Record<string, string>): number =>
    scalerOf(minimal('redis-streams')).spec(
      { ...minimal('redis-streams'), address: 'a:1', streamLength: '1', pendingEntriesCount: '2', ...more },
      'none',
    ).target;
  expect(spec({})).toBe(1);
  expect(spec({ lagCount: '3' })).toBe(1);
  expect(spec({ consumerGroup: 'g' })).toBe(2);
  expect(faults({ ...minimal('redis-streams'), address: 'a:1', consumerGroup: 'g', lagCount: '0' })).toEqual(['lagCount']);
  expect(spec({ consumerGroup: 'g', lagCount: '3' })).toBe(3);
});

it('names keep their meaning when escaped, and patterns are told from names', () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ minLength: 1, unit: fc.constantFrom('a', 'b', ':', '*', '?', '[', ',', '\\') }), { minLength: 1 }),
      (names) => {
        const escaped = names.map((name) => name.replaceAll(/[\\*?[,]/g, String.raw`\$&`)).join(',');
        expect(parseNames(escaped)).toEqual(names.map((text) => ({ text, glob: false })));
      },
    ),
  );
  expect(parseNames('a, b:*:c ,d[1],e\\,f*')).toEqual([
    { text: 'a', glob: false },
    { text: 'b:*:c', glob: true },
    { text: 'd[1]', glob: true },
    { text: 'e,f*', glob: true },
  ]);
});

it('slots are those of the specification', () => {
  expect([slotOf('123456789'), slotOf('foo'), slotOf('{user1000}.following'), slotOf('foo{}{bar}'), slotOf('')]).toEqual([
    0x31c3,
    12_182,
    slotOf('user1000'),
    slotOf('foo{}{bar}'),
    0,
  ]);
  expect(slotOf('{user1000}.followers')).toBe(slotOf('{user1000}.following'));
});

it('of two claims to a slot the one with the higher epoch is true', () => {
  const line = (id: string, port: number, epoch: number, rest: string): string =>
    `${id} 10.0.0.1:${port}@1${port},name-${id} master - 0 0 ${epoch} connected ${rest}`;
  const old = parseClusterNodes(`${line('a', 1, 1, '0-100 [7->-b]')}\n${line('b', 2, 2, '101-200')}`, false) ?? [];
  const recent = parseClusterNodes(`${line('c', 3, 5, '0-50')}\n${line('a', 1, 1, '51-100')}`, true) ?? [];
  const owners = slotOwners([old, recent]);
  expect([owners[0]?.id, owners[50]?.id, owners[51]?.id, owners[101]?.id, owners[201]?.id]).toEqual([
    'c',
    'c',
    'a',
    'b',
    undefined,
  ]);
  expect(old[0]?.moving).toEqual([7]);
  expect([old[0]?.announced, recent[0]?.announced]).toEqual(['10.0.0.1:1', 'name-c:3']);
  expect(parseClusterNodes('nonsense', false)).toBeUndefined();
});
