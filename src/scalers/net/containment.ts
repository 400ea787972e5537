/**
 * Keeps an exception that a client library throws out of its own events from ending the process: it ends the connection it came from.
 *
 * Any host that a trigger names can make amqplib and ioredis throw where nobody can catch: out of a socket's event, or on the next
 * tick. Everything that belongs to one connection is therefore started inside {@link contained}; an exception that nobody caught
 * then carries the connection it came from. One that carries none ends the process as ever.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { EventEmitter } from 'node:events';

/** Ends the connection; called with whatever was thrown. Must not throw. */
export type FailConnection = (thrown: unknown) => void;

const owners = new AsyncLocalStorage<FailConnection>();

/** Runs `start`; what is thrown later by anything it started, and caught by nobody, goes to `fail`. */
export function contained<T>(fail: FailConnection, start: () => T): T {
  return owners.run(fail, start);
}

/** For the process's handler of uncaught exceptions: ends the connection that threw. False if no connection did. */
export function endThrowingConnection(thrown: unknown): boolean {
  const fail = owners.getStore();
  fail?.(thrown);
  return fail !== undefined;
}

/** Sends what listeners of the emitter's own events throw to `fail` at once, before it unwinds Node's stream code. */
export function containListeners(emitter: EventEmitter, fail: FailConnection): void {
  const emit = emitter.emit.bind(emitter);
  emitter.emit = (...args: Parameters<typeof emit>) => {
    try {
      return emit(...args);
    } catch (thrown) {
      fail(thrown);
      return true;
    }
  };
}
