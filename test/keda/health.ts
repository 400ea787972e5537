/**
 * A client of gRPC's health protocol, as the kubelet's probes are, read from `proto/` by another library than the server's.
 */
import { fileURLToPath } from 'node:url';
import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

const PROTO = fileURLToPath(new URL('../../proto/health.proto', import.meta.url));
const DEADLINE_MS = 5_000;

function method(name: 'Check' | 'Watch'): grpc.MethodDefinition<object, { readonly status: string }> {
  const service = loadSync(PROTO, { enums: String, defaults: true })['grpc.health.v1.Health'] as grpc.ServiceDefinition;
  return service[name] as grpc.MethodDefinition<object, { readonly status: string }>;
}

/** The state of a service by its name in the protocol, such as SERVING. */
export async function checkHealth(address: string, service: string): Promise<string> {
  const { path, requestSerialize, responseDeserialize } = method('Check');
  const client = new grpc.Client(address, grpc.credentials.createInsecure());
  try {
    return await new Promise((resolve, reject) => {
      const deadline = { deadline: Date.now() + DEADLINE_MS };
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, { service }, deadline, (error, answer) => {
        if (error !== null) reject(error);
        else resolve(answer?.status ?? 'none');
      });
    });
  } finally {
    client.close();
  }
}

export interface HealthWatch {
  /** All that came, oldest first. */
  readonly states: readonly string[];
  close(): void;
}

export function watchHealth(address: string, service: string): HealthWatch {
  const { path, requestSerialize, responseDeserialize } = method('Watch');
  const client = new grpc.Client(address, grpc.credentials.createInsecure());
  const states: string[] = [];
  const stream = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, { service });
  stream.on('data', ({ status }: { readonly status: string }) => states.push(status));
  stream.on('error', () => undefined);
  return {
    states,
    close: () => {
      stream.cancel();
      client.close();
    },
  };
}
