import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { startApiServer } from '../auth/apiServer.ts';
import { runControlPlane } from '../auth/controlPlane.ts';
import { freePort } from '../bed/ports.ts';

const RUN = fileURLToPath(new URL('../../e2e/run.ts', import.meta.url));
/** The control plane's HPA syncs so much more often than the 15 s of a cluster. */
const SPEED = 20;

describe('the end-to-end test', () => {
  it('runs whole against a control plane without nodes, with the rights of the manifests alone, and leaves nothing in it', async () => {
    const api = await startApiServer([], { keda: true });
    const controlPlane = runControlPlane(api, { hpaSyncMs: 15_000 / SPEED });
    try {
      const args = ['--scaler-address', `127.0.0.1:${await freePort()}`, '--speed', String(SPEED)];
      const child = spawn(process.execPath, ['--import', 'tsx', RUN, ...args], {
        env: { ...process.env, KUBECONFIG: api.adminKubeconfig },
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
      const output = await text(child.stdout);
      expect(output).toMatch(/\nPASSED\n$/);
      expect(await ended).toBe(0);
      for (const name of ['rabbitmq-external', 'rabbitmq-external-push', 'redis-external', 'redis-external-push'])
        expect(output).toContain(`\n## ${name}\n`);
      expect(output.match(/^ok {2}/gm)).toHaveLength(4 * 12);
      for (const resource of ['namespaces', 'scaledobjects', 'secrets', 'clusterroles', 'clusterrolebindings'])
        expect(api.store.list(resource, undefined), resource).toEqual([]);
      expect(api.requests.filter(({ status }) => status === 403)).toEqual([]);
    } finally {
      await controlPlane.close();
      await api.close();
    }
  });
});
