import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { manifestsIn, readManifests } from '../../src/auth/files.ts';
import { parseObjects } from '../../src/yaml/objects.ts';

const manifestsOf = (file: string, text: string) => manifestsIn([parseObjects(file, text)]);

const scaledObject = `apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: orders
  namespace: shop
spec:
  scaleTargetRef:
    name: orders-worker
  triggers:
    - type: external-push
      metadata:
        scaler: rabbitmq
        value: "20"
`;

describe('manifest files', () => {
  it('give every known object by kind and name, in the default namespace where none is written', async () => {
    const { manifests, faults, of, reader } = manifestsOf(
      'all.yaml',
      `${scaledObject}---\napiVersion: v1\nkind: Secret\nmetadata: {name: rabbit}\ndata: {a: YQ==}\nstringData: {b: b}\n---\n---\n`,
    );
    expect(faults).toEqual([]);
    expect(manifests.map(({ kind, namespace, name }) => [kind, namespace, name])).toEqual([
      ['ScaledObject', 'shop', 'orders'],
      ['Secret', 'default', 'rabbit'],
    ]);
    expect(of('ScaledObject')[0]?.object.spec.scaleTargetRef.name).toBe('orders-worker');
    const signal = AbortSignal.timeout(1000);
    expect((await reader.get('Secret', 'default', 'rabbit', { signal }))?.data).toEqual({ a: 'YQ==' });
    expect(await reader.get('Secret', 'shop', 'rabbit', { signal })).toBeUndefined();
  });

  it('take the items of a List as objects of their own, with their own places', () => {
    const items = scaledObject.split('\n').map((line) => `    ${line}`);
    const { manifests, faults } = manifestsOf(
      'list.yaml',
      `apiVersion: v1\nkind: List\nitems:\n  - ${items.join('\n').trimStart()}`,
    );
    expect(faults).toEqual([]);
    expect(manifests[0]?.positionOf(['spec', 'triggers', 0, 'type'])).toEqual({ file: 'list.yaml', line: 13, column: 17 });
  });

  it('tell line and column of a field, and of its nearest parent where the field is absent', () => {
    const [manifest] = manifestsOf('so.yaml', scaledObject).manifests;
    expect(manifest?.positionOf(['spec', 'triggers', 0, 'metadata', 'value'])).toEqual({ file: 'so.yaml', line: 13, column: 16 });
    expect(manifest?.positionOf(['spec', 'triggers', 0, 'metadata', 'absent'])).toEqual({ file: 'so.yaml', line: 12, column: 9 });
  });

  it('refuse a misspelt field, an unquoted number and a wrong version of a KEDA object, all at once and with their places', () => {
    const text = scaledObject
      .replace('  scaleTargetRef', '  pollInterval: 5\n  scaleTargetRef')
      .replace('"20"', '20')
      .replace('v1alpha1', 'v1alpha2');
    const { manifests, faults } = manifestsOf('bad.yaml', text);
    expect(manifests).toEqual([]);
    expect(faults.map(({ position, object, path, message }) => [position.line, object, path.join('.'), message])).toEqual([
      [1, 'ScaledObject shop/orders', 'apiVersion', 'Invalid input: expected "keda.sh/v1alpha1"'],
      [14, 'ScaledObject shop/orders', 'spec.triggers.0.metadata.value', 'must be a string: quote it'],
      [7, 'ScaledObject shop/orders', 'spec.pollInterval', 'is not a field of this object'],
    ]);
  });

  it('pass over kinds they do not know, also where another group uses a known name', () => {
    const text =
      'apiVersion: v1\nkind: Service\n---\napiVersion: example.com/v1\nkind: Secret\n---\napiVersion: serving.knative.dev/v1\nkind: Deployment\n';
    expect(manifestsOf('other.yaml', text)).toMatchObject({ manifests: [], faults: [] });
  });

  it('report broken YAML, text that is no object, an alias bomb and a second object of one name, and go on with the rest', () => {
    const bomb = `a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c]`;
    const { manifests, faults } = manifestsOf(
      'mixed.yaml',
      ['key: [1\n', 'just text\n', `kind: Secret\n${bomb}\n`, scaledObject, scaledObject].join('---\n'),
    );
    expect(manifests.map(({ name }) => name)).toEqual(['orders']);
    expect(faults.map(({ message }) => message)).toEqual([
      expect.stringContaining('Flow sequence'),
      'must be a Kubernetes object',
      expect.stringContaining('alias'),
      expect.stringMatching(/^stands a second time; the first is at mixed.yaml:\d+$/),
    ]);
  });

  it('are read from folders too, and a file that is not there is a fault', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'manifests-'));
    try {
      await writeFile(join(folder, 'b.yaml'), scaledObject);
      await writeFile(join(folder, 'notes.txt'), 'not: yaml');
      const { manifests, faults } = await readManifests([folder, join(folder, 'absent.yaml')]);
      expect(manifests.map(({ name }) => name)).toEqual(['orders']);
      expect(faults).toHaveLength(1);
      expect(faults[0]?.message).toContain('ENOENT');
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
