/**
 * Takes a deployment through one trouble while lists that hold messages are read all the time and lists that sleep are pushed to, each
 * once: counts every reading and every wake, prints the counts and the times, and judges them. It knows the truth because it made it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { until } from '../../bed/until.ts';
import type { Trigger } from '../../../src/scalers/trigger.ts';
import type { Asker } from '../../scalers/redis/ask.ts';
import { follow, type Followed } from '../../scalers/redis/follow.ts';

/** Lists that hold messages, and how many. */
const FULL = 100;
const WAITING = 5;
/** Lists that sleep and are pushed to in each trouble; all troubles together make more than ten thousand pushes. */
const SLEEPING = 1_000;
const PUSHERS = 8;
/** Pushes are spread over the trouble: so long at least between two of one pusher. */
const PUSH_EVERY_MS = 25;
const READ_EVERY_MS = 50;
/** How soon all must be awake and the truth told again after the trouble. */
const RECOVERY_MS = 15_000;

/** What `ioredis` clients of a server, a Sentinel set and a cluster have in common. */
export interface PushClient {
  rpush(key: string, ...values: string[]): Promise<number>;
  llen(key: string): Promise<number>;
}

export interface Deployment {
  /** Of every trigger. */
  readonly base: Readonly<Record<string, string>>;
  readonly client: PushClient;
  /** Resolves when no server is left that takes pushes which nobody else will know of. */
  readonly settled: () => Promise<void>;
}

interface Readings {
  right: number;
  held: number;
  unknown: number;
  readonly wrong: number[];
  /** The longest time without a right reading that was not held, in ms. */
  longestBlindMs: number;
  lastRightAt: number;
  /** What was told in place of a figure last. */
  lastTrouble: string;
}

/** Names of the lists of a trouble. */
export function listsOf(name: string): { readonly full: readonly string[]; readonly sleeping: readonly string[] } {
  const run = name.replaceAll(/\W+/g, '-');
  return {
    full: Array.from({ length: FULL }, (_, index) => `${run}:full:${index}`),
    sleeping: Array.from({ length: SLEEPING }, (_, index) => `${run}:sleeping:${index}`),
  };
}

/** Pushes that were made and wakes that were counted, of all troubles. */
export interface Total {
  pushes: number;
  woken: number;
}

export async function through(
  total: Total,
  name: string,
  asker: Asker,
  { base, client, settled }: Deployment,
  trouble: () => Promise<void>,
): Promise<void> {
  const { full, sleeping } = listsOf(name);
  for (const key of full) await client.rpush(key, ...Array.from({ length: WAITING }, String));
  const followed = sleeping.map((listName) => follow(asker, { ...base, listName }));
  await until('all that sleep have a first sample', () => followed.every(({ samples }) => samples.length > 0), {
    deadlineMs: 30_000,
  });
  const { readings, stop } = readAll(full.map((listName) => asker.trigger({ ...base, listName })));
  await sleep(300);
  const startedAt = performance.now();
  const pushing = pushAll(client, sleeping);
  await trouble();
  const recoveredAt = performance.now();
  const pushedAt = await pushing;
  await settled();
  const { lost, lengths } = await pushLost(client, sleeping, pushedAt);
  const isAwake = ({ samples }: Followed, index: number): boolean => samples.at(-1)?.decision.value === lengths[index];
  await until('all are awake', () => followed.every(isAwake), { deadlineMs: RECOVERY_MS }).catch(() => undefined);
  await until('the truth is told again', () => readings.lastRightAt > recoveredAt, { deadlineMs: RECOVERY_MS }).catch(
    (thrown: unknown) => {
      throw new Error(`${name}: since the trouble only ${readings.lastTrouble} was told`, { cause: thrown });
    },
  );
  await stop();
  const woken = followed.filter(isAwake).length;
  const delays = followed
    .map(({ samples }, index) =>
      Math.max(0, (samples.find(({ decision }) => decision.active)?.reading.at ?? NaN) - (pushedAt[index] ?? NaN)),
    )
    .sort((left, right) => left - right);
  const delay = (share: number): string => `${(delays[Math.ceil(delays.length * share) - 1] ?? NaN).toFixed(0)} ms`;
  for (const { stop: end } of followed) end();
  total.pushes += SLEEPING;
  total.woken += woken;
  const { right, held, unknown, wrong, longestBlindMs } = readings;
  process.stdout.write(
    `${name} (${(recoveredAt - startedAt).toFixed(0)} ms): ${right} readings right, ${held} held, ${unknown} unknown, ${wrong.length} wrong; ` +
      `at most ${longestBlindMs.toFixed(0)} ms without a fresh one; ${woken} of ${SLEEPING} woken, p50 ${delay(0.5)}, p99 ${delay(0.99)}, ` +
      `last ${delay(1)} after its push; ${lost} pushes were lost by Redis and made again\n`,
  );
  expect(wrong).toEqual([]);
  const above = followed.flatMap(({ samples }, index) =>
    samples.filter(({ decision }) => decision.value > (lengths[index] ?? 0)),
  );
  expect(above.map(({ decision }) => decision)).toEqual([]);
  expect(woken).toBe(SLEEPING);
  expect(right).toBeGreaterThan(0);
}

