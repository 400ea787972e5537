/** A single server that is killed, stopped, paused and cut off while messages wait. */
import { afterAll, describe, expect, it } from 'vitest';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { startRedis } from '../../bed/redis.ts';
import { until } from '../../bed/until.ts';
import { follow } from '../../scalers/redis/follow.ts';
import { closeAfterEach, keep, keepClient, openAsker, PUSH_OPTIONS } from './fixtures.ts';
import { through, type Total } from './course.ts';

closeAfterEach();

describe('a single server', () => {
  const total: Total = { pushes: 0, woken: 0 };
  afterAll(() => {
    process.stdout.write(`a single server, all in all: ${total.woken} of ${total.pushes} pushes to sleeping lists woke them\n`);
  });

  it('is killed, stopped, paused and cut off, and no reading is wrong and no wake lost', async () => {
    const server = keep(await startRedis({ persistent: true }));
    const client = await keepClient(new Redis(server.url, PUSH_OPTIONS));
    const asker = openAsker();
    const deployment = {
      base: { scaler: 'redis', address: `127.0.0.1:${server.port}` },
      client,
      settled: () => Promise.resolve(),
    };
    await through(total, 'a killed server', asker, deployment, async () => {
      await sleep(500);
      await server.kill();
      await sleep(1_000);
      await server.start();
    });
    await through(total, 'a stopped server', asker, deployment, async () => {
      await sleep(500);
      await server.stop();
      await sleep(1_000);
      await server.start();
    });
    await through(total, 'a paused server', asker, deployment, async () => {
      await sleep(500);
      server.pause();
      await sleep(3_000);
      server.resume();
    });
    await through(total, 'cut connections', asker, deployment, async () => {
      for (let cut = 0; cut < 10; cut++) {
        await server.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
        await sleep(200);
      }
    });
  });
});

describe('ten thousand pushes', () => {
  it('to sleeping lists wake every one of them, while connections are cut', async () => {
    const server = keep(await startRedis({ persistent: true }));
    const asker = openAsker();
    const lists = 10_000;
    const client = await keepClient(new Redis(server.url, { protocol: 2 }));
    const sleepers = Array.from({ length: lists }, (_, index) =>
      follow(asker, { scaler: 'redis', address: `127.0.0.1:${server.port}`, listName: `q:${index}` }),
    );
    await until('all sleep', () => sleepers.every(({ samples }) => samples.at(-1)?.decision.active === false), {
      deadlineMs: 60_000,
      everyMs: 100,
    });
    const startedAt = performance.now();
    for (let index = 0; index < lists; index++) {
      await client.rpush(`q:${index}`, 'x');
      if (index % 1_000 === 500) await server.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    }
    const pushedAt = performance.now();
    const awake = (): number => sleepers.filter(({ samples }) => samples.at(-1)?.decision.active === true).length;
    await until('all are awake', () => awake() === lists, { deadlineMs: 20_000, everyMs: 50 }).catch(() => undefined);
    process.stdout.write(
      `${awake()} of ${lists} sleeping lists woken; pushed within ${(pushedAt - startedAt).toFixed(0)} ms, the last awake ${(performance.now() - pushedAt).toFixed(0)} ms later\n`,
    );
    expect(awake()).toBe(lists);
    for (const sleeper of sleepers) sleeper.stop();
  });
});
