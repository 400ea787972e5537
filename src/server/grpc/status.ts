/**
 * Turns an error into the gRPC status that KEDA gets, by the table of errors.
 */
import { Metadata, status, type StatusObject } from '@grpc/grpc-js';
import { scrub } from '../../auth/secret.ts';
import type { QueueScalerError } from '../../errors.ts';

/** Trailer that holds the error's code, for callers that want to tell failures apart. */
const ERROR_CODE_TRAILER = 'queue-scaler-error';

/** KEDA shows the text in an event, of which Kubernetes keeps 1 KB; proxies limit all headers together to 8 KB and more. */
const MAX_MESSAGE = 2_000;

/** Names the trigger that a failure concerns: `namespace/name`. */
export interface Subject {
  readonly namespace: string;
  readonly name: string;
}

export function statusOf(error: QueueScalerError, subject?: Subject): StatusObject {
  const prefix = subject === undefined ? '' : `${subject.namespace}/${subject.name}: `;
  const metadata = new Metadata();
  metadata.set(ERROR_CODE_TRAILER, error.code);
  return { code: status[error.spec.grpc], details: headerSafe(`${prefix}${scrub(error.message)}`), metadata };
}

/** One line without control characters or lone surrogates (which percent-encoding throws on), cut to what a header holds. */
function headerSafe(text: string): string {
  const cut = text.length > MAX_MESSAGE ? `${text.slice(0, MAX_MESSAGE - 1)}…` : text;
  return cut.replaceAll(/\p{Surrogate}/gu, '\uFFFD').replaceAll(/\p{Cc}+/gu, ' ');
}
