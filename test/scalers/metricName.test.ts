import fc from 'fast-check';
import { expect, test } from 'vitest';
import { metricName } from '../../src/scalers/metricName.ts';

test('a metric name has only characters that are valid in the external-metrics path, and a bounded length', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (name) => {
      expect(metricName('rabbitmq', name)).toMatch(/^rabbitmq-[A-Za-z0-9_-]{0,91}$/);
    }),
  );
});

test('a metric name is what KEDA’s built-in scaler would call it', () => {
  expect(metricName('rabbitmq', 'orders')).toBe('rabbitmq-orders');
  expect(metricName('rabbitmq', 'namespace/name')).toBe('rabbitmq-namespace-2Fname');
});

test('long names that differ at the end stay distinct', () => {
  expect(metricName('redis', `${'x'.repeat(200)}a`)).not.toBe(metricName('redis', `${'x'.repeat(200)}b`));
});
