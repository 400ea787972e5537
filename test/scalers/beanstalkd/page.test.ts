import { readdirSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, it } from 'vitest';
import { parse } from 'yaml';
import { beanstalkd } from '../../../examples/beanstalkd/index.ts';

const root = resolve(import.meta.dirname, '../../..');
const example = resolve(root, 'examples/beanstalkd');
const sources = readdirSync(example).filter((name) => name.endsWith('.ts'));
const read = (path: string): string => readFileSync(path, 'utf8');
const squeezed = (text: string): string => text.replaceAll(/\s+/g, ' ').trim();

it('every snippet of the page is in the example, or in its conformance test', () => {
  const files = [...sources.map((name) => resolve(example, name)), resolve(import.meta.dirname, 'conformance.test.ts')];
  const texts = files.map((file) => squeezed(read(file)));
  const snippets = [...read(resolve(root, 'docs/adding-a-scaler.md')).matchAll(/^```ts\n([\s\S]*?)^```$/gm)];
  expect(snippets.length).toBeGreaterThan(8);
  for (const [, snippet = ''] of snippets)
    expect(
      texts.some((text) => text.includes(squeezed(snippet))),
      snippet,
    ).toBe(true);
});

it('the scaler has at most 130 lines', () => {
  const lines = sources.map((name) => read(resolve(example, name)).trimEnd().split('\n').length);
  expect(lines.reduce((sum, count) => sum + count, 0)).toBeLessThanOrEqual(130);
});

it('the ScaledObject beside it names a trigger that binds', () => {
  const { spec } = parse(read(resolve(example, 'scaledobject.yaml'))) as {
    readonly spec: { readonly triggers: readonly [{ readonly metadata: Readonly<Record<string, string>> }] };
  };
  const bound = beanstalkd.bind(spec.triggers[0].metadata, {});
  expect(bound).toMatchObject({ broker: { label: 'beanstalkd://beanstalkd.queues:11300' }, question: { subject: 'tube mails' } });
});
