// A BullMQ worker as its documentation shows it: one job at a time, and on SIGTERM it finishes the one in hand and ends. A job that is
// to be held is done when its key exists.
import { Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { appendFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

const { REDIS_URL, QUEUE, RECORD_FILE } = process.env;
const LOOK_MS = 20;

const redis = new Redis(REDIS_URL);
const worker = new Worker(
  QUEUE,
  async ({ data: { id, workMs = 0, heldBy } }) => {
    appendFileSync(RECORD_FILE, `taken ${id}\n`);
    await delay(workMs);
    while (heldBy !== undefined && (await redis.exists(heldBy)) === 0) await delay(LOOK_MS);
    appendFileSync(RECORD_FILE, `done ${id}\n`);
  },
  { connection: { url: REDIS_URL, maxRetriesPerRequest: null } },
);
worker.on('stalled', (id) => appendFileSync(RECORD_FILE, `stalled ${id}\n`));
worker.on('error', (error) => console.error(error));
process.once('SIGTERM', async () => {
  await worker.close();
  await redis.quit();
});
