// A worker that takes messages from a RabbitMQ queue, one at a time, and loses none: it acknowledges only what it has done, and on
// SIGTERM takes no further message, finishes the one in hand and ends.
import { connect } from 'amqplib';
import { appendFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

const { RABBITMQ_URL, QUEUE, RECORD_FILE } = process.env;
// Before anything can be in hand.
const stopped = new Promise((resolve) => process.once('SIGTERM', resolve));
let inHand = Promise.resolve();

const connection = await connect(RABBITMQ_URL, { noDelay: true });
const channel = await connection.createChannel();
await channel.prefetch(1);

async function work(message) {
  const { id, workMs } = JSON.parse(message.content.toString());
  appendFileSync(RECORD_FILE, `taken ${id}\n`);
  await delay(workMs);
  appendFileSync(RECORD_FILE, `done ${id}\n`);
  channel.ack(message);
}

const { consumerTag } = await channel.consume(QUEUE, (message) => {
  if (message === null) throw new Error(`queue ${QUEUE} was deleted`);
  inHand = work(message);
});
await stopped;
await channel.cancel(consumerTag);
await inHand;
// Closing in order also flushes the last acknowledgement.
await channel.close();
await connection.close();
