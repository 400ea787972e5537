/**
 * gRPC's server reflection, for tools such as grpcurl: what services there are and of what messages. The protos are public.
 */
import { status, type ServerDuplexStream, type ServiceDefinition, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { FILES, type EmbeddedFile } from './gen/descriptors.ts';
import {
  ServerReflectionService,
  type ServerReflectionRequest,
  type ServerReflectionResponse,
  type ServerReflectionServer,
} from './gen/reflection.ts';

/** Conversations at once; one more is refused. */
const MAX_CONVERSATIONS = 100;

type Call = ServerDuplexStream<ServerReflectionRequest, ServerReflectionResponse>;

export interface Reflection {
  /** The same service under its present and its former name, as tools ask for either. */
  readonly services: readonly (readonly [ServiceDefinition, UntypedServiceImplementation])[];
  /** Ends all conversations with OK. */
  close(): void;
}

export function createReflection(): Reflection {
  const calls = new Set<Call>();
  let closed = false;

  const implementation: ServerReflectionServer = {
    serverReflectionInfo: (call) => {
      if (closed || calls.size >= MAX_CONVERSATIONS) {
        call.emit('error', { code: status.RESOURCE_EXHAUSTED, details: `more than ${MAX_CONVERSATIONS} reflections at once` });
        return;
      }
      calls.add(call);
      call.on('error', () => undefined);
      call.on('cancelled', () => calls.delete(call));
      call.on('data', (request: ServerReflectionRequest) => {
        // Who asks faster than it reads is asked to wait.
        if (call.write(answer(request))) return;
        call.pause();
        call.once('drain', () => call.resume());
      });
      call.on('end', () => {
        calls.delete(call);
        call.end();
      });
    },
  };

  return {
    services: [
      [ServerReflectionService, implementation],
      [former(ServerReflectionService), implementation],
    ],
    close: () => {
      closed = true;
      for (const call of calls) call.end();
      calls.clear();
    },
  };
}

/** The service under the name that it had before it became stable; its messages are the same on the wire. */
function former(service: typeof ServerReflectionService): ServiceDefinition {
  const { serverReflectionInfo } = service;
  return { serverReflectionInfo: { ...serverReflectionInfo, path: serverReflectionInfo.path.replace('.v1.', '.v1alpha.') } };
}

const SERVICES = FILES.flatMap(({ symbols }) => symbols.slice(0, 1)).sort();

function answer(request: ServerReflectionRequest): ServerReflectionResponse {
  const of = (rest: Partial<ServerReflectionResponse>): ServerReflectionResponse => ({
    validHost: request.host,
    originalRequest: request,
    ...rest,
  });
  const refuse = (code: status, message: string): ServerReflectionResponse =>
    of({ errorResponse: { errorCode: code, errorMessage: message } });
  const file = (found: EmbeddedFile | undefined, what: string): ServerReflectionResponse =>
    found === undefined
      ? refuse(status.NOT_FOUND, `there is no ${what}`)
      : of({ fileDescriptorResponse: { fileDescriptorProto: [Buffer.from(found.descriptor, 'base64')] } });

  const { listServices, fileByFilename, fileContainingSymbol } = request;
  if (listServices !== undefined) return of({ listServicesResponse: { service: SERVICES.map((name) => ({ name })) } });
  if (fileByFilename !== undefined) {
    return file(
      FILES.find(({ name }) => name === fileByFilename),
      'such file',
    );
  }
  if (fileContainingSymbol !== undefined) {
    return file(
      FILES.find(({ symbols }) => symbols.includes(fileContainingSymbol)),
      'such symbol',
    );
  }
  return refuse(status.NOT_FOUND, 'nothing here has extensions');
}
