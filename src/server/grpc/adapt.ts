/**
 * Makes grpc-js handlers of async functions: every call has an end in bounded time, an AbortSignal, and a status from the table of
 * errors. No handler may reach a caller with an error of any other kind, nor leave a call open.
 */
import type {
  handleServerStreamingCall,
  handleUnaryCall,
  sendUnaryData,
  ServerUnaryCall,
  ServerWritableStream,
} from '@grpc/grpc-js';
import { BrokerError, ProcessError, toQueueScalerError, type QueueScalerError } from '../../errors.ts';
import { statusOf, type Subject } from './status.ts';

/** KEDA sets no deadline of its own and holds a lock while it waits, so every call is answered within this time. */
export const CALL_DEADLINE_MS = 1_900;
/** What a handler gets after its deadline to answer with what it has. */
const LAST_WORD_MS = 60;

/** A call that has ended, as metrics and logs want it. */
export interface CallEnd {
  readonly method: string;
  readonly subject: Subject | undefined;
  readonly ms: number;
  /** Undefined if it ended with OK. */
  readonly error: QueueScalerError | undefined;
}

export interface Adapter {
  unary<Request, Response>(
    method: string,
    handler: (request: Request, signal: AbortSignal) => Response | Promise<Response>,
    subject?: (request: Request) => Subject | undefined,
  ): handleUnaryCall<Request, Response>;
  /** The stream ends with OK when the handler resolves, which it must soon after its signal aborts. */
  stream<Request, Response>(
    method: string,
    handler: (request: Request, send: (response: Response) => void, signal: AbortSignal) => Promise<void>,
    subject?: (request: Request) => Subject | undefined,
  ): handleServerStreamingCall<Request, Response>;
}

/** @param ending aborts when the server shuts down: streams then end with OK, while calls under way still get their answer. */
export function createAdapter(observe: (end: CallEnd) => void, ending: AbortSignal): Adapter {
  return {
    unary(method, handler, subject) {
      return (call, callback) => {
        answer(method, call, callback, handler, subject?.(call.request), observe);
      };
    },

    stream(method, handler, subject) {
      return (call) => {
        const about = subject?.(call.request);
        const startedAt = performance.now();
        const gone = new AbortController();
        call.on('cancelled', () => {
          gone.abort(new ProcessError('CALL_CANCELLED', 'the caller went away'));
        });
        // A write to a peer that has just vanished is no event of its own: `cancelled` follows.
        call.on('error', () => undefined);
        const ended = (error: QueueScalerError | undefined): void => {
          observe({ method, subject: about, ms: performance.now() - startedAt, error });
        };
        const signal = AbortSignal.any([gone.signal, ending]);
        latestOnly(call, (send) => handler(call.request, send, signal)).then(
          () => {
            call.end();
            ended(undefined);
          },
          (thrown: unknown) => {
            const error = toQueueScalerError(thrown);
            call.emit('error', statusOf(error, about));
            ended(error);
          },
        );
      };
    },
  };
}

function answer<Request, Response>(
  method: string,
  call: ServerUnaryCall<Request, Response>,
  callback: sendUnaryData<Response>,
  handler: (request: Request, signal: AbortSignal) => Response | Promise<Response>,
  subject: Subject | undefined,
  observe: (end: CallEnd) => void,
): void {
  const startedAt = performance.now();
  let timer: NodeJS.Timeout | undefined;
  let open = true;

  const finish = (error: QueueScalerError | undefined, response?: Response): void => {
    if (!open) return;
    open = false;
    clearTimeout(timer);
    if (error === undefined) callback(null, response);
    else callback(statusOf(error, subject));
    observe({ method, subject, ms: performance.now() - startedAt, error });
  };

  let result: Response | Promise<Response>;
  const ending = new AbortController();
  try {
    result = handler(call.request, ending.signal);
  } catch (thrown) {
    finish(toQueueScalerError(thrown));
    return;
  }
  if (!(result instanceof Promise)) {
    finish(undefined, result);
    return;
  }
  call.on('cancelled', () => {
    const error = new ProcessError('CALL_CANCELLED', 'the caller went away');
    ending.abort(error);
    finish(error);
  });
  timer = setTimeout(() => {
    const error = new BrokerError('BROKER_TIMEOUT', `no answer could be had within ${CALL_DEADLINE_MS} ms`);
    ending.abort(error);
    timer = setTimeout(() => {
      finish(error);
    }, LAST_WORD_MS);
  }, CALL_DEADLINE_MS);
  result.then(
    (response) => {
      finish(undefined, response);
    },
    (thrown: unknown) => {
      finish(toQueueScalerError(thrown));
    },
  );
}

/**
 * Gives `work` a `send` that never buffers more than one message: while a write is under way only the latest waits, so that a
 * reader who is slow, or never reads, gets the present state and not the past.
 */
async function latestOnly<Request, Response>(
  call: ServerWritableStream<Request, Response>,
  work: (send: (response: Response) => void) => Promise<void>,
): Promise<void> {
  let writing = false;
  let waiting: { readonly response: Response } | undefined;
  const send = (response: Response): void => {
    if (call.cancelled || call.writableEnded) return;
    if (writing) {
      waiting = { response };
      return;
    }
    writing = true;
    call.write(response, () => {
      writing = false;
      const next = waiting;
      waiting = undefined;
      if (next !== undefined) send(next.response);
    });
  };
  await work(send);
}
