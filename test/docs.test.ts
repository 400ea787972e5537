import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { pages, withTables } from '../docs/generate.ts';
import { checkFiles } from '../src/cli/check/check.ts';
import { loadKnownScalers } from '../src/cli/knownScalers.ts';
import { parseObjects } from '../src/yaml/objects.ts';
import { SCALERS } from '../src/scalers/registry.ts';

const scalers = await loadKnownScalers();
const texts = new Map(pages().map((page) => [page, readFileSync(page, 'utf8')]));

test('every reference table is what the code says; `npm run docs` mends it', async () => {
  for (const [page, text] of texts) expect(await withTables(text), page).toBe(text);
});

test('the errors have their table, and every scaler its page with the parts that readers of keda.sh know', () => {
  expect([...texts.values()].join('\n')).toContain('<!-- table:errors -->');
  for (const { type } of SCALERS) {
    const [, text = ''] = [...texts].find(([page]) => page.endsWith(`/scalers/${type}.md`)) ?? [];
    const parts = ['specification', 'parameters', 'authentication', 'example'];
    expect(
      parts.filter((part) => !text.includes(`<!-- table:${part}:${type} -->`)),
      type,
    ).toEqual([]);
    expect(text, type).toMatch(/^## Differences from KEDA/m);
  }
});

test('every trigger that a page shows passes check, and names this scaler’s Service', () => {
  const service = parse(readFileSync(new URL('../manifests/base/service.yaml', import.meta.url), 'utf8')) as {
    metadata: { name: string };
  };
  const wrong: string[] = [];
  let shown = 0;
  for (const [page, text] of texts) {
    for (const [, block = ''] of text.matchAll(/^```yaml\n([\s\S]*?)^```$/gm)) {
      const whole = block.startsWith('triggers:')
        ? `apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: { name: x }\nspec:\n  scaleTargetRef: { name: y }\n${block.replaceAll(/^/gm, '  ')}`
        : block;
      if (!/^kind: Scaled/m.test(whole)) continue;
      shown++;
      const { findings } = checkFiles([parseObjects(page, whole)], scalers);
      wrong.push(...findings.filter(({ severity }) => severity === 'error').map(({ message }) => `${page}: ${message}`));
      for (const [, host = ''] of whole.matchAll(/scalerAddress: ([^.:]+)/g))
        if (host !== service.metadata.name) wrong.push(`${page}: ${host} is not this scaler’s Service`);
    }
  }
  expect(wrong).toEqual([]);
  expect(shown).toBeGreaterThan(SCALERS.length);
});
