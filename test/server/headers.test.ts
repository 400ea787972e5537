import { once } from 'node:events';
import { connect } from 'node:http2';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { expect, it } from 'vitest';
import { shareHeaders } from '../../src/server/grpc/headers.ts';
import { createMemoryBroker } from '../bed/memoryScaler.ts';
import { startScaler } from '../bed/scaler.ts';

it('finds the connections of the grpc-js that is installed, which has no interface for it', () => {
  const server = new Server();
  server.createConnectionInjector(ServerCredentials.createInsecure());
  expect(shareHeaders(server)).toBe(1);
  server.forceShutdown();
});

it('changes no call, whatever its headers say: too many values, too long ones, names of an object’s own', async () => {
  const scaler = await startScaler({ scalers: [createMemoryBroker().scaler] });
  const session = connect(`http://${scaler.grpc}`);
  const statusFor = async (agent: string): Promise<string> => {
    const stream = session.request({
      ':method': 'POST',
      ':path': '/externalscaler.ExternalScaler/GetMetricSpec',
      'content-type': 'application/grpc',
      'user-agent': agent,
    });
    // An empty reference: it has an answer, which is that a key is missing.
    stream.end(Buffer.alloc(5));
    stream.resume();
    const [headers] = (await once(stream, 'response')) as [Record<string, string>];
    return headers['grpc-status'] ?? '';
  };
  const agents = [
    '__proto__',
    'constructor',
    'toString',
    '1',
    'x'.repeat(5_000),
    ...Array.from({ length: 250 }, (_, n) => `a/${n}`),
  ];
  const statuses = [];
  for (const agent of [...agents, ...agents]) statuses.push(await statusFor(agent));
  // INVALID_ARGUMENT
  expect(new Set(statuses)).toEqual(new Set(['3']));
  expect(({} as Record<string, unknown>)['a/1']).toBeUndefined();
  session.destroy();
  await scaler.close();
});
