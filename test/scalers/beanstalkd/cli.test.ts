import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, it } from 'vitest';
import { beanstalkd } from '../../../examples/beanstalkd/index.ts';
import { checkFiles } from '../../../src/cli/check/check.ts';
import { convertText } from '../../../src/cli/convert/convert.ts';
import { loadKnownScalers } from '../../../src/cli/knownScalers.ts';
import { parseObjects } from '../../../src/cli/yaml/objects.ts';
import { SCALERS } from '../../../src/scalers/registry.ts';

const scalers = await loadKnownScalers([...SCALERS, beanstalkd]);
const example = readFileSync(resolve(import.meta.dirname, '../../../examples/beanstalkd/scaledobject.yaml'), 'utf8');
const findings = (yaml: string) => checkFiles([parseObjects('x.yaml', yaml)], scalers).findings;

it('the example passes check', () => {
  expect(findings(example)).toEqual([]);
});

it('check reports each wrong key and value at its place', () => {
  const wrong = example.replace('tube: mails', 'tubes: mails').replace("value: '20'", "value: 'many'");
  expect(findings(wrong).map(({ severity, message }) => `${severity}: ${message}`)).toEqual([
    expect.stringMatching(/^error: .*tube/),
    expect.stringMatching(/^error: .*tubes.*did you mean tube\?/),
    expect.stringMatching(/^error: .*value must be a number/),
  ]);
});

it('convert takes KEDA’s own trigger over, and back', () => {
  const builtIn = example
    .replace('type: external-push', 'type: beanstalkd')
    .replaceAll(/^.*(?:scalerAddress|scaler): .*\n/gm, '');
  const options = { scalerAddress: 'keda-queue-scaler.keda:6000', scalers };
  const { text, conversions } = convertText('x.yaml', builtIn, options);
  expect(conversions).toMatchObject([{ converted: true }]);
  expect(text).toBe(example);
  expect(convertText('x.yaml', text, { ...options, back: true }).text).toBe(builtIn);
});
