// Adds the jobs of JOBS, a JSON list, to a BullMQ queue.
import { Queue } from 'bullmq';

const { REDIS_URL, QUEUE, JOBS } = process.env;
const queue = new Queue(QUEUE, { connection: { url: REDIS_URL } });
await queue.addBulk(JSON.parse(JOBS).map((data) => ({ name: 'job', data })));
await queue.close();
