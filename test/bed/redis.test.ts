import { describe, expect, it } from 'vitest';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import { startRedis } from './redis.ts';
import { startRedisCluster } from './redisCluster.ts';
import { startSentinelSet } from './redisSentinel.ts';
import { until } from './until.ts';

describe('a private Redis', () => {
  it('keeps port and data over a kill when persistent, answers nothing while paused, and leaves nothing', async () => {
    const server = await startRedis({ persistent: true, password: 'p@ss' });
    try {
      await server.call('RPUSH', 'q', 'a', 'b');
      await server.kill();
      await expect(server.call('PING')).rejects.toThrow();
      await server.start();
      expect(await server.call('LLEN', 'q')).toBe(2);
      server.pause();
      const ping = server.call('PING');
      const first = await Promise.race([ping, new Promise((resolve) => setTimeout(resolve, 200, 'silence'))]);
      server.resume();
      expect([first, await ping]).toEqual(['silence', 'PONG']);
      expect(server.cpuMs()).toBeGreaterThanOrEqual(0);
    } finally {
      await server.close();
    }
    expect(existsSync(`/proc/${server.pid}`)).toBe(false);
    await server.close();
  });

  it('ends when the process that started it is killed', async () => {
    const script = `
      import { startRedis } from './test/bed/redis.ts';
      const server = await startRedis();
      console.log(server.pid);
      process.kill(process.pid, 'SIGKILL');`;
    const run = promisify(execFile)(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script]);
    const failure = (await run.catch((error: unknown) => error)) as { stdout: string };
    const pid = Number(failure.stdout.trim());
    expect(pid).toBeGreaterThan(0);
    await until('the server is gone', () => !existsSync(`/proc/${pid}`));
  });
});

describe('a private Sentinel set', () => {
  it('promotes a replica when its primary is killed', async () => {
    const set = await startSentinelSet({ password: 'data', sentinelPassword: 'watch' });
    try {
      const primary = await set.primary();
      await primary.call('SET', 'k', 'v');
      await primary.call('WAIT', 2, 5_000);
      await primary.kill();
      const next = await set.failedOver(primary);
      expect(await next.call('GET', 'k')).toBe('v');
    } finally {
      await set.close();
    }
  });
});

describe('a private cluster', () => {
  it('serves all slots from three primaries, and a replica takes over from a killed one', async () => {
    const cluster = await startRedisCluster();
    try {
      const owner = await cluster.ownerOf(0);
      await owner.kill();
      await until('another node owns slot 0', async () => (await cluster.ownerOf(0)).port !== owner.port, { deadlineMs: 20_000 });
    } finally {
      await cluster.close();
    }
  });
});
