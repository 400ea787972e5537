import { expect, it } from 'vitest';
import { endpointLabel, parseAddress } from '../../../src/scalers/rabbitmq/address.ts';
import { managementBeside } from '../../../src/scalers/rabbitmq/hosted.ts';

it.each([
  ['amqp://rabbitmq.default.svc', 'http://rabbitmq.default.svc:15672'],
  ['amqps://rabbitmq.default.svc:25671', 'https://rabbitmq.default.svc:15671'],
  ['amqps://rat.rmq2.cloudamqp.com', 'https://rat.rmq2.cloudamqp.com:443'],
  ['amqp://rat.rmq2.cloudamqp.com', 'https://rat.rmq2.cloudamqp.com:443'],
  ['amqps://b-1234.mq.eu-west-1.amazonaws.com:5671', 'https://b-1234.mq.eu-west-1.amazonaws.com:443'],
  ['amqps://b-1234.mq.cn-north-1.amazonaws.com.cn', 'https://b-1234.mq.cn-north-1.amazonaws.com.cn:443'],
  ['amqps://b-1234.mq.us-west-2.on.aws', 'https://b-1234.mq.us-west-2.on.aws:443'],
  // A broker of one's own on a machine of theirs, and names that only look like it.
  ['amqps://ec2-1-2-3-4.eu-west-1.compute.amazonaws.com', 'https://ec2-1-2-3-4.eu-west-1.compute.amazonaws.com:15671'],
  ['amqps://cloudamqp.com.example', 'https://cloudamqp.com.example:15671'],
  ['amqps://notcloudamqp.com', 'https://notcloudamqp.com:15671'],
])('beside %s the management API is looked for at %s', (host, management) => {
  const address = parseAddress(host);
  if (typeof address === 'string') throw new Error(address);
  expect(endpointLabel(managementBeside(address.endpoint))).toBe(management);
});
