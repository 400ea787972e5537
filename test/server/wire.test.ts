import { fileURLToPath } from 'node:url';
import type { MethodDefinition } from '@grpc/grpc-js';
import { loadSync, type MessageTypeDefinition } from '@grpc/proto-loader';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as scaler from '../../src/server/grpc/gen/externalscaler.ts';
import * as health from '../../src/server/grpc/gen/health.ts';

const load = (name: string) =>
  loadSync(fileURLToPath(new URL(`../../proto/${name}`, import.meta.url)), { keepCase: true, longs: Number, defaults: true });
const definition = { ...load('externalscaler.proto'), ...load('health.proto') };

type Shape = Pick<MethodDefinition<unknown, unknown>, 'path' | 'requestStream' | 'responseStream'>;

interface Codec {
  encode(message: never): { finish(): Uint8Array };
  decode(bytes: Uint8Array): unknown;
}

/** A message's codec in the generated code, and what proto-loader makes of the same message type. */
function both(name: string, codec: Codec): { ours: (message: unknown) => Buffer; theirs: (message: unknown) => Buffer } {
  const theirs = definition[name] as MessageTypeDefinition<object, object>;
  return {
    ours: (message) => Buffer.from(codec.encode(message as never).finish()),
    theirs: (message) => theirs.serialize(withoutDefaults(message) as object),
  };
}

/** Given a default value, proto-loader writes it out; not given it, it writes nothing, as the generated code does. */
function withoutDefaults(message: unknown): unknown {
  if (Array.isArray(message)) return message.map(withoutDefaults);
  if (typeof message !== 'object' || message === null) return message;
  const kept = Object.entries(message).filter(([, value]) => value !== '' && value !== 0 && value !== false);
  return Object.fromEntries(kept.map(([name, value]) => [name, withoutDefaults(value)]));
}

const word = fc.string({ unit: 'grapheme', maxLength: 20 });
const full = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 });
const reference = fc.record({
  name: word,
  namespace: word,
  // Of an empty key or value in a map, one library writes the default and the other does not; both read it alike.
  scalerMetadata: fc.dictionary(
    full.filter((name) => name !== '__proto__'),
    full,
    { noNullPrototype: true },
  ),
});
const count = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const amount = fc.double({ noNaN: true }).map((value) => (value === 0 ? 0 : value));

const MESSAGES: readonly [string, Codec, fc.Arbitrary<unknown>][] = [
  ['externalscaler.ScaledObjectRef', scaler.ScaledObjectRef, reference],
  ['externalscaler.IsActiveResponse', scaler.IsActiveResponse, fc.record({ result: fc.boolean() })],
  [
    'externalscaler.GetMetricSpecResponse',
    scaler.GetMetricSpecResponse,
    fc.record({ metricSpecs: fc.array(fc.record({ metricName: word, targetSize: count, targetSizeFloat: amount })) }),
  ],
  ['externalscaler.GetMetricsRequest', scaler.GetMetricsRequest, fc.record({ scaledObjectRef: reference, metricName: word })],
  [
    'externalscaler.GetMetricsResponse',
    scaler.GetMetricsResponse,
    fc.record({ metricValues: fc.array(fc.record({ metricName: word, metricValue: count, metricValueFloat: amount })) }),
  ],
  ['grpc.health.v1.HealthCheckRequest', health.HealthCheckRequest, fc.record({ service: word })],
  [
    'grpc.health.v1.HealthCheckResponse',
    health.HealthCheckResponse,
    fc.record({ status: fc.constantFrom(0 as const, 1 as const, 2 as const, 3 as const) }),
  ],
];

describe('the generated code agrees with proto-loader on the protos', () => {
  it.each([
    ['externalscaler.ExternalScaler', scaler.ExternalScalerService],
    ['grpc.health.v1.Health', health.HealthService],
  ])('on every method of %s', (name, service) => {
    const theirs = Object.values(definition[name] as Record<string, Shape>);
    const shape = ({ path, requestStream, responseStream }: Shape) => ({
      path,
      requestStream,
      responseStream,
    });
    const ours = Object.values(service as Record<string, Shape>);
    expect(ours.map(shape)).toEqual(theirs.map(shape));
  });

  it.each(MESSAGES)('byte for byte on %s', (name, codec, arbitrary) => {
    const { ours, theirs } = both(name, codec);
    fc.assert(
      fc.property(arbitrary, (message) => {
        const bytes = ours(message);
        expect(bytes.toString('hex')).toBe(theirs(message).toString('hex'));
        expect(ours(codec.decode(bytes)).toString('hex')).toBe(bytes.toString('hex'));
      }),
    );
  });
});
