/**
 * `check` and `convert` on a scaler that brings no advice of its own: it is judged by its key table, and in nobody else's words.
 */
import { expect, test } from 'vitest';
import { checkFiles } from '../../src/cli/check/check.ts';
import { convertText } from '../../src/cli/convert/convert.ts';
import { loadKnownScalers } from '../../src/cli/knownScalers.ts';
import { parseObjects } from '../../src/yaml/objects.ts';
import { defineScaler } from '../../src/scalers/contract.ts';
import { endpoint, key } from '../../src/scalers/metadata.ts';
import { SCALERS } from '../../src/scalers/registry.ts';
import { flag, text, whole } from '../../src/scalers/values.ts';

const beanstalkd = defineScaler({
  type: 'beanstalkd',
  doc: 'Jobs in a tube.',
  keys: {
    server: key('host:port.', endpoint(text()), { required: true, places: ['metadata', 'environment', 'authentication'] }),
    tube: key('The tube.', text(), { required: true }),
    value: key('Target.', whole({ min: 1 }), { default: '5' }),
    includeDelayed: key('Counts delayed jobs too.', flag(), { default: 'false' }),
  },
  rules: () => undefined,
  spec: ({ tube, value }) => ({ name: tube, target: value }),
  broker: {
    name: 'beanstalkd',
    label: (server: string) => server,
    open: () => {
      throw new Error('nobody asks the broker here');
    },
  },
  connection: ({ server }) => server,
  question: ({ tube }) => ({ key: tube, subject: tube, staleAfterMs: 0 }),
  decide: () => () => ({ value: 0, active: false, because: [] }),
  backlog: () => ({ waiting: undefined, held: undefined }),
});
const scalers = await loadKnownScalers([...SCALERS, beanstalkd]);

const trigger = (type: string, keys: string, cooldown = 60): string => `apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: { name: orders }
spec:
  scaleTargetRef: { name: orders }
  cooldownPeriod: ${cooldown}
  triggers:
    - type: ${type}
      metadata:
${keys}`;
const ADDRESS = '        scalerAddress: keda-queue-scaler.keda:6000\n        scaler: beanstalkd\n';
const findings = (yaml: string) =>
  checkFiles([parseObjects('x.yaml', yaml)], scalers).findings.map(({ rule, message, fix }) => ({ rule, message, fix }));

/** Words of other brokers, in whatever is said. */
const FOREIGN = /rabbit|amqp|redis|list(?:Name|Length)|queueName|stream|TYPE\b|unacknowledged/i;

test('KEDA’s own trigger of that type is checked by the scaler’s table', () => {
  const found = findings(trigger('beanstalkd', '        serverFromEnv: SERVER\n        tubes: orders\n'));
  expect(found).toEqual([
    { rule: 'built-in-trigger', message: expect.stringContaining('beanstalkd') as string, fix: expect.anything() as string },
    { rule: 'missing-key', message: 'tube is required by KEDA’s beanstalkd scaler', fix: undefined },
    {
      rule: 'unknown-key',
      message: 'tubes is not a key of KEDA’s beanstalkd scaler, which ignores it; did you mean tube?',
      fix: 'tube',
    },
  ]);
  expect(findings(trigger('beanstalkd', '        server: a.b:11300\n        tube: orders\n'))).toHaveLength(1);
});

test('its external trigger is checked by the same table, and by the rules of all scalers', () => {
  expect(findings(trigger('external-push', `${ADDRESS}        server: a.b:11300\n        tube: orders\n`))).toEqual([]);
  const bad = findings(trigger('external-push', `${ADDRESS}        server: a.b:11300\n        tub: orders\n`, 1));
  expect(bad.map(({ rule }) => rule)).toEqual(['cooldown-short', 'missing-key', 'unknown-key']);
  expect(bad.map(({ message }) => message).join('\n')).not.toMatch(FOREIGN);
});

test('neither names nor settings of another broker are taken for its own', () => {
  const keys = '        server: a.b:11300\n        tube: a*\n        queue: x\n        url: y\n        enableTLS: "true"\n';
  const found = [...findings(trigger('beanstalkd', keys)), ...findings(trigger('external-push', `${ADDRESS}${keys}`))];
  expect(found.map(({ message, fix }) => `${message} ${fix ?? ''}`).join('\n')).not.toMatch(FOREIGN);
  expect(found.map(({ rule }) => rule)).not.toContain('scaler-link');
});

test('convert takes it over and back byte by byte, and says nothing of another broker', () => {
  const before = trigger(
    'beanstalkd',
    '        server: a.b:11300\n        tube: "a*,b"\n        enableTLS: "true"\n        mode: x\n',
  );
  const options = { scalerAddress: 'keda-queue-scaler.keda:6000', scalers };
  const { text: converted, conversions } = convertText('x.yaml', before, options);
  expect(conversions).toMatchObject([{ converted: true }]);
  expect(converted).toContain('scaler: beanstalkd');
  expect(converted).toContain('# ignored by KEDA: mode: x');
  expect(converted).toContain('tube: "a*,b"');
  expect(conversions.flatMap(({ remarks }) => remarks).join('\n')).not.toMatch(FOREIGN);
  const back = convertText('x.yaml', converted, { ...options, back: true });
  expect(back.text).toBe(before);
});
