import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { key, metadataNames, nearestName, readKeys } from '../../src/scalers/metadata.ts';
import { decimal, text, whole } from '../../src/scalers/values.ts';

const table = {
  queueName: key('The queue.', text(), { required: true }),
  host: key('The broker.', text(), { required: true, secret: true, places: ['metadata', 'environment', 'authentication'] }),
  password: key('The password.', text(), { secret: true, places: ['authentication', 'environment'] }),
  value: key('The target.', decimal({ above: 0 }), { default: '20' }),
  address: key('Addresses.', text(), { aliases: ['addresses'] }),
  pageSize: key('Page size.', whole({ min: 1 })),
};

describe('reading the keys of a trigger', () => {
  test('gives typed values, defaults, and undefined for what is absent', () => {
    const { values, faults, awaited } = readKeys(
      table,
      { queueName: ' orders ', host: 'amqp://h', scaler: 'x', scalerAddress: 'y' },
      {},
    );
    expect(faults).toEqual([]);
    expect(values).toEqual({ queueName: 'orders', host: 'amqp://h', value: 20 });
    expect(awaited.size).toBe(0);
  });

  test('takes each key from its places in their order; an empty text counts as absent', () => {
    const host = (metadata: Record<string, string>, authentication: Record<string, string>) =>
      readKeys(table, { queueName: 'q', ...metadata }, authentication).values.host;
    expect(host({ host: 'm', hostFromEnv: 'e' }, { host: 'a' })).toBe('m');
    expect(host({ host: '  ', hostFromEnv: 'e' }, { host: 'a' })).toBe('e');
    expect(host({ hostFromEnv: '' }, { host: 'a' })).toBe('a');
    expect(readKeys(table, { queueName: 'q', host: 'h', passwordFromEnv: 'e' }, { password: 'a' }).values.password).toBe('a');
    expect(readKeys(table, { queueName: 'q', host: 'h', addresses: 'a:1' }, {}).values.address).toBe('a:1');
  });

  test('tells all faults at once, each with its key', () => {
    const { faults } = readKeys(table, { queueNam: 'q', value: '-1', pageSize: '0', toString: 'x', password: 'hunter2' }, {});
    expect(faults.map(({ key }) => key).sort()).toEqual([
      'host',
      'pageSize',
      'password',
      'queueNam',
      'queueName',
      'toString',
      'value',
    ]);
    expect(faults.find(({ key }) => key === 'queueNam')?.message).toContain('did you mean queueName?');
    expect(faults.find(({ key }) => key === 'value')?.message).toContain('not "-1"');
    expect(faults.find(({ key }) => key === 'password')?.message).toContain('TriggerAuthentication');
    expect(JSON.stringify(faults)).not.toContain('hunter2');
  });

  test('does not take inherited names for keys', () => {
    const metadata = JSON.parse('{"queueName":"q","host":"h","__proto__":"x","constructor":"y"}') as Record<string, string>;
    const { faults } = readKeys(table, metadata, {});
    expect(faults.map(({ key }) => key).sort()).toEqual(['__proto__', 'constructor']);
  });

  test('awaits a required key that authentication may bring, and misses it once authentication is known', () => {
    const before = readKeys(table, { queueName: 'q' }, undefined);
    expect(before.faults).toEqual([]);
    expect([...before.awaited].sort()).toEqual(['host', 'password']);
    const after = readKeys(table, { queueName: 'q' }, {});
    expect(after.faults).toEqual([
      { key: 'host', message: 'is required in metadata or as hostFromEnv or in a TriggerAuthentication' },
    ]);
  });

  test('awaits a key whose value is pending, and says nothing of what stands there', () => {
    const { faults, awaited, values } = readKeys(
      table,
      { queueName: 'q', value: 'ORDERS_TARGET' },
      {},
      new Set(['value', 'host']),
    );
    expect(faults).toEqual([]);
    expect([...awaited].sort()).toEqual(['host', 'value']);
    expect(values.value).toBeUndefined();
  });

  test('never repeats the value of a secret key, whatever it is', () => {
    const secretTable = { host: key('h', decimal(), { secret: true }) };
    fc.assert(
      fc.property(fc.string({ minLength: 4 }), (value) => {
        fc.pre(Number.isNaN(Number(value)) && value.trim().length >= 4);
        const { faults } = readKeys(secretTable, { host: value }, {});
        expect(faults).toHaveLength(1);
        expect(faults[0]?.message).toBe('must be a number such as 20 or 0.5');
      }),
    );
  });

  test('answers any metadata with values or faults and never throws', () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.string(), fc.string()),
        fc.dictionary(fc.string(), fc.string()),
        (metadata, authentication) => {
          const { values, faults } = readKeys(table, metadata, authentication);
          expect(faults.length > 0 || values.queueName !== undefined).toBe(true);
        },
      ),
    );
  });
});

test('the nearest name is the one with the fewest edits, and none when all are far', () => {
  const names = metadataNames(table);
  expect(nearestName('queuename', names)).toBe('queueName');
  expect(nearestName('hostFromEnvv', names)).toBe('hostFromEnv');
  expect(nearestName('pagesize', names)).toBe('pageSize');
  expect(nearestName('completelyElse', names)).toBeUndefined();
  expect(nearestName('x'.repeat(100_000), names)).toBeUndefined();
});
