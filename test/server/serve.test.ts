import { afterEach, describe, expect, it } from 'vitest';
import packageJson from '../../package.json' with { type: 'json' };
import { envOf, flagOf, readSettings, SERVE_SETTINGS, UsageError } from '../../src/settings.ts';
import { VERSION } from '../../src/version.ts';
import { get, startScalerProcess, type ScalerProcess } from '../bed/scaler.ts';

let running: ScalerProcess | undefined;
afterEach(async () => {
  await running?.close();
  running = undefined;
});

describe('queue-scaler serve', () => {
  it('says what it bound, answers probes, and ends on SIGTERM with code 0', async () => {
    running = await startScalerProcess();
    expect(running.grpc).toMatch(/^127\.0\.0\.1:[1-9]\d*$/);
    expect(await get(running.http, '/livez')).toEqual({ code: 200, text: 'ok\n' });
    expect((await get(running.http, '/readyz')).code).toBe(200);
    expect((await get(running.http, '/metrics')).text).toContain(`queue_scaler_build_info{version="${VERSION}"} 1`);

    const startedAt = performance.now();
    expect(await running.stop()).toBe(0);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    expect(running.log.map((line) => (JSON.parse(line) as { msg: string }).msg)).toEqual([
      expect.stringContaining('gRPC is plain') as string,
      'serving',
      'ending',
      'ended',
    ]);
  });

  it('takes a flag before the environment', async () => {
    running = await startScalerProcess(['--grpc-address', '[::1]:0'], { QUEUE_SCALER_HTTP_ADDRESS: '127.0.0.2:0' });
    expect(running.grpc).toMatch(/^\[::1\]:\d+$/);
    expect(running.http).toMatch(/^127\.0\.0\.2:\d+$/);
  });

  it('tells all bad settings at once, with code 2', async () => {
    await expect(startScalerProcess(['--grpc-address', 'nowhere', '--log-level', 'loud'])).rejects.toThrow(
      /ended with 2.*--grpc-address must be an address.*--log-level must be one of debug, info, warn, error, not "loud"/s,
    );
  });
});

describe('the table of settings', () => {
  it('takes a flag before a variable and a variable before the default', () => {
    const env = { QUEUE_SCALER_GRPC_ADDRESS: '[::1]:7000', QUEUE_SCALER_LOG_LEVEL: '', QUEUE_SCALER_HTTP_ADDRESS: ':1' };
    expect(readSettings(SERVE_SETTINGS, { httpAddress: '127.0.0.1:2' }, env)).toMatchObject({
      grpcAddress: '[::1]:7000',
      httpAddress: '127.0.0.1:2',
      logLevel: 'info',
      shutdownGrace: 5_000,
    });
  });

  it('lists every fault with its source', () => {
    const read = (): unknown => readSettings(SERVE_SETTINGS, { shutdownGrace: '-1' }, { QUEUE_SCALER_KUBERNETES: 'maybe' });
    expect(read).toThrow(UsageError);
    expect(read).toThrow(/QUEUE_SCALER_KUBERNETES must be one of auto, off, not "maybe"\n--shutdown-grace must be a duration/);
  });

  it('uses no variable that Kubernetes makes for a Service named queue-scaler', () => {
    for (const name of Object.keys(SERVE_SETTINGS)) expect(envOf(name)).not.toMatch(/^QUEUE_SCALER_(PORT|SERVICE_)/);
  });

  it('has defaults that its own schemas take', () => {
    expect(() => readSettings(SERVE_SETTINGS, {}, {})).not.toThrow();
    expect(flagOf('grpcAddress')).toBe('--grpc-address');
  });
});

it('the version in the code is the package’s', () => {
  expect(VERSION).toBe(packageJson.version);
});
