import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { afterAll, describe, expect, test } from 'vitest';
import { check, type CheckOptions } from '../../src/cli/check.ts';
import { checkFiles } from '../../src/cli/check/check.ts';
import { RULES } from '../../src/cli/check/finding.ts';
import { loadKnownScalers } from '../../src/cli/knownScalers.ts';
import { parseObjects } from '../../src/yaml/objects.ts';
import { readCases } from './check/cases.ts';

const folder = mkdtempSync(join(tmpdir(), 'check-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const scalers = await loadKnownScalers();

const lastStep = (path: string | undefined): string | undefined =>
  path === undefined ? undefined : /(?:^|[.[])([^.[\]]+)\]?$/.exec(path)?.[1];

const cases = readCases();

describe('check finds every fault of a broken manifest, where it is and nowhere else', () => {
  test.each(cases)('$title', ({ yaml, expected }) => {
    const { findings } = checkFiles([parseObjects('case.yaml', yaml)], scalers);
    const found = findings
      .filter(({ severity }) => severity !== 'note')
      .map(({ rule, position, path, fix }) => ({ line: position.line, rule, key: lastStep(path), fix }));
    const wanted = expected.map(({ line, rule, key, fix }) => ({ line, rule, key, fix: fix ?? (expect.anything() as unknown) }));
    const order = (left: { line: number; rule: string }, right: { line: number; rule: string }): number =>
      left.line - right.line || left.rule.localeCompare(right.rule);
    expect(found.map(({ fix, ...rest }) => ({ ...rest, fix: fix ?? '-' })).sort(order)).toEqual(wanted.sort(order));
    expect(expected.length).toBeGreaterThan(0);
  });

  test('the corpus has at least 60 manifests, and each rule of an error has one', () => {
    expect(cases.length).toBeGreaterThanOrEqual(60);
    const covered = new Set(cases.flatMap(({ expected }) => expected.map(({ rule }) => rule)));
    const errors = Object.entries(RULES).filter(([, { severity }]) => severity === 'error');
    expect(errors.map(([rule]) => rule).filter((rule) => !covered.has(rule))).toEqual([]);
  });

  test('no finding repeats a secret', () => {
    for (const { yaml } of cases) {
      const { findings } = checkFiles([parseObjects('case.yaml', yaml)], scalers);
      expect(JSON.stringify(findings)).not.toContain('hunter2');
    }
  });
});

describe('check takes formulas that KEDA takes', () => {
  test.each([
    'orders ** 2 / daytime ?? 1',
    'count([orders, daytime], {# > 2}) > 0 and not (orders < 1) ? 5 : 0',
    'let x = orders; x > 3 ? x : daytime',
    'reduce([orders, daytime], #acc + #)',
    'orders in [1.0, daytime] ? 1 : 2',
  ])('%s', (formula) => {
    const advanced = `  advanced:\n    scalingModifiers: { formula: ${JSON.stringify(formula)}, target: "5" }\n`;
    const named = GOOD.replace('spec:\n', `spec:\n${advanced}`)
      .replace('name: waiting', 'name: orders')
      .replace('- type: cron', '- name: daytime\n      type: cron');
    const { findings } = checkFiles([parseObjects('good.yaml', named)], scalers);
    expect(findings.filter(({ severity }) => severity !== 'note')).toEqual([]);
  });
});

const GOOD = `
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: orders
  namespace: shop
spec:
  scaleTargetRef:
    name: orders
  cooldownPeriod: 60
  maxReplicaCount: 20
  triggers:
    - type: external-push
      name: waiting
      metadata:
        scalerAddress: keda-queue-scaler.keda:6000
        scaler: redis
        address: redis.shop:6379
        listName: orders
        processingListName: orders:busy
        listLength: "5"
        passwordFromEnv: REDIS_PASSWORD
    - type: cron
      metadata: { timezone: Europe/Berlin, start: 0 6 * * *, end: 0 20 * * *, desiredReplicas: "2" }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: orders, namespace: shop }
spec:
  template:
    spec:
      containers:
        - name: worker
          image: worker
          envFrom: [{ secretRef: { name: redis } }]
---
apiVersion: v1
kind: Secret
metadata: { name: redis, namespace: shop }
stringData: { REDIS_PASSWORD: hunter2 }
---
apiVersion: v1
kind: Service
metadata: { name: orders, namespace: shop }
spec: { ports: [{ port: 80 }] }
`;

async function run(text: string, options: CheckOptions = {}): Promise<{ code: number; out: string; err: string }> {
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const code = await check(['-'], options, { stdin: Readable.from([text]), stdout, stderr, colour: false });
  return { code, out: String(stdout.read() ?? ''), err: String(stderr.read() ?? '') };
}

const BROKEN = GOOD.replace('listLength: "5"', 'listLenght: "5"');
const RISKY = GOOD.replace('cooldownPeriod: 60', 'cooldownPeriod: 1');

describe('check as a command', () => {
  test('accepts a good manifest without a word of fault', async () => {
    const { code, out } = await run(GOOD);
    expect(out).toBe('1 object with 2 triggers: no fault found\n');
    expect(code).toBe(0);
  });

  test('accepts every example of this repository', async () => {
    const root = new URL('../../', import.meta.url).pathname;
    const folders = readdirSync(root, { recursive: true, encoding: 'utf8' })
      .filter((name) => /^(?:examples|manifests\/examples)\b.*\.yaml$/.test(name))
      // Its scaler is in no registry but the tests'.
      .filter((name) => !name.startsWith('examples/beanstalkd/'))
      .map((name) => join(root, name));
    // One by one: two of them may use a name for two things.
    for (const file of folders) {
      const stdout = new PassThrough();
      const io = { stdin: Readable.from([]), stdout, stderr: new PassThrough(), colour: false };
      const code = await check([file], { strict: true }, io);
      // 2: it holds nothing of KEDA's.
      expect([0, 2], String(stdout.read())).toContain(code);
    }
    expect(folders.length).toBeGreaterThan(5);
  });

  test('tells file, line and column, the rule and the fix, and exits with 1', async () => {
    const { code, out } = await run(BROKEN);
    expect(code).toBe(1);
    expect(out).toContain(
      '<stdin>:21:9: error: listLenght is not a key of this scaler; did you mean listLength? [unknown-key]\n    fix: listLength\n',
    );
  });

  test('fails for warnings only when told to be strict', async () => {
    expect((await run(RISKY)).code).toBe(0);
    expect((await run(RISKY, { strict: true })).code).toBe(1);
  });

  test('takes a warning away that a comment allows, never an error, and tells a comment without use', async () => {
    const beside = RISKY.replace('cooldownPeriod: 1', 'cooldownPeriod: 1 # check: allow cooldown-short');
    const above = RISKY.replace('  cooldownPeriod: 1', '  # check: allow cooldown-short, polling-long\n  cooldownPeriod: 1');
    expect(await run(beside, { strict: true })).toMatchObject({ code: 0, out: '1 object with 2 triggers: no fault found\n' });
    expect((await run(above, { strict: true })).out).toContain(
      'no warning polling-long is here to be allowed [allowance-unused]',
    );
    const error = BROKEN.replace('listLenght: "5"', 'listLenght: "5" # check: allow unknown-key');
    expect((await run(error)).out).toContain('[unknown-key]');
  });

  test('leaves notes out when told to be quiet', async () => {
    const external = GOOD.replace('external-push', 'external');
    expect((await run(external)).out).toContain('push-preferred');
    expect((await run(external, { quiet: true })).out).not.toContain('push-preferred');
  });

  test('exits with 2 where nothing is KEDA’s', async () => {
    const { code, err } = await run('apiVersion: v1\nkind: Service\nmetadata: { name: x }\n');
    expect(code).toBe(2);
    expect(err).toContain('no ScaledObject');
  });

  test('tells a file that cannot be read and goes on with the others', async () => {
    const good = join(folder, 'good.yaml');
    writeFileSync(good, GOOD);
    const stdout = new PassThrough();
    const io = { stdin: Readable.from([]), stdout, stderr: new PassThrough(), colour: false };
    expect(await check([join(folder, 'none.yaml'), folder], {}, io)).toBe(1);
    const out = String(stdout.read());
    expect(out).toContain('none.yaml:1:1: error: cannot be read: ENOENT');
    expect(out).toContain('1 object with 2 triggers');
  });

  test('prints JSON with one flat entry a finding', async () => {
    const { out } = await run(BROKEN, { format: 'json' });
    const { findings } = JSON.parse(out) as { findings: Record<string, unknown>[] };
    expect(findings[0]).toMatchObject({
      file: '<stdin>',
      line: 21,
      column: 9,
      rule: 'unknown-key',
      object: 'ScaledObject shop/orders',
      path: 'spec.triggers[0].metadata.listLenght',
      fix: 'listLength',
    });
  });

  test('prints annotations in which no text can end the command', async () => {
    const { out } = await run(BROKEN, { format: 'github' });
    expect(out.split('\n')[0]).toBe(
      '::error file=<stdin>,line=21,col=9,title=unknown-key::listLenght is not a key of this scaler; did you mean listLength?%0Afix: listLength',
    );
  });

  test('prints SARIF whose results name rules of the same file', async () => {
    const { out } = await run(BROKEN, { format: 'sarif' });
    const { runs } = JSON.parse(out) as {
      runs: [
        { tool: { driver: { rules: { id: string }[] } }; results: { ruleId: string; ruleIndex: number; locations: unknown[] }[] },
      ];
    };
    const [{ tool, results }] = runs;
    const [result] = results;
    expect(tool.driver.rules[result?.ruleIndex ?? -1]?.id).toBe(result?.ruleId);
    expect(result?.locations[0]).toMatchObject({ physicalLocation: { region: { startLine: 21, startColumn: 9 } } });
  });
});
