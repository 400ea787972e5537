import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { render, type Rendered } from './kustomize.ts';
import { deployment, faultsOf } from './schemas.ts';

const root = resolve(import.meta.dirname, '../../manifests');
const folders = ['base', 'monitoring', ...readdirSync(join(root, 'overlays')).map((name) => join('overlays', name))];
const hasKubectl = spawnSync('kubectl', ['kustomize', join(root, 'base')]).status === 0;

type Fields = Readonly<Record<string, unknown>>;
const at = (value: unknown, ...path: readonly (string | number)[]): unknown =>
  path.reduce<unknown>((inner, key) => (inner as Fields | undefined)?.[key], value);
const keyOf = ({ kind, metadata }: Rendered): string => `${kind} ${metadata.name}`;
const sorted = (objects: readonly Rendered[]): Rendered[] => [...objects].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));

function rendered(folder: string): { readonly objects: Rendered[]; readonly of: (kind: string) => Rendered[] } {
  const objects = render(join(root, folder));
  return { objects, of: (kind) => objects.filter((object) => object.kind === kind) };
}

describe.each(folders)('kubectl apply -k manifests/%s', (folder) => {
  const { objects } = rendered(folder);

  it.runIf(hasKubectl)('renders as kubectl does', () => {
    const { stdout } = spawnSync('kubectl', ['kustomize', join(root, folder)], { encoding: 'utf8' });
    const theirs = parseAllDocuments(stdout).map((document) => document.toJS() as Rendered);
    expect(sorted(objects)).toEqual(sorted(theirs));
  });

  it('renders objects of known fields, each once, in one namespace', () => {
    expect(objects.flatMap(faultsOf)).toEqual([]);
    expect(new Set(objects.map(keyOf)).size).toBe(objects.length);
    expect([...new Set(objects.map(({ metadata }) => metadata.namespace))].filter((name) => name !== undefined)).toEqual([
      'keda',
    ]);
  });
});

describe.each(folders.filter((folder) => folder !== 'monitoring'))('kubectl apply -k manifests/%s', (folder) => {
  const { of } = rendered(folder);

  it('renders objects that find each other', () => {
    const [pods] = of('Deployment').map((object) => deployment.parse(object).spec);
    const labels = pods?.template.metadata?.labels ?? {};
    const selectors = [
      at(of('Service')[0], 'spec', 'selector'),
      at(of('PodDisruptionBudget')[0], 'spec', 'selector', 'matchLabels'),
      at(of('NetworkPolicy')[0], 'spec', 'podSelector', 'matchLabels'),
      pods?.selector.matchLabels,
    ];
    for (const selector of selectors) expect(labels).toMatchObject(selector as Fields);
    for (const monitor of of('ServiceMonitor'))
      expect(at(of('Service')[0], 'metadata', 'labels')).toMatchObject(at(monitor, 'spec', 'selector', 'matchLabels') as Fields);

    const pod = pods?.template.spec;
    expect(of('ServiceAccount').map(({ metadata }) => metadata.name)).toEqual([pod?.serviceAccountName]);
    for (const binding of of('ClusterRoleBinding')) {
      expect(of('ClusterRole').map(({ metadata }) => metadata.name)).toContain(at(binding, 'roleRef', 'name'));
      expect(at(binding, 'subjects', 0)).toMatchObject({ name: pod?.serviceAccountName, namespace: 'keda' });
    }
    const ports = pod?.containers[0]?.ports?.map(({ name }) => name);
    const probes = [pod?.containers[0]?.startupProbe, pod?.containers[0]?.livenessProbe, pod?.containers[0]?.readinessProbe];
    for (const probe of probes) expect(ports).toContain(probe?.httpGet.port);
    const secrets = pod?.volumes?.map(({ secret }) => secret?.secretName) ?? [];
    expect(of('Certificate').map((certificate) => at(certificate, 'spec', 'secretName'))).toEqual(
      expect.arrayContaining(secrets),
    );
    const issuers = of('Issuer').map(({ metadata }) => metadata.name);
    for (const certificate of of('Certificate')) expect(issuers).toContain(at(certificate, 'spec', 'issuerRef', 'name'));
    expect(pod?.containers[0]?.image).toMatch(/^keda-queue-scaler:\d/);
  });
});

describe.each(folders.filter((folder) => folder.includes('tls')))('kubectl apply -k manifests/%s', (folder) => {
  const { of } = rendered(folder);

  it('shows KEDA a certificate for the name it calls, and takes only the one it shows', () => {
    const [container] = deployment.parse(of('Deployment')[0]).spec.template.spec.containers;
    const variable = (name: string): string | undefined => container?.env?.find((each) => each.name === name)?.value;
    const names = (secret: string): unknown =>
      at(
        of('Certificate').find((each) => at(each, 'spec', 'secretName') === secret),
        'spec',
        'dnsNames',
      );
    expect(names('keda-queue-scaler-tls')).toContain('keda-queue-scaler.keda.svc.cluster.local');
    expect(names('keda-queue-scaler-client')).toEqual([variable('QUEUE_SCALER_TLS_CLIENT_NAMES')]);
    for (const name of ['QUEUE_SCALER_TLS_CERT', 'QUEUE_SCALER_TLS_KEY', 'QUEUE_SCALER_TLS_CLIENT_CA'])
      expect(variable(name)).toMatch(/^\/certificates\//);
    // What the base sets stays.
    expect(variable('NODE_OPTIONS')).toContain('--max-old-space-size');
  });
});
