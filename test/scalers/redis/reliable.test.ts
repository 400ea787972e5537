import { expect, it } from 'vitest';
import { Redis } from 'ioredis';
import { until } from '../../bed/until.ts';
import { redisBed } from './fixtures.ts';
import { follow } from './follow.ts';

const bed = redisBed();

/** A worker of a reliable queue: takes each message to a list of its own and removes it there when the job is done. */
function work(name: string, job: (message: string) => Promise<void>): { readonly stop: () => Promise<void> } {
  const client = new Redis(bed.server.url, { protocol: 2 });
  let stopping = false;
  const own = `jobs:processing:${name}`;
  // Read through a call: the flag changes while the worker waits.
  const isStopping = (): boolean => stopping;
  const running = (async () => {
    for (;;) {
      const message = await client.blmove('jobs', own, 'LEFT', 'RIGHT', 0.2);
      if (message !== null) {
        await job(message);
        await client.lrem(own, 1, message);
      }
      if (isStopping()) return;
    }
  })();
  return {
    stop: async () => {
      stopping = true;
      await running;
      client.disconnect();
    },
  };
}

it('a queue with reliable workers is active from the first message until the last job is done', async () => {
  const metadata = {
    scaler: 'redis',
    address: bed.address,
    listName: 'jobs',
    processingListName: 'jobs:processing:*',
    staleAfter: '0s',
  };
  const { samples, stop } = follow(bed.asker, metadata);
  await until('asleep', () => samples.at(-1)?.decision.active === false);
  let release = (): void => undefined;
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  let done = 0;
  const workers = ['a', 'b', 'c'].map((name) =>
    work(name, async () => {
      await released;
      done++;
    }),
  );
  await bed.server.call('RPUSH', 'jobs', '1', '2', '3');
  await until('all three are being worked on', async () => (await bed.server.call('LLEN', 'jobs')) === 0);
  await until('the scaler has found them', () => samples.at(-1)?.reading.measures['processing'] === 3);
  // Nothing waits, three are held: a scale to zero now would stop workers over their messages.
  for (let count = 0; count < 5; count++) {
    expect((await bed.asker.ask(metadata)).decision).toMatchObject({ value: 3, active: true });
  }
  expect(done).toBe(0);
  release();
  await until('the last job is done', () => done === 3);
  await until('asleep again', () => samples.at(-1)?.decision.active === false);
  const first = samples.findIndex(({ decision }) => decision.active);
  const last = samples.findLastIndex(({ decision }) => decision.active);
  expect(samples.slice(first, last + 1).filter(({ decision }) => !decision.active)).toEqual([]);
  await Promise.all(workers.map((worker) => worker.stop()));
  stop();
});
