import { expect, it } from 'vitest';
import { beanstalkd } from '../../../examples/beanstalkd/index.ts';
import { parseManifests } from '../../../src/auth/files.ts';
import { createResolver } from '../../../src/auth/resolver.ts';
import { endpointKeysOf } from '../../../src/scalers/registry.ts';

/** The parameters that a trigger in namespace shop gets, whose client certificate is kept in namespace keda. */
async function resolve(server: string, allowedHosts: string): Promise<Readonly<Record<string, string>>> {
  const metadata = { scaler: 'beanstalkd', tube: 'mails', value: '5', server };
  const manifests = [
    {
      apiVersion: 'keda.sh/v1alpha1',
      kind: 'ScaledObject',
      metadata: { name: 'mailer', namespace: 'shop' },
      spec: {
        scaleTargetRef: { name: 'mailer' },
        triggers: [{ type: 'external', metadata, authenticationRef: { name: 'shared', kind: 'ClusterTriggerAuthentication' } }],
      },
    },
    {
      apiVersion: 'keda.sh/v1alpha1',
      kind: 'ClusterTriggerAuthentication',
      metadata: { name: 'shared', annotations: { 'keda-queue-scaler/allowed-hosts': allowedHosts } },
      spec: { secretTargetRef: [{ parameter: 'key', name: 'client', key: 'tls.key' }] },
    },
    { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'client', namespace: 'keda' }, stringData: { 'tls.key': 'pem' } },
  ];
  const { reader, faults } = parseManifests('test', manifests.map((object) => JSON.stringify(object)).join('\n---\n'));
  expect(faults).toEqual([]);
  const resolver = createResolver({ reader, endpointKeysOf: (given) => endpointKeysOf(given, [beanstalkd]) });
  const reference = { namespace: 'shop', name: 'mailer', metadata };
  return (await resolver.resolve(reference, AbortSignal.timeout(1_000))).parameters;
}

it.each(['evil:11300', 'beanstalkd.keda:11300,evil:11300'])(
  'another namespace’s certificate is not shown to %s, which the trigger names as its server',
  async (server) => {
    await expect(resolve(server, 'beanstalkd.keda')).rejects.toMatchObject({
      code: 'NOT_ALLOWED',
      message: expect.stringContaining('the server that the trigger names') as string,
    });
  },
);

it('and is to servers that an administrator allows', async () => {
  expect(await resolve('beanstalkd.keda:11300', 'beanstalkd.keda')).toEqual({ key: 'pem' });
});
