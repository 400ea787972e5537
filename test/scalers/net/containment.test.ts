import { EventEmitter } from 'node:events';
import { expect, test } from 'vitest';
import { containListeners } from '../../../src/scalers/net/containment.ts';

test('a listener that throws ends the connection at once, and later listeners’ events go on', () => {
  const emitter = new EventEmitter();
  const thrown: unknown[] = [];
  containListeners(emitter, (error) => thrown.push(error));
  emitter.on('data', () => {
    throw new Error('in a listener');
  });
  expect(emitter.emit('data')).toBe(true);
  expect(thrown).toEqual([new Error('in a listener')]);
});
