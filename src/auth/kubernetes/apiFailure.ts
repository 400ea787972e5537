/**
 * Why the API server did not give what it was asked for.
 */
import { z } from 'zod';
import { TriggerError } from '../../errors.ts';

const MAX_RETRY_AFTER_MS = 30_000;
/** https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/ */
const status = z.object({ message: z.string() });

export class ApiFailure extends Error {
  /** HTTP status; 0 where there was no answer. */
  readonly status: number;
  /** How long the server wants to be left alone, in ms. */
  readonly retryAfterMs: number | undefined;

  constructor(
    status: number,
    message: string,
    options?: { readonly cause?: unknown; readonly retryAfterMs?: number | undefined },
  ) {
    super(message, options);
    this.status = status;
    this.retryAfterMs = options?.retryAfterMs;
  }

  /** As a trigger's caller must hear it; `what` is what could not be had. */
  toTriggerError(what: string): TriggerError {
    return new TriggerError('AUTHENTICATION_UNRESOLVED', `${what} could not be read: ${this.message}`, { cause: this });
  }
}

export const unreachable = (cause: unknown): ApiFailure => new ApiFailure(0, 'the API server cannot be reached', { cause });

/** An answer other than 2xx; `body` is a Status as JSON, `retryAfter` in seconds. */
export function refusal(code: number, body?: unknown, retryAfter?: string): ApiFailure {
  const seconds = Number(retryAfter);
  const retryAfterMs = seconds > 0 ? Math.min(seconds * 1000, MAX_RETRY_AFTER_MS) : undefined;
  return new ApiFailure(code, `the API server answered ${code}${reasonIn(body)}`, { retryAfterMs });
}

function reasonIn(body: unknown): string {
  try {
    return ` (${status.parse(JSON.parse(String(body))).message})`;
  } catch {
    return '';
  }
}
