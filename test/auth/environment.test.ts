import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { containerOf, environmentOf, expand, type ReadValues } from '../../src/auth/environment.ts';
import type { Container } from '../../src/auth/objects.ts';

const target = 'Deployment shop/orders';
const sources: Readonly<Record<string, Record<string, string>>> = {
  'ConfigMap settings': { HOST: 'rabbit', MODE: 'fast' },
  'Secret login': { PASSWORD: 'hunter2', MODE: 'secret' },
};

function environment(container: Partial<Container>, asked: string[] = [], withheld = false) {
  const read: ReadValues = (kind, name) => {
    asked.push(`${kind} ${name}`);
    return Promise.resolve(withheld && kind === 'Secret' ? 'withheld' : sources[`${kind} ${name}`]);
  };
  return environmentOf({ name: 'worker', ...container }, target, read);
}

const fromSecret = (key: string, optional = false) => ({ secretKeyRef: { name: 'login', key, optional } });

describe('the environment of a container', () => {
  it('takes envFrom first, later sources over earlier ones, and env over both', async () => {
    const { all } = environment({
      envFrom: [
        { configMapRef: { name: 'settings' } },
        { prefix: 'R_', configMapRef: { name: 'settings' } },
        { secretRef: { name: 'login' } },
      ],
      env: [
        { name: 'HOST', value: 'other' },
        { name: 'PASS', valueFrom: fromSecret('PASSWORD') },
        { name: 'POD', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
      ],
    });
    expect(await all()).toEqual({
      HOST: 'other',
      PASS: 'hunter2',
      MODE: 'secret',
      PASSWORD: 'hunter2',
      R_HOST: 'rabbit',
      R_MODE: 'fast',
    });
  });

  it('expands $(VAR) with what stands before it, and leaves later and unknown names as they are', async () => {
    const { get } = environment({
      envFrom: [{ configMapRef: { name: 'settings' } }],
      env: [
        { name: 'USER', value: 'guest' },
        { name: 'URL', value: 'amqp://$(USER):$(PASS)@$(HOST)/$$(USER)$(NONE)/x' },
        { name: 'PASS', value: 'late' },
        { name: 'HOST', value: '$(HOST)-2' },
      ],
    });
    expect(await get('URL')).toBe('amqp://guest:$(PASS)@rabbit/$(USER)$(NONE)/x');
    expect(await get('HOST')).toBe('rabbit-2');
  });

  it('keeps an empty value and knows no variable that is not set', async () => {
    const { get } = environment({ env: [{ name: 'EMPTY', value: '' }, { name: 'BARE' }] });
    expect(await get('EMPTY')).toBe('');
    expect(await get('BARE')).toBe('');
    expect(await get('OTHER')).toBeUndefined();
  });

  it('names a Secret, ConfigMap or key that is missing, and passes over one that is optional', async () => {
    const missing = environment({
      env: [
        { name: 'A', valueFrom: { secretKeyRef: { name: 'gone', key: 'k' } } },
        { name: 'B', valueFrom: fromSecret('gone') },
        { name: 'C', valueFrom: fromSecret('gone', true) },
        { name: 'D', valueFrom: { configMapKeyRef: { name: 'gone', key: 'k', optional: true } } },
      ],
    });
    await expect(missing.get('A')).rejects.toThrow(
      'Secret gone, which container worker of Deployment shop/orders takes variables from',
    );
    await expect(missing.get('B')).rejects.toThrow(
      'variable B of container worker of Deployment shop/orders: Secret login has no key gone',
    );
    expect(await missing.get('C')).toBeUndefined();
    expect(await missing.get('D')).toBeUndefined();
  });

  it('reads nothing that the wanted variable does not depend on', async () => {
    const asked: string[] = [];
    const { get } = environment(
      {
        envFrom: [{ prefix: 'X_', secretRef: { name: 'login' } }],
        env: [
          { name: 'A', valueFrom: { secretKeyRef: { name: 'gone', key: 'k' } } },
          { name: 'B', value: 'b' },
        ],
      },
      asked,
    );
    expect(await get('B')).toBe('b');
    expect(await get('C')).toBeUndefined();
    expect(asked).toEqual([]);
  });

  it('leaves out what may not be read', async () => {
    const { all } = environment(
      { env: [{ name: 'A', valueFrom: fromSecret('PASSWORD') }], envFrom: [{ secretRef: { name: 'login' } }] },
      [],
      true,
    );
    expect(await all()).toEqual({});
  });

  it('is that of the first container unless one is named, which must exist', () => {
    const pod = { containers: [{ name: 'worker' }, { name: 'sidecar' }] };
    expect(containerOf(pod, undefined, target)?.name).toBe('worker');
    expect(containerOf(pod, 'sidecar', target)?.name).toBe('sidecar');
    expect(() => containerOf(pod, 'init', target)).toThrow('has no container init; it has worker, sidecar');
  });
});

describe('$(VAR) expansion', () => {
  const lookUp = (name: string) => Promise.resolve(name === 'A' ? 'value' : undefined);

  it.each([
    ['$(A)', 'value'],
    ['x$(A)y', 'xvaluey'],
    ['$$(A)', '$(A)'],
    ['$(B)', '$(B)'],
    ['$(A', '$(A'],
    ['a$$b-$(A)', 'a$b-value'],
    ['a$$', 'a$$'],
    ['$', '$'],
  ])('makes %s into %s', async (text, expanded) => {
    expect(await expand(text, lookUp)).toBe(expanded);
  });

  it('leaves every text without a dollar alone', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.string().map((text) => text.replaceAll('$', '')),
        async (text) => {
          expect(await expand(text, lookUp)).toBe(text);
        },
      ),
    );
  });
});
