/**
 * Hands out the push messages of protocol version 3, which ioredis decodes and then drops (redis/ioredis#1161, open since 2020).
 *
 * The one place that reaches into ioredis: its `DataHandler` passes each push to a method of its prototype, which is wrapped here. So
 * is the method that calls it and all others: what a reply makes it throw, it throws again on the next tick, out of anybody's reach.
 * `CLIENT TRACKING … REDIRECT` would do with the public API, but needs a second connection to each server, more rights there, and
 * loses the order of invalidations and replies by which readings are known to be current. `pushes.test.ts` pins what is used here.
 */
import type { Redis } from 'ioredis';
import dataHandlerModule from 'ioredis/built/DataHandler.js';
import type { FailConnection } from '../../net/containment.ts';
import { ProtocolError } from './framing.ts';

/** Takes a push: its kind, and what else it holds with texts as bytes. */
export type OnPush = (kind: string, values: readonly unknown[]) => void;

interface DataHandler {
  readonly redis: Redis;
}
interface DataHandlerPrototype {
  returnPush: (this: DataHandler, push: unknown) => void;
  dispatch: (this: DataHandler, handleReply: () => void) => void;
}
interface Listener {
  readonly onPush: OnPush;
  readonly fail: FailConnection;
}

const listeners = new WeakMap<Redis, Listener>();

// Node and bundlers give the CommonJS module, test runners its default export.
const { prototype } = ('default' in dataHandlerModule ? dataHandlerModule.default : dataHandlerModule) as unknown as {
  readonly prototype: DataHandlerPrototype;
};
const { returnPush, dispatch } = prototype;
// Without the hook every sleeping trigger would silently wake late: better not to start.
if (typeof returnPush !== 'function' || typeof dispatch !== 'function')
  throw new Error('this version of ioredis handles push messages in another way');
prototype.returnPush = function (push) {
  const listener = listeners.get(this.redis);
  if (listener === undefined) returnPush.call(this, push);
  else if (!Array.isArray(push) || !Buffer.isBuffer(push[0])) throw new ProtocolError('a push message of no kind');
  else listener.onPush(push[0].toString(), push.slice(1));
};
prototype.dispatch = function (handleReply) {
  const fail = listeners.get(this.redis)?.fail;
  if (fail === undefined) dispatch.call(this, handleReply);
  else
    try {
      handleReply();
    } catch (thrown) {
      fail(thrown);
    }
};

/**
 * `onPush` gets what the server sends unasked on the client's connection, in order with the replies; ioredis gets none of it. `fail`
 * gets what a reply makes ioredis throw.
 */
export function listenToPushes(client: Redis, listener: Listener): void {
  listeners.set(client, listener);
}
