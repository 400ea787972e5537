import { existsSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { VERSIONS } from './catalogue.ts';
import { plans, type TestRun } from './plan.ts';

const root = resolve(import.meta.dirname, '../../..');

test('every version has tests, and a file is behind each of their names', () => {
  const runs = [...plans([], false), ...plans([], true)].flatMap((plan) => plan.runs);
  expect(plans([], false).map(({ version, runs }) => [version.name, runs.length > 0])).toEqual(
    VERSIONS.map(({ name }) => [name, true]),
  );
  const found = (file: string): boolean =>
    existsSync(join(root, file)) ||
    readdirSync(join(root, file, '..')).some((name) => join(root, file, '..', name).startsWith(join(root, file)));
  expect(runs.flatMap(({ files }) => files).filter((file) => !found(file))).toEqual([]);
});

test.each(['killed', 'stopped', 'restarted', 'hung'])(
  'RabbitMQ with a node that is %s is tried on a newer version',
  (failure) => {
    const tried = ({ files, only }: TestRun): boolean =>
      files.some((file) => 'test/faults/rabbitmqCluster.test.ts'.startsWith(file)) &&
      (only === undefined || new RegExp(only).test(`when the leading node is ${failure}`));
    expect(plans([], false).filter(({ runs }) => runs.some(tried))).not.toEqual([]);
  },
);

test('a version is chosen by its name, and all of its kind’s tests by asking for the whole', () => {
  expect(plans(['redict'], true).map(({ version }) => version.name)).toEqual(['redict']);
  const files = plans(['rabbitmq-4.0-khepri'], true).flatMap(({ runs }) => runs.flatMap((run) => run.files));
  expect(files).toContain('test/faults/rabbitmq');
  expect(() => plans(['redis-9'], false)).toThrow(/no broker is called redis-9: one of rabbitmq-4\.0/);
});
