/**
 * What KEDA's own Redis scalers promise of their metadata, on each topology, for lists and streams: kept here, or different on purpose
 * and asserted as different.
 */
import { describe, expect, it } from 'vitest';
import { scalerOf } from '../../../src/scalers/registry.ts';
import { bind, faults, minimal, type Words } from './bound.ts';

const LISTS = ['redis', 'redis-sentinel', 'redis-cluster'];
const STREAMS = ['redis-streams', 'redis-sentinel-streams', 'redis-cluster-streams'];

const without = (words: Words, name: string): Words => Object.fromEntries(Object.entries(words).filter(([key]) => key !== name));
const reached = (scaler: string): Words => ({ ...minimal(scaler), address: 'a:1' });

/** Equal where everything that makes a client is: address, user, password, TLS, database. */
const brokerOf = (metadata: Words, authentication: Words = {}): string => bind(metadata, authentication).broker.key;

describe.each([...LISTS, ...STREAMS])('%s', (type) => {
  it('takes nothing at all for a fault of each key that is missing', () => {
    const name = type.endsWith('streams') ? 'stream' : 'listName';
    expect(faults({ scaler: type }).sort()).toEqual(
      [name, 'address', ...(type.includes('sentinel') ? ['sentinelMaster'] : [])].sort(),
    );
    const nameless = without(reached(type), name);
    expect(faults(nameless)).toEqual([name]);
  });

  it('takes one address, several, or pairs of hosts and ports, each in either spelling', () => {
    const one = brokerOf(reached(type));
    expect(brokerOf({ ...minimal(type), addresses: 'a:1' })).toBe(one);
    expect(brokerOf({ ...minimal(type), host: 'a', port: '1' })).toBe(one);
    expect(brokerOf({ ...minimal(type), hosts: 'a', ports: '1' })).toBe(one);
    const label = (metadata: Words): string => bind(metadata).broker.label;
    const pairs = label({ ...minimal(type), hosts: 'a, b,c', ports: '1,2, 3' });
    expect(pairs).toBe(label({ ...minimal(type), addresses: 'a:1, b:2,c:3' }));
    // One server has one address.
    expect(pairs.includes('c:3')).toBe(type.includes('sentinel') || type.includes('cluster'));
    for (const unequal of [{ hosts: 'a,b', ports: '1' }, { hosts: 'a', ports: '1,2' }, { host: 'a' }, { port: '1' }])
      expect(faults({ ...minimal(type), ...unequal })).not.toEqual([]);
  });

  it.each(['username', 'password'])('takes %s from metadata, environment and authentication, in that order', (key) => {
    const with_ = (value: string): string => brokerOf({ ...reached(type), [key]: value });
    expect(brokerOf({ ...reached(type), [key]: 'x', [`${key}FromEnv`]: 'y' }, { [key]: 'z' })).toBe(with_('x'));
    expect(brokerOf({ ...reached(type), [`${key}FromEnv`]: 'y' }, { [key]: 'z' })).toBe(with_('y'));
    expect(brokerOf(reached(type), { [key]: 'z' })).toBe(with_('z'));
    expect(brokerOf(reached(type))).not.toBe(with_('z'));
  });

  it('uses TLS where authentication says so, with its certificates, or none', () => {
    const plain = brokerOf(reached(type));
    const pem = (what: string): string => `-----BEGIN ${what}-----\nAAAA\n-----END ${what}-----\n`;
    const pair = { cert: pem('CERTIFICATE'), key: pem('PRIVATE KEY') };
    expect(brokerOf(reached(type), { tls: 'disable' })).toBe(plain);
    expect(
      new Set([plain, brokerOf(reached(type), { tls: 'enable' }), brokerOf(reached(type), { tls: 'enable', ...pair })]).size,
    ).toBe(3);
    expect(faults(reached(type), { tls: 'maybe' })).toEqual(['tls']);
    expect(faults(reached(type), { tls: 'enable', cert: pair.cert })).toEqual(['key']);
    expect(faults(reached(type), { tls: 'enable', key: pair.key })).toEqual(['cert']);
  });

  it('differs: enableTLS beside tls is no fault, as KEDA takes it for its connection to this scaler', () => {
    expect(brokerOf({ ...reached(type), enableTLS: 'true' }, { tls: 'enable' })).toBe(brokerOf(reached(type), { tls: 'enable' }));
  });

  it('reads the database asked for, and in a cluster the only one', () => {
    const other = brokerOf({ ...reached(type), databaseIndex: '3' });
    expect(other === brokerOf(reached(type))).toBe(type.includes('cluster'));
    expect(faults({ ...reached(type), databaseIndex: 'x' })).toEqual(['databaseIndex']);
  });
});

