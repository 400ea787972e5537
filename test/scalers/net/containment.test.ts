import { EventEmitter, once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { contained, containListeners } from '../../../src/scalers/net/containment.ts';

test('what is thrown on a later tick, from a timer or by a promise ends the connection that started it', async () => {
  const start = (later: (act: () => void) => void) => {
    return new Promise<unknown>((resolve) => {
      contained(resolve, () => {
        later(() => {
          throw new Error('thrown late');
        });
      });
    });
  };
  const ways = [
    (act: () => void) => {
      process.nextTick(act);
    },
    (act: () => void) => {
      setTimeout(act, 1);
    },
    (act: () => void) => {
      const emitter = new EventEmitter();
      emitter.on('data', act);
      void sleep(1).then(() => {
        process.nextTick(() => emitter.emit('data'));
      });
    },
  ];
  for (const way of ways) expect(await start(way)).toEqual(new Error('thrown late'));
});

test('each exception goes to its own connection', async () => {
  const thrown: string[] = [];
  const emitter = new EventEmitter();
  for (const name of ['first', 'second']) {
    contained(
      (error) => {
        thrown.push(`${name}: ${(error as Error).message}`);
        if (thrown.length === 2) emitter.emit('done');
      },
      () => {
        setTimeout(() => {
          throw new Error(`of ${name}`);
        }, 1);
      },
    );
  }
  await once(emitter, 'done');
  expect(thrown.toSorted()).toEqual(['first: of first', 'second: of second']);
});

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
