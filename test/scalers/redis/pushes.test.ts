/** Pins what is used of the insides of ioredis: the only way in which it lets go of push messages. */
import { expect, it } from 'vitest';
import dataHandlerModule from 'ioredis/built/DataHandler.js';
import { until } from '../../bed/until.ts';
import { openConnection } from '../../../src/scalers/redis/wire/connection.ts';
import { redisBed } from './fixtures.ts';

const bed = redisBed();

it('invalidations of a real server arrive, in order with the replies, and a flush without keys', async () => {
  const heard: unknown[] = [];
  const connection = await openConnection({ host: '127.0.0.1', port: bed.server.port }, undefined, 1_000, (kind, values) => {
    heard.push([kind, ...values.map((value) => (Array.isArray(value) ? value.map(String) : value))]);
  });
  const [hello, ...first] = await connection.request([
    ['HELLO', 3],
    ['CLIENT', 'TRACKING', 'ON'],
    ['LLEN', 'ü'],
  ]);
  // Each server has a name of its own there.
  expect(hello).toContain('proto');
  expect(first).toEqual(['OK', 0]);
  // The server tells of the change before it replies to what changed it.
  const replies = connection.request([['RPUSH', 'ü', 'x']]).then((pushed) => heard.push(pushed));
  await replies;
  expect(heard).toEqual([['invalidate', ['ü']], [1]]);
  await connection.request([['LLEN', 'ü']]);
  await bed.server.call('FLUSHALL');
  await until('the flush is told', () => heard.length > 2);
  expect(heard.at(-1)).toEqual(['invalidate', null]);
  connection.close();
});

it('the method that gets them is where it was', () => {
  const { prototype } = ('default' in dataHandlerModule ? dataHandlerModule.default : dataHandlerModule) as {
    readonly prototype: object;
  };
  expect(Object.getOwnPropertyNames(prototype)).toContain('returnPush');
  expect(Object.getOwnPropertyNames(prototype)).toContain('dispatch');
  expect(String((prototype as { constructor: unknown }).constructor)).toContain('this.dispatch(() => this.returnPush(reply))');
});