describe.each([...LISTS, ...STREAMS].filter((type) => type.includes('sentinel')))('%s', (type) => {
  it.each(['sentinelUsername', 'sentinelPassword', 'sentinelMaster'])(
    'takes %s from metadata, authentication and environment, in that order',
    (key) => {
      const base = without(reached(type), key);
      const with_ = (value: string): string => brokerOf({ ...base, sentinelMaster: 'm', [key]: value });
      const others = key === 'sentinelMaster' ? base : { ...base, sentinelMaster: 'm' };
      expect(brokerOf({ ...others, [key]: 'x', [`${key}FromEnv`]: 'z' }, { [key]: 'y' })).toBe(with_('x'));
      expect(brokerOf({ ...others, [`${key}FromEnv`]: 'z' }, { [key]: 'y' })).toBe(with_('y'));
      expect(brokerOf({ ...others, [`${key}FromEnv`]: 'z' })).toBe(with_('z'));
    },
  );

  it('differs: the primary’s name is required, which KEDA does not check', () => {
    const nameless = without(reached(type), 'sentinelMaster');
    expect(faults(nameless)).toEqual(['sentinelMaster']);
  });
});

describe.each(LISTS)('%s', (type) => {
  it('has KEDA’s defaults and metric name', () => {
    expect(scalerOf(reached(type)).spec(reached(type), 'none')).toEqual({ name: 'redis-q', target: 5 });
    expect(scalerOf(reached(type)).spec({ ...reached(type), listLength: '7' }, 'none').target).toBe(7);
  });

  it('takes a wrong length for a fault; and differs in that none may be negative or zero', () => {
    for (const wrong of ['x', '1.5', '', '-1', '0'].filter((word) => word !== ''))
      expect(faults({ ...reached(type), listLength: wrong }), wrong).toEqual(['listLength']);
    expect(faults({ ...reached(type), activationListLength: 'x' })).toEqual(['activationListLength']);
    expect(faults({ ...reached(type), activationListLength: '0' })).toEqual([]);
  });
});

describe.each(STREAMS)('%s', (type) => {
  const target = (more: Words): number => scalerOf(reached(type)).spec({ ...reached(type), ...more }, 'none').target;

  it('counts length without a group, lag with a group and lagCount, and pending entries with a group alone', () => {
    expect([target({}), target({ streamLength: '7' }), target({ lagCount: '9' })]).toEqual([5, 7, 5]);
    expect([target({ consumerGroup: 'g' }), target({ consumerGroup: 'g', pendingEntriesCount: '8' })]).toEqual([5, 8]);
    expect(target({ consumerGroup: 'g', lagCount: '9', pendingEntriesCount: '8' })).toBe(9);
    expect(scalerOf(reached(type)).spec(reached(type), 'none').name).toBe('redis-streams-s');
  });

  it('is active above activationLagCount in each of the three, and 0 is allowed', () => {
    const active = (more: Words, measures: { length?: number; lag?: number; pending?: number }): boolean =>
      bind({ ...reached(type), ...more }).decide({ known: true, at: 0, reader: 'test', measures, queues: [] }).active;
    for (const mode of [{}, { consumerGroup: 'g' }, { consumerGroup: 'g', lagCount: '5' }] as Words[]) {
      const waiting = (count: number) => (mode['consumerGroup'] === undefined ? { length: count } : { lag: count, pending: 0 });
      expect([active(mode, waiting(0)), active(mode, waiting(1))]).toEqual([false, true]);
      const above = { ...mode, activationLagCount: '3' };
      expect([active(above, waiting(3)), active(above, waiting(4))]).toEqual([false, true]);
      expect(active({ ...mode, activationLagCount: '0' }, waiting(1))).toBe(true);
    }
    // Different: an entry that a consumer holds keeps it active whatever the threshold.
    expect(active({ consumerGroup: 'g', lagCount: '5', activationLagCount: '3' }, { lag: 0, pending: 1 })).toBe(true);
  });

  it('takes wrong numbers for faults, all at once', () => {
    const wrong = { streamLength: 'x', pendingEntriesCount: '1.5', lagCount: 'y', activationLagCount: '-', databaseIndex: 'z' };
    expect(faults({ ...reached(type), consumerGroup: 'g', ...wrong }).sort()).toEqual(Object.keys(wrong).sort());
    // Different: KEDA takes 0 for leaving it out.
    expect(faults({ ...reached(type), consumerGroup: 'g', lagCount: '0' })).toEqual(['lagCount']);
  });
});