/** Reads all the time what must stay as it is, until stopped. */
function readAll(triggers: readonly Trigger[]): { readonly readings: Readings; readonly stop: () => Promise<void> } {
  const readings: Readings = {
    right: 0,
    held: 0,
    unknown: 0,
    wrong: [],
    longestBlindMs: 0,
    lastRightAt: performance.now(),
    lastTrouble: 'nothing',
  };
  const stopping = new AbortController();
  async function read(trigger: Trigger): Promise<void> {
    try {
      const { reading, decision } = await trigger.read(AbortSignal.timeout(2_000));
      if (decision.value !== WAITING) readings.wrong.push(decision.value);
      else if (reading.since !== undefined) {
        readings.held++;
        readings.lastTrouble = reading.since.message;
      } else {
        const now = performance.now();
        readings.right++;
        readings.longestBlindMs = Math.max(readings.longestBlindMs, now - readings.lastRightAt);
        readings.lastRightAt = now;
      }
    } catch (thrown) {
      readings.unknown++;
      readings.lastTrouble = String(thrown);
    }
  }
  const reading = (async () => {
    while (!stopping.signal.aborted) {
      const startedAt = performance.now();
      await Promise.all(triggers.map(read));
      await sleep(Math.max(0, READ_EVERY_MS - (performance.now() - startedAt)));
    }
  })();
  return {
    readings,
    stop: async () => {
      stopping.abort();
      await reading;
    },
  };
}

/** Pushes once to each key; again only where the push was refused and the list is empty. Resolves with when each was taken. */
async function pushAll(client: PushClient, keys: readonly string[]): Promise<number[]> {
  const takenAt: number[] = [];
  let next = 0;
  async function push(): Promise<void> {
    for (let index = next++; index < keys.length; index = next++) {
      const key = keys[index] ?? '';
      await until(`${key} takes a push`, async () => (await client.llen(key)) > 0 || (await client.rpush(key, 'x')) > 0, {
        deadlineMs: 40_000,
      });
      takenAt[index] = performance.now();
      await sleep(PUSH_EVERY_MS);
    }
  }
  await Promise.all(Array.from({ length: PUSHERS }, push));
  return takenAt;
}

/** What an old primary took and nobody else has is gone: that is Redis' way, and those messages are put in again. */
async function pushLost(
  client: PushClient,
  keys: readonly string[],
  pushedAt: number[],
): Promise<{ readonly lost: number; readonly lengths: readonly number[] }> {
  let lost = 0;
  const lengths: number[] = [];
  for (const [index, key] of keys.entries()) {
    const length = Number(await until('it can be asked', async () => String(await client.llen(key)), { deadlineMs: 20_000 }));
    // A client that was cut off in the middle may have pushed twice.
    lengths[index] = Math.max(1, length);
    if (length > 0) continue;
    lost++;
    await client.rpush(key, 'x');
    pushedAt[index] = performance.now();
  }
  return { lost, lengths };
}

/**
 * The values that triggers tell while an old primary, which holds other figures, wakes from a sleep in which another took over: for 2 s
 * before and 4 s after.
 */
export async function valuesWhileWaking(triggers: readonly Trigger[], wake: () => void): Promise<Set<number>[]> {
  const values = triggers.map(() => new Set<number>());
  const startedAt = performance.now();
  let woken = false;
  while (performance.now() < startedAt + 6_000) {
    if (!woken && performance.now() > startedAt + 2_000) {
      wake();
      woken = true;
    }
    await Promise.all(
      triggers.map(async (trigger, index) => {
        const sample = await trigger.read(AbortSignal.timeout(1_000)).catch(() => undefined);
        if (sample !== undefined) values[index]?.add(sample.decision.value);
      }),
    );
    await sleep(20);
  }
  return values;
}
