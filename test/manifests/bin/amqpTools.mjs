/**
 * The three programs of Debian's amqp-tools that the lab uses, with the options that it uses, so that its manifests run where the
 * package is not installed. As there, a message is acknowledged when its command has ended well, and goes back when the consumer ends.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { connect } from 'amqplib';

const [program, ...args] = process.argv.slice(2);
const { values, positionals } = parseArgs({
  args,
  allowPositionals: true,
  options: {
    url: { type: 'string' },
    queue: { type: 'string', short: 'q' },
    'routing-key': { type: 'string', short: 'r' },
    body: { type: 'string', short: 'b' },
    'prefetch-count': { type: 'string', short: 'p' },
    durable: { type: 'boolean' },
    persistent: { type: 'boolean' },
  },
});
const connection = await connect(values.url);

if (program === 'amqp-declare-queue') {
  const channel = await connection.createChannel();
  await channel.assertQueue(values.queue, { durable: values.durable === true });
  await connection.close();
} else if (program === 'amqp-publish') {
  const channel = await connection.createConfirmChannel();
  channel.publish('', values['routing-key'], Buffer.from(values.body), { persistent: values.persistent === true });
  await channel.waitForConfirms();
  await connection.close();
} else {
  const channel = await connection.createChannel();
  await channel.prefetch(Number(values['prefetch-count']));
  const [command, ...rest] = positionals;
  await channel.consume(values.queue, async (message) => {
    const child = spawn(command, rest, { stdio: ['pipe', 'inherit', 'inherit'] });
    child.stdin.end(message.content);
    const [code] = await once(child, 'exit');
    if (code === 0) channel.ack(message);
    else channel.nack(message);
  });
}
