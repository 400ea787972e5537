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
const CALL_DEADLINE_MS = 1_900;
/** What a handler gets after its deadline to answer with what it has. */
const LAST_WORD_MS = 60;
/** Calls that may wait for brokers at once; calls whose answer is known do not count. */
const MAX_WAITING_CALLS = 2_000;
/** Streams at once; a ScaledObject's trigger has one, or two from KEDA 2.21 on. */
const MAX_STREAMS = 50_000;

/** Streams that are begun or ended before calls get their turn: one takes some 0.3 ms with all that it brings about. */
const PACE = 5;

/** A call that has ended, as metrics and logs want it. */
export interface CallEnd<About extends Subject = Subject> {
  readonly method: string;
  readonly about: About;
  readonly ms: number;
  /** Undefined if it ended with OK. */
  readonly error: QueueScalerError | undefined;
}

export interface AdapterOptions<About extends Subject> {
  observe(end: CallEnd<About>): void;
  /** Aborts when the server shuts down: streams then end with OK, while calls under way still get their answer. */
  readonly ending: AbortSignal;
  /** A stream ends with OK at about this age, in ms, so that none is on a connection that has become too old. */
  readonly maxStreamAgeMs: number;
  readonly maxWaitingCalls?: number;
  readonly maxStreams?: number;
}

export interface Adapter<About extends Subject> {
  /**
   * A handler that knows its answer gives it at once. One that does not calls `wait` first, which takes a place among the waiting
   * calls or throws if none is left, so that under load what is known is still answered.
   */
  unary<Request, Response>(
    method: string,
    about: (request: Request) => About,
    handler: (request: Request, about: About, wait: () => AbortSignal) => Response | Promise<Response>,
  ): handleUnaryCall<Request, Response>;
  /** The handler returns what stops it; the stream ends with OK at its age or on shutdown, with the error if the handler throws one. */
  stream<Request, Response>(
    method: string,
    about: (request: Request) => About,
    handler: StreamHandler<Request, Response, About>,
  ): handleServerStreamingCall<Request, Response>;
  /** Streams that are open now. */
  readonly openStreams: () => number;
}

export type StreamHandler<Request, Response, About> = (
  request: Request,
  about: About,
  send: (response: Response) => void,
) => () => void;

/** A stream that is open. There are tens of thousands, so each is little more than what grpc-js itself holds. */
interface OpenStream {
  /** By `performance.now()`. */
  readonly endAt: number;
  end(error?: QueueScalerError): void;
}

/** Streams are looked through for old ones so many times in the life of one. */
const AGE_LOOKS = 20;

/** Ends of this kind come by the thousand when a connection breaks: one error, with one stack, does for all. */
const GONE = new ProcessError('CALL_CANCELLED', 'the caller went away');

