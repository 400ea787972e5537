// A worker that takes messages from a Redis list, one at a time, and loses none: BLMOVE puts the message into a list of this
// worker's own in the same step, where it stays until it is done. On SIGTERM it finishes the message in hand and ends.
import { Redis } from 'ioredis';
import { appendFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

const { REDIS_URL, LIST, RECORD_FILE, HOSTNAME } = process.env;
const processing = `${LIST}:processing:${HOSTNAME}`;
/** How long a stop may have to wait for a worker that has nothing to do. */
const BLOCK_SECONDS = 0.5;

let stopping = false;
process.once('SIGTERM', () => {
  stopping = true;
});

const redis = new Redis(REDIS_URL, { maxRetriesPerRequest: null });
// What a killed predecessor of the same name had in hand goes back to the head of the list.
while ((await redis.lmove(processing, LIST, 'LEFT', 'RIGHT')) !== null);

while (!stopping) {
  const message = await redis.blmove(LIST, processing, 'RIGHT', 'LEFT', BLOCK_SECONDS);
  if (message === null) continue;
  const { id, workMs } = JSON.parse(message);
  appendFileSync(RECORD_FILE, `taken ${id}\n`);
  await delay(workMs);
  appendFileSync(RECORD_FILE, `done ${id}\n`);
  await redis.lrem(processing, 1, message);
}
await redis.quit();
