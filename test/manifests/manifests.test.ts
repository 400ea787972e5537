import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { readManifests } from '../../src/auth/files.ts';
import { checkFiles } from '../../src/cli/check/check.ts';
import { loadKnownScalers } from '../../src/cli/knownScalers.ts';
import { readYamlFiles } from '../../src/yaml/files.ts';
import { SCALERS } from '../../src/scalers/registry.ts';
import { envOf, SERVE_SETTINGS } from '../../src/settings.ts';
import { rulesIn, BASE_RBAC } from '../auth/rbac.ts';
import { deployment, faultsOf, kustomization } from './schemas.ts';

const root = resolve(import.meta.dirname, '../../manifests');
const examples = join(root, 'examples');
const files = readdirSync(root, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.yaml'))
  .map((name) => join(root, name));
const documentsOf = (file: string): unknown[] =>
  parseAllDocuments(readFileSync(file, 'utf8')).map((document) => {
    expect(document.errors, file).toEqual([]);
    return document.toJS() as unknown;
  });

describe('the manifests', () => {
  const isPatch = (file: string): boolean => file.endsWith(join('overlays', 'tls', 'deployment.yaml'));
  const plain = files.filter((file) => !file.endsWith('kustomization.yaml') && !isPatch(file));

  it.each(plain.map((file) => [relative(root, file), file]))('%s holds only objects of known fields', (_, file) => {
    expect(documentsOf(file).flatMap(faultsOf)).toEqual([]);
  });

  it.each(files.filter((file) => file.endsWith('kustomization.yaml')).map((file) => [relative(root, file), file]))(
    '%s names files that exist, and every file beside it',
    (_, file) => {
      const { resources, patches = [] } = kustomization.parse(documentsOf(file)[0]);
      const named = [...resources, ...patches.map(({ path }) => path)].map((path) => resolve(dirname(file), path));
      expect(named.filter((path) => !existsSync(path))).toEqual([]);
      const beside = files.filter((other) => dirname(other) === dirname(file) && other !== file);
      expect(beside.filter((other) => !named.includes(other))).toEqual([]);
    },
  );

  it('run the scaler without root, with a read-only disk, twice, and set only settings that exist', () => {
    const [base] = documentsOf(join(root, 'base/deployment.yaml'));
    const { replicas, template } = deployment.parse(base).spec;
    expect(replicas).toBe(2);
    expect(template.spec.securityContext?.runAsNonRoot).toBe(true);
    const [container] = template.spec.containers;
    expect(container?.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
    const known = Object.keys(SERVE_SETTINGS).map(envOf);
    const patch = readFileSync(join(root, 'overlays/tls/deployment.yaml'), 'utf8');
    const used = `${JSON.stringify(base)} ${patch}`.match(/QUEUE_SCALER_[A-Z_]+/g) ?? [];
    expect(used.length).toBeGreaterThan(3);
    expect(used.filter((name) => !known.includes(name))).toEqual([]);
  });

  it('ask for no right to list or watch Secrets, nor to write anything but events', async () => {
    const rules = await rulesIn(BASE_RBAC);
    const writing = rules.filter(({ verbs }) => verbs.some((verb) => !['get', 'list', 'watch'].includes(verb)));
    expect(writing).toEqual([{ apiGroups: [''], resources: ['events'], verbs: ['create', 'patch'] }]);
    const ofSecrets = rules.filter(({ resources }) => resources.includes('secrets') || resources.includes('*'));
    expect(ofSecrets.map(({ verbs }) => verbs)).toEqual([['get']]);
  });
});

describe('the examples', () => {
  it('have triggers that our own parser takes, and name only authentication that stands in the same file', async () => {
    const scalers = new Map(SCALERS.map((scaler) => [scaler.type, scaler]));
    const seen = new Set<string>();
    for (const file of files.filter((each) => each.startsWith(examples))) {
      const { of, faults } = await readManifests([file]);
      expect(faults, file).toEqual([]);
      for (const { object } of [...of('ScaledObject'), ...of('ScaledJob')]) {
        for (const { metadata, authenticationRef } of object.spec.triggers) {
          const scaler = scalers.get(metadata['scaler'] ?? '');
          expect(scaler, `${file}: ${metadata['scaler'] ?? ''}`).toBeDefined();
          // KEDA puts the variable's value in place of its name.
          const forwarded = Object.entries(metadata).map(([key, value]) => [
            key,
            key === 'hostFromEnv' ? 'amqp://broker' : value,
          ]);
          const given = Object.fromEntries(forwarded) as Record<string, string>;
          expect(() => scaler?.spec(given, authenticationRef === undefined ? 'none' : 'later'), file).not.toThrow();
          seen.add(scaler?.type ?? '');
          if (authenticationRef === undefined) continue;
          const kind =
            authenticationRef.kind === 'ClusterTriggerAuthentication' ? authenticationRef.kind : 'TriggerAuthentication';
          expect(
            of(kind).map(({ name }) => name),
            file,
          ).toContain(authenticationRef.name);
        }
      }
    }
    expect([...scalers.keys()].filter((type) => !seen.has(type))).toEqual([]);
  });

  it('have nothing that check warns of', async () => {
    const folders = readdirSync(examples, { withFileTypes: true });
    const paths = folders.flatMap((entry) =>
      entry.isDirectory() || entry.name.endsWith('.yaml') ? [join(examples, entry.name)] : [],
    );
    const warnings: string[] = [];
    for (const path of paths) {
      const { findings } = checkFiles(await readYamlFiles([path], process.stdin), await loadKnownScalers());
      for (const { severity, rule, position } of findings)
        if (severity !== 'note') warnings.push(`${relative(examples, position.file)} ${rule}`);
    }
    expect(paths.length).toBeGreaterThan(10);
    expect(warnings).toEqual([]);
  });

  it('show every source of authentication that the scaler reads', async () => {
    const { of } = await readManifests([examples]);
    const specs = [...of('TriggerAuthentication'), ...of('ClusterTriggerAuthentication')].map(({ object }) => object.spec);
    const sources = [
      'secretTargetRef',
      'configMapTargetRef',
      'env',
      'filePath',
      'hashiCorpVault',
      'boundServiceAccountToken',
      'oauth2',
    ] as const;
    for (const source of sources) {
      expect(
        specs.some((spec) => spec[source] !== undefined),
        source,
      ).toBe(true);
    }
  });
});