export function createAdapter<About extends Subject>(options: AdapterOptions<About>): Adapter<About> {
  const { maxWaitingCalls = MAX_WAITING_CALLS, maxStreams = MAX_STREAMS } = options;
  let waiting = 0;
  const paced = createPace();
  const streams = new Set<OpenStream>();
  const aging = setInterval(() => {
    const now = performance.now();
    for (const stream of streams) if (stream.endAt <= now) stream.end();
  }, options.maxStreamAgeMs / AGE_LOOKS);
  aging.unref();
  options.ending.addEventListener('abort', () => {
    clearInterval(aging);
    for (const stream of streams) stream.end();
  });

  function answer<Request, Response>(
    method: string,
    call: ServerUnaryCall<Request, Response>,
    callback: sendUnaryData<Response>,
    about: About,
    handler: (request: Request, about: About, wait: () => AbortSignal) => Response | Promise<Response>,
  ): void {
    const startedAt = performance.now();
    let timer: NodeJS.Timeout | undefined;
    let abort: AbortController | undefined;
    let open = true;

    const finish = (error: QueueScalerError | undefined, response?: Response): void => {
      if (!open) return;
      open = false;
      if (abort !== undefined) waiting--;
      clearTimeout(timer);
      if (error === undefined) callback(null, response);
      else callback(statusOf(error, about));
      options.observe({ method, about, ms: performance.now() - startedAt, error });
    };

    const wait = (): AbortSignal => {
      if (waiting >= maxWaitingCalls) {
        throw new ProcessError('OVERLOADED', `${maxWaitingCalls} calls are waiting for brokers already`);
      }
      waiting++;
      const controller = (abort = new AbortController());
      call.on('cancelled', () => {
        // Also told of calls that have been answered.
        if (!open) return;
        const error = new ProcessError('CALL_CANCELLED', 'the caller went away');
        controller.abort(error);
        finish(error);
      });
      timer = setTimeout(() => {
        const error = new BrokerError('BROKER_TIMEOUT', `no answer could be had within ${CALL_DEADLINE_MS} ms`);
        controller.abort(error);
        timer = setTimeout(() => {
          finish(error);
        }, LAST_WORD_MS);
      }, CALL_DEADLINE_MS);
      return controller.signal;
    };

    try {
      const result = handler(call.request, about, wait);
      if (result instanceof Promise) {
        result.then(
          (response) => {
            finish(undefined, response);
          },
          (thrown: unknown) => {
            finish(toQueueScalerError(thrown));
          },
        );
      } else finish(undefined, result);
    } catch (thrown) {
      finish(toQueueScalerError(thrown));
    }
  }

  return {
    unary(method, aboutOf, handler) {
      return (call, callback) => {
        answer(method, call, callback, aboutOf(call.request), handler);
      };
    },

    stream(method, aboutOf, handler) {
      return (call) => {
        const about = aboutOf(call.request);
        const startedAt = performance.now();
        let stop: (() => void) | undefined;
        let ended = false;
        const stream: OpenStream = {
          endAt: startedAt + jittered(options.maxStreamAgeMs),
          end: (error) => {
            streams.delete(stream);
            if (ended) return;
            ended = true;
            stop?.();
            if (error === undefined) call.end();
            else if (!call.cancelled) call.emit('error', statusOf(error, about));
            options.observe({ method, about, ms: performance.now() - startedAt, error });
          },
        };
        // A write to a peer that has just vanished is no event of its own: `cancelled` follows.
        call.on('error', ignore);
        if (streams.size >= maxStreams) {
          stream.end(new ProcessError('OVERLOADED', `${maxStreams} streams are open already`));
          return;
        }
        if (options.ending.aborted) {
          stream.end();
          return;
        }
        streams.add(stream);
        call.on('cancelled', () => {
          paced(() => {
            stream.end(GONE);
          });
        });
        paced(() => {
          if (ended) return;
          try {
            stop = handler(call.request, about, latestOnly(call));
          } catch (thrown) {
            stream.end(toQueueScalerError(thrown));
          }
        });
      };
    },

    openStreams: () => streams.size,
  };
}

/** Runs what it is given in order, a few at a time between other events, so that thousands of streams at once hold up no call. */
function createPace(): (work: () => void) => void {
  let queue: (() => void)[] = [];
  let done = 0;
  const run = (): void => {
    for (const work of queue.slice(done, done + PACE)) work();
    done += PACE;
    if (done < queue.length) setImmediate(run);
    else {
      queue = [];
      done = 0;
    }
  };
  return (work) => {
    if (queue.push(work) === 1) setImmediate(run);
  };
}

function ignore(): void {
  // Told elsewhere.
}

/** Streams that were opened together must not end together. */
function jittered(ms: number): number {
  return ms * (0.8 + 0.2 * Math.random());
}

/**
 * A `send` that never buffers more than one message: while a write is under way only the latest waits, so that a reader who is slow,
 * or never reads, gets the present state and not the past.
 */
export function latestOnly<Response>(
  call: Pick<ServerWritableStream<unknown, Response>, 'cancelled' | 'writableEnded' | 'write'>,
): (response: Response) => void {
  let writing = false;
  let waiting: { readonly response: Response } | undefined;
  return function send(response: Response): void {
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
}
