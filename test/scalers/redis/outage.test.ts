/** What a server that is away costs, and what starting to watch does to whoever reads. */
import { afterEach, describe, expect, it } from 'vitest';
import { setTimeout as sleep } from 'node:timers/promises';
import { createMetrics } from '../../../src/server/metrics.ts';
import { emptyPrimary, startRedisFake, type FakeAnswer, type RedisFake } from '../../bed/redisFake.ts';
import { until } from '../../bed/until.ts';
import { createAsker, type Asker } from './ask.ts';
import { follow } from './follow.ts';

const closers: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function fakeServer(...args: Parameters<typeof startRedisFake>): Promise<RedisFake> {
  const fake = await startRedisFake(...args);
  closers.push(() => fake.close());
  return fake;
}
function open(...args: Parameters<typeof createAsker>): Asker {
  const asker = createAsker(...args);
  closers.push(() => asker.close());
  return asker;
}
const list = (address: string, index: number): Record<string, string> => ({ scaler: 'redis', address, listName: `q${index}` });

/** Watches the lists, of which some are read all the time, too, until that many connections were attempted. */
async function watchAll(fake: RedisFake, lists: number, attempts: number): Promise<void> {
  const asker = open();
  const followed = Array.from({ length: lists }, (_, index) => follow(asker, list(fake.address, index)));
  const readers = Array.from({ length: 50 }, (_, index) => asker.trigger(list(fake.address, index)));
  let answers = 0;
  await until('enough attempts', async () => {
    const results = await Promise.allSettled(readers.map((trigger) => trigger.read(AbortSignal.timeout(1_000))));
    answers += results.filter(({ status }) => status === 'fulfilled').length;
    return fake.connections() >= attempts;
  });
  expect(answers).toBe(0);
  for (const { samples, stop } of followed) {
    expect(samples).toEqual([]);
    stop();
  }
}

describe('a server that is away costs one connection attempt at a time with growing pauses, however many keys are watched,', () => {
  // Pauses of 50 ms, 100, 200, 400 and 800, each shortened by half at most.
  const ATTEMPTS = 6;
  const LEAST_MS = 1_550 / 2;
  const LISTS = 2_000;
  const timeOf = ({ connectedAt }: RedisFake): number => (connectedAt[ATTEMPTS - 1] ?? NaN) - (connectedAt[0] ?? NaN);

  it('where it takes no connection', async () => {
    const fake = await fakeServer(
      () => undefined,
      (socket) => socket.destroy(),
    );
    await watchAll(fake, LISTS, ATTEMPTS);
    expect(timeOf(fake)).toBeGreaterThanOrEqual(LEAST_MS);
  });

  it('where it greets and hangs up', async () => {
    const hangUp: FakeAnswer = (command, socket) => {
      if (command[0] !== 'HELLO' && command[0] !== 'CLIENT') socket.destroy();
      return emptyPrimary(command, socket);
    };
    const fake = await fakeServer(hangUp);
    await watchAll(fake, LISTS, ATTEMPTS);
    expect(timeOf(fake)).toBeGreaterThanOrEqual(LEAST_MS);
  });

  it('and nothing that is asked meanwhile is queued for it', async () => {
    let away = true;
    const fake = await fakeServer(emptyPrimary, (socket) => {
      if (away) socket.destroy();
    });
    const asker = open();
    const triggers = Array.from({ length: 100 }, (_, index) => asker.trigger(list(fake.address, index)));
    const followed = triggers.map((_, index) => follow(asker, list(fake.address, index)));
    for (let round = 0; round < 5; round++) {
      await Promise.allSettled(triggers.map((trigger) => trigger.read(AbortSignal.timeout(1_000))));
    }
    away = false;
    await until('all are read', () => followed.every(({ samples }) => samples.length > 0));
    // One reading of each key, and one more where that was touched while it was under way; not one for each time that it was asked for.
    expect(fake.heard('LLEN')).toBeLessThanOrEqual(2 * triggers.length);
    for (const { stop } of followed) stop();
  });
});

describe('watching', () => {
  it('begins without disturbing the readings that are under way', async () => {
    const slow: FakeAnswer = (command, socket) => {
      return command[0] === 'LLEN' && command[1] === 'q0' ? sleep(300, ':7\r\n') : emptyPrimary(command, socket);
    };
    const fake = await fakeServer(slow);
    const asker = open();
    const reading = asker.trigger(list(fake.address, 0)).read(AbortSignal.timeout(5_000));
    await until('the reading is under way', () => fake.heard('LLEN') === 1);
    const { samples, stop } = follow(asker, list(fake.address, 1));
    expect((await reading).decision.value).toBe(7);
    await until('the watched list is read', () => samples.length > 0);
    expect(fake.connections()).toBe(1);
    stop();
  });

  it('reads a key again that changed while it was being read, though the change was told before the reply', async () => {
    let reads = 0;
    const overtaking: FakeAnswer = (command, socket) => {
      if (command[0] !== 'LLEN') return emptyPrimary(command, socket);
      return reads++ === 0 ? '>2\r\n$10\r\ninvalidate\r\n*1\r\n$2\r\nq0\r\n:0\r\n' : ':1\r\n';
    };
    const fake = await fakeServer(overtaking);
    const { samples, stop } = follow(open(), list(fake.address, 0));
    // Far sooner than any poll.
    await until('awake', () => samples.at(-1)?.decision.active === true, { deadlineMs: 4_000 });
    expect(samples.map(({ decision }) => decision.value)).toEqual([0, 1]);
    stop();
  });

  it('by polling, where changes are not told, is bounded, and said in one reading as well as in the metrics', async () => {
    const refusing: FakeAnswer = (command, socket) =>
      command[0] === 'CLIENT' ? '-NOPERM this user has no permissions to run client|tracking\r\n' : emptyPrimary(command, socket);
    const fake = await fakeServer(refusing);
    const metrics = createMetrics('test', { connections: () => 0, streams: () => 0, triggers: () => 0, watches: () => [] });
    const polled = async (): Promise<number | undefined> =>
      (await metrics.registry.getSingleMetric('queue_scaler_broker_connections_polled')?.get())?.values[0]?.value;
    const asker = open(metrics.brokerEvents);

    const { reading } = await asker.ask(list(fake.address, 0));
    expect(reading.notes?.join()).toMatch(/polling.*client\|tracking/);

    const lists = 5_000;
    const followed = Array.from({ length: lists }, (_, index) => follow(asker, list(fake.address, index)));
    await until('all are read', () => followed.every(({ samples }) => samples.length > 0));
    expect(await polled()).toBe(1);
    const before = fake.heard('LLEN');
    const startedAt = performance.now();
    // Each is read once more when it is known that changes are not told; then at most 5000 a second, and not each of them 5 times.
    const readings = (): number => fake.heard('LLEN') - before;
    await until('many were read', () => readings() > lists + 6_000);
    expect(readings()).toBeLessThanOrEqual(lists + 6_000 * ((performance.now() - startedAt) / 1_000));
    for (const { stop } of followed) stop();
    await asker.brokers.close();
    await until('none is open', async () => (await polled()) === 0);
  });
});
