/** A private server and somebody who asks it, for all tests of a file; the server is empty when a test begins. */
import { afterAll, beforeAll, beforeEach } from 'vitest';
import { startRedis, type RedisOptions, type RedisServer } from '../../bed/redis.ts';
import { createAsker, type Asker } from './ask.ts';

export interface RedisBed {
  readonly server: RedisServer;
  readonly asker: Asker;
  /** `host:port` of the server. */
  readonly address: string;
}

/** To be called once, at the top of a test file. */
export function redisBed(options: RedisOptions = {}): RedisBed {
  let server: RedisServer | undefined;
  let asker: Asker | undefined;
  beforeAll(async () => {
    server = await startRedis(options);
    asker = createAsker();
  });
  afterAll(async () => {
    await asker?.close();
    await server?.close();
  });
  beforeEach(() => bed.server.call('FLUSHALL'));
  const bed: RedisBed = {
    get server() {
      if (server === undefined) throw new Error('the bed is made when the tests begin');
      return server;
    },
    get asker() {
      if (asker === undefined) throw new Error('the bed is made when the tests begin');
      return asker;
    },
    get address() {
      return `127.0.0.1:${bed.server.port}`;
    },
  };
  return bed;
}
