import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { createTurns } from '../../src/scalers/turns.ts';

it('lets so many go on in each turn of the event loop, in the order in which they came', async () => {
  const turn = createTurns(3);
  const gone: number[] = [];
  const all = Promise.all(Array.from({ length: 8 }, (_, index) => turn().then(() => gone.push(index))));
  const counts: number[] = [];
  for (let turns = 0; turns < 3; turns++) {
    counts.push(gone.length);
    await nextTurn();
  }
  await all;
  expect(counts).toEqual([0, 6, 8]);
  expect(gone).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
});

it('counts anew once a turn has passed', async () => {
  const turn = createTurns(1);
  for (let index = 0; index < 3; index++) {
    await turn();
    await nextTurn();
  }
  let wentOn = false;
  void turn().then(() => (wentOn = true));
  await Promise.resolve();
  expect(wentOn).toBe(true);
});
