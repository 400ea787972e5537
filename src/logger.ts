/**
 * JSON logs on stderr, one object a line. What is logged of an error is its code and its scrubbed messages: nothing here may
 * print a foreign object whole, as it could hold a password.
 */
import { pino, type DestinationStream, type Level, type Logger } from 'pino';
import { scrub } from './auth/secret.ts';
import { isQueueScalerError } from './errors.ts';

export type { Logger } from 'pino';

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const satisfies readonly Level[];
export type LogLevel = (typeof LOG_LEVELS)[number];

const STDERR = 2;
/** Causes of causes that are still told. */
const MAX_CAUSES = 4;

export function createLogger(
  level: LogLevel = 'info',
  destination: DestinationStream = pino.destination({ fd: STDERR, sync: true }),
): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: describeError },
      redact: { paths: ['metadata', '*.metadata', 'password', '*.password'], censor: '***' },
    },
    destination,
  );
}

/** An error as it may be shown: code, message and the messages of its causes; a stack only where it is our own defect. */
export interface ErrorDescription {
  readonly code?: string;
  readonly message: string;
  readonly causes?: readonly string[];
  readonly stack?: string;
}

export function describeError(thrown: unknown): ErrorDescription {
  if (!(thrown instanceof Error)) return { message: 'something that is no error was thrown' };
  const code = isQueueScalerError(thrown) ? thrown.code : undefined;
  const causes = causesOf(thrown);
  const defect = code === undefined ? thrown : code === 'INTERNAL' ? (thrown.cause ?? thrown) : undefined;
  return {
    ...(code === undefined ? {} : { code }),
    message: scrub(thrown.message),
    ...(causes.length > 0 ? { causes } : {}),
    ...(defect instanceof Error && defect.stack !== undefined ? { stack: scrub(defect.stack) } : {}),
  };
}

function causesOf(error: Error): string[] {
  const causes: string[] = [];
  let cause: unknown = error.cause;
  while (cause instanceof Error && causes.length < MAX_CAUSES) {
    const code = 'code' in cause && typeof cause.code === 'string' ? `${cause.code}: ` : '';
    causes.push(scrub(`${code}${cause.message}`));
    cause = cause.cause;
  }
  return causes;
}
