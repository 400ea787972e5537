import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { startApiServer } from './apiServer.ts';

const RUN = fileURLToPath(new URL('../../e2e/run.ts', import.meta.url));

/** Two processes start one after the other, each loading the Kubernetes client. */
const START_TIMEOUT_MS = 90_000;

async function run(kubeconfig: string): Promise<{ readonly code: number | null; readonly output: string }> {
  const child = spawn(process.execPath, ['--import', 'tsx', RUN], {
    env: { ...process.env, KUBECONFIG: kubeconfig },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const code = new Promise<number | null>((resolve) => child.once('close', resolve));
  return { output: await text(child.stdout), code: await code };
}

describe('the end-to-end test', { timeout: START_TIMEOUT_MS }, () => {
  it('says loudly that it tested nothing where there is no cluster', async () => {
    expect(await run('')).toMatchObject({ code: 0, output: expect.stringContaining('SKIPPED') as string });
  });

  it('fails where the cluster has no KEDA, saying so, before it changes anything', async () => {
    const api = await startApiServer([]);
    try {
      expect(await run(api.kubeconfig)).toMatchObject({ code: 1, output: expect.stringContaining('has no KEDA') as string });
      expect(api.requests.filter(({ verb }) => verb === 'create')).toEqual([]);
    } finally {
      await api.close();
    }
  });
});
