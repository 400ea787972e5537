import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { pages, withTables } from '../docs/generate.ts';
import { SCALERS } from '../src/scalers/registry.ts';

const texts = new Map(pages().map((page) => [page, readFileSync(page, 'utf8')]));

test('every reference table is what the code says; `npm run docs` mends it', async () => {
  for (const [page, text] of texts) expect(await withTables(text), page).toBe(text);
});

test('every scaler’s keys and the errors have their table', () => {
  const all = [...texts.values()].join('\n');
  const missing = [...SCALERS.map(({ type }) => `keys:${type}`), 'errors'].filter(
    (name) => !all.includes(`<!-- table:${name} -->`),
  );
  expect(missing).toEqual([]);
});
