/**
 * Keeps an exception that a client library throws out of its own events from ending the process: it ends the connection it came from.
 *
 * Any host that a trigger names can make amqplib and ioredis throw where nobody can catch. An asynchronous context for each connection
 * would attribute every exception, but on Node 20 it has each promise and timer of the process tracked: the p99 of others' calls under
 * 2000 reset streams rose from 29 to 192 ms.
 */
import type { EventEmitter } from 'node:events';

/** Ends the connection; called with whatever was thrown. Must not throw. */
export type FailConnection = (thrown: unknown) => void;

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
