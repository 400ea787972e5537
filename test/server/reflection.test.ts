import { credentials, Client, type MethodDefinition, type ServiceDefinition } from '@grpc/grpc-js';
import { loadSync, type PackageDefinition } from '@grpc/proto-loader';
import reflectionClient from 'grpc-js-reflection-client';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createMemoryBroker } from '../bed/memoryScaler.ts';
import { startScaler, type TestScaler } from '../bed/scaler.ts';

const { GrpcReflection } = reflectionClient;
const broker = createMemoryBroker();
let scaler: TestScaler;

beforeAll(async () => {
  scaler = await startScaler({ scalers: [broker.scaler], reflection: true });
});
afterAll(() => scaler.close());

const reflect = (version: string) => new GrpcReflection(scaler.grpc, credentials.createInsecure(), {}, version);
const methodsOf = (definition: PackageDefinition, service: string): MethodDefinition<object, object>[] =>
  Object.values(definition[service] as ServiceDefinition) as MethodDefinition<object, object>[];

describe.each(['v1', 'v1alpha'])('reflection %s', (version) => {
  it('lists the services', async () => {
    expect(await reflect(version).listServices()).toEqual([
      'externalscaler.ExternalScaler',
      'grpc.health.v1.Health',
      'grpc.reflection.v1.ServerReflection',
    ]);
  });

  it('describes each service, by symbol and by file, as the proto files do', async () => {
    for (const [file, service] of [
      ['externalscaler.proto', 'externalscaler.ExternalScaler'],
      ['health.proto', 'grpc.health.v1.Health'],
    ] as const) {
      const written = loadSync(fileURLToPath(new URL(`../../proto/${file}`, import.meta.url)));
      const shape = ({ path, requestStream, responseStream }: MethodDefinition<object, object>) => ({
        path,
        requestStream,
        responseStream,
      });
      for (const found of [
        await reflect(version).getDescriptorBySymbol(service),
        await reflect(version).getDescriptorByFileName(file),
      ]) {
        const told = found.getPackageDefinition();
        expect(methodsOf(told, service).map(shape)).toEqual(methodsOf(written, service).map(shape));
        expect(Object.keys(told).sort()).toEqual(Object.keys(written).sort());
      }
    }
  });

  it('is enough to make a call with', async () => {
    broker.set('reflected', 7);
    const found = await reflect(version).getDescriptorBySymbol('externalscaler.ExternalScaler.GetMetrics');
    const service = found.getPackageDefinition({ keepCase: true })['externalscaler.ExternalScaler'] as ServiceDefinition;
    const { path, requestSerialize, responseDeserialize } = service['GetMetrics'] as MethodDefinition<object, object>;
    // What is had by reflection shows a map as the list of entries that it is on the wire.
    const scalerMetadata = [
      { key: 'scaler', value: 'memory' },
      { key: 'queueName', value: 'reflected' },
    ];
    const scaledObjectRef = { namespace: 'shop', name: 'orders', scalerMetadata };
    const client = new Client(scaler.grpc, credentials.createInsecure());
    const answer = await new Promise((resolve, reject) => {
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, { scaledObjectRef }, (error, response) => {
        if (error === null) resolve(response);
        else reject(error);
      });
    });
    client.close();
    expect(answer).toMatchObject({ metricValues: [{ metricName: 'memory-reflected', metricValueFloat: 7 }] });
  });

  it('says that what it is asked for does not exist', async () => {
    await expect(reflect(version).getDescriptorBySymbol('no.such.Service')).rejects.toThrow();
  });
});

it('reflection is not served unless it is asked for', async () => {
  const plain = await startScaler({ scalers: [broker.scaler] });
  const asked = new GrpcReflection(plain.grpc, credentials.createInsecure(), {}, 'v1').listServices();
  await expect(asked).rejects.toThrow(/UNIMPLEMENTED|12/);
  await plain.close();
});
