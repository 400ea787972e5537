import { describe } from 'vitest';
import { freePort } from '../../bed/ports.ts';
import { startRedis, type RedisServer } from '../../bed/redis.ts';
import { conformance, WRONG_PASSWORD, type Conformance, type ConformanceBed } from '../conformance.ts';

const PASSWORD = 'right-s3cret-word';
const unused = await freePort();

const common: Pick<Conformance, 'defaultTarget' | 'secrets' | 'wrong' | 'maxConnections' | 'wakeMs'> = {
  defaultTarget: 5,
  secrets: [PASSWORD],
  maxConnections: 1,
  wakeMs: 1_000,
  wrong: {
    password: (trigger) => ({ ...trigger, password: WRONG_PASSWORD }),
    port: (trigger) => ({ ...trigger, address: `127.0.0.1:${unused}` }),
    tls: (trigger) => ({ ...trigger, tls: 'enable' }),
  },
};

async function bed(
  make: (server: RedisServer) => Pick<ConformanceBed, 'trigger' | 'put' | 'drain' | 'hold' | 'finish'>,
): Promise<ConformanceBed> {
  const server = await startRedis({ password: PASSWORD });
  return {
    ...make(server),
    kill: () => server.kill(),
    restart: () => server.start(),
    connections: async () =>
      String(await server.call('CLIENT', 'LIST'))
        .split('\n')
        .filter((line) => line.includes('name=keda-queue-scaler')).length,
    close: () => server.close(),
  };
}

const messages = (count: number): string[] => Array.from({ length: count }, (_, index) => `message ${index}`);
const at = (server: RedisServer): Record<string, string> => ({ address: `127.0.0.1:${server.port}`, password: PASSWORD });

describe('lists', () => {
  conformance({
    ...common,
    scaler: 'redis',
    keys: { target: 'listLength', activation: 'activationListLength' },
    start: () =>
      bed((server) => ({
        trigger: (queue) => ({ scaler: 'redis', ...at(server), listName: queue, processingListName: `${queue}:processing:*` }),
        put: async (queue, count) => {
          await server.call('RPUSH', queue, ...messages(count));
        },
        drain: async (queue) => {
          await server.call('DEL', queue);
        },
        hold: async (queue, count) => {
          for (let index = 0; index < count; index++)
            await server.call('LMOVE', queue, `${queue}:processing:worker`, 'LEFT', 'RIGHT');
        },
        finish: async (queue) => {
          await server.call('DEL', `${queue}:processing:worker`);
        },
      })),
  });
});

describe('streams', () => {
  conformance({
    ...common,
    scaler: 'redis-streams',
    keys: { target: 'lagCount', activation: 'activationLagCount' },
    start: () =>
      bed((server) => ({
        trigger: async (queue) => {
          await server.call('XGROUP', 'CREATE', queue, 'g', '0', 'MKSTREAM').catch(() => undefined);
          return { scaler: 'redis-streams', ...at(server), stream: queue, consumerGroup: 'g', lagCount: '5' };
        },
        put: async (queue, count) => {
          for (const message of messages(count)) await server.call('XADD', queue, '*', 'm', message);
        },
        drain: async (queue) => {
          await server.call('DEL', queue);
        },
        hold: async (queue, count) => {
          await server.call('XREADGROUP', 'GROUP', 'g', 'worker', 'COUNT', count, 'STREAMS', queue, '>');
        },
        finish: async (queue) => {
          const pending = (await server.call('XPENDING', queue, 'g', '-', '+', 1_000)) as [string][];
          await server.call('XACK', queue, 'g', ...pending.map(([id]) => id));
        },
      })),
  });
});
