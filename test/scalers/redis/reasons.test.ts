/** What real servers say when they cannot answer, each told as what it is. */
import { afterEach, expect, it } from 'vitest';
import { startRedis, type RedisOptions, type RedisServer } from '../../bed/redis.ts';
import { until } from '../../bed/until.ts';
import { createAsker } from './ask.ts';

const asker = createAsker();
const servers: RedisServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

async function start(options: RedisOptions = {}): Promise<RedisServer> {
  const server = await startRedis(options);
  servers.push(server);
  return server;
}
async function codeOf(server: RedisServer, more: Readonly<Record<string, string>> = {}): Promise<string> {
  const metadata = { scaler: 'redis', address: `127.0.0.1:${server.port}`, listName: 'q', ...more };
  return asker.ask(metadata).then(
    ({ decision }) => `value ${decision.value}`,
    (error: unknown) => (error as { code: string }).code,
  );
}

it('a server that still loads its data is told to be loading, never empty', async () => {
  // Each key takes so many microseconds to load, and commands are looked at between them.
  const config = { 'key-load-delay': '50000', 'loading-process-events-interval-bytes': '1024', rdbcompression: 'no' };
  const server = await start({ config });
  await server.call('RPUSH', 'q', 'a', 'b');
  for (let index = 0; index < 20; index++) await server.call('SET', `filler:${index}`, 'x'.repeat(2_000));
  await server.call('SAVE');
  await server.stop();
  const started = server.start();
  const told = new Set<string>();
  await until('the data is loaded', async () => {
    const said = await codeOf(server);
    told.add(said);
    return said === 'value 2';
  });
  await started;
  expect([...told].filter((said) => said !== 'BROKER_UNREACHABLE' && said !== 'BROKER_TIMEOUT')).toEqual([
    'BROKER_LOADING',
    'value 2',
  ]);
});

it('a cluster of which nobody serves the slot is told to be down, not empty', async () => {
  const node = await start({ config: { 'cluster-enabled': 'yes' } });
  const metadata = { scaler: 'redis-cluster', address: `127.0.0.1:${node.port}`, listName: 'q' };
  const error = await asker.refusal(metadata);
  expect(error).toMatchObject({ code: 'BROKER_CLUSTER_DOWN' });
  expect(error.message).toContain('slot');
});

it('a server whose memory is used up is still read, as reading takes none', async () => {
  const server = await start();
  await server.call('RPUSH', 'q', 'a');
  await server.call('CONFIG', 'SET', 'maxmemory', 1);
  await expect(server.call('RPUSH', 'q', 'b')).rejects.toThrow('OOM');
  expect(await codeOf(server)).toBe('value 1');
});

it('a server that is busy with a script is told to be busy', async () => {
  const server = await start({ config: { 'busy-reply-threshold': '100' } });
  const script = server.call('EVAL', "while true do redis.call('PING') end", 0).catch(() => undefined);
  await until('busy', async () => (await codeOf(server)) === 'BROKER_BUSY');
  await server.call('SCRIPT', 'KILL');
  await script;
  expect(await codeOf(server)).toBe('value 0');
});

it.each([
  ['no password', {}, 'BROKER_REFUSED'],
  ['a wrong password', { password: 'wrong' }, 'BROKER_REFUSED'],
  ['a user who may do nothing', { username: 'poor', password: 'poor' }, 'BROKER_FORBIDDEN'],
  ['a key of another type', { password: 'right', listName: 'text' }, 'QUEUE_WRONG_TYPE'],
])('%s is told as %s', async (_name, more, code) => {
  const server = await start({ password: 'right' });
  await server.call('SET', 'text', 'x');
  await server.call('ACL', 'SETUSER', 'poor', 'on', '>poor', '~*');
  expect(await codeOf(server, more)).toBe(code);
});
