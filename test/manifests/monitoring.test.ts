import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { createMetrics } from '../../src/server/metrics.ts';

const root = new URL('../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly annotations: { readonly runbook: string };
}

const rules = (parse(read('manifests/monitoring/alerts.yaml')) as { spec: { groups: { rules: Rule[] }[] } }).spec.groups.flatMap(
  (group) => group.rules,
);
const dashboard = JSON.parse(read('manifests/monitoring/dashboard.json')) as { panels: { targets: { expr: string }[] }[] };
const expressions = [
  ...rules.map(({ expr }) => expr),
  ...dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)),
];

describe('dashboard and alerts', () => {
  test('use only metrics that the program has', async () => {
    const metrics = createMetrics('0', { connections: () => 0, streams: () => 0, triggers: () => 0, watches: () => [] });
    const known = new Set((await metrics.registry.getMetricsAsJSON()).map(({ name }) => name));
    const used = expressions.flatMap((text) => text.match(/queue_scaler_\w+/g) ?? []);
    expect(used.length).toBeGreaterThan(10);
    expect(used.filter((name) => !known.has(name) && !known.has(name.replace(/_(?:bucket|sum|count)$/, '')))).toEqual([]);
  });

  test('each alert has its section in the runbooks', () => {
    const sections = [...read('docs/runbooks.md').matchAll(/^## (\S+)$/gm)].map(([, name]) => name);
    expect(rules.map(({ alert }) => alert)).toEqual(sections);
    for (const { alert, annotations } of rules) expect(annotations.runbook).toBe(`docs/runbooks.md#${alert.toLowerCase()}`);
  });
});
