import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { VERSIONS } from './catalogue.ts';
import { plans, type TestRun } from './plan.ts';

const root = resolve(import.meta.dirname, '../../..');
const filesOf = (name: string, whole: boolean): string[] =>
  plans([name], whole).flatMap(({ runs }) => runs.flatMap((run) => run.files));

test('every version has tests, and each of their files is there', () => {
  expect(plans([], false).map(({ version }) => version)).toEqual(VERSIONS);
  for (const { version, runs } of [...plans([], false), ...plans([], true)]) {
    const files = runs.flatMap((run) => run.files);
    expect(files.length, version.name).toBeGreaterThan(2);
    expect(files.filter((file) => !existsSync(join(root, file)))).toEqual([]);
  }
});

test.each(['killed', 'stopped', 'restarted', 'hung'])(
  'RabbitMQ with a node that is %s is tried on a newer version',
  (failure) => {
    const tried = ({ files, only = '' }: TestRun): boolean =>
      files.includes('test/faults/rabbitmqCluster.test.ts') && new RegExp(only).test(`when the leading node is ${failure}`);
    expect(plans([], false).filter(({ runs }) => runs.some(tried))).not.toEqual([]);
  },
);

test('a version that is named is tried alone, and all that starts a broker of its kind by asking for the whole', () => {
  expect(plans(['redict'], true).map(({ version }) => version.name)).toEqual(['redict']);
  const [some, all] = [filesOf('rabbitmq-4.0-khepri', false), filesOf('rabbitmq-4.0-khepri', true)];
  expect(some).not.toContain('test/faults/rabbitmqHang.test.ts');
  expect(all).toContain('test/faults/rabbitmqHang.test.ts');
  // By way of its fixtures.
  expect(filesOf('valkey-9', true)).toContain('test/scalers/redis/pushes.test.ts');
});

test('what starts no broker is left out, and so is one of another kind', () => {
  const files = [...filesOf('rabbitmq-4.3', true), ...filesOf('redis-8', true)];
  expect(files.filter((file) => /values|metadata|fakeAmqp|queueMemory|amqp\.test/.test(file))).toEqual([]);
  expect(filesOf('redis-8', true).filter((file) => file.includes('rabbitmq'))).toEqual([]);
});

test('a name that there is not is answered by those there are', () => {
  expect(() => plans(['redis-9'], false)).toThrow(/no broker is called "redis-9": one of rabbitmq-4\.0, /);
});
