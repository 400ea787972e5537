/**
 * Failover between the endpoints of one broker: stays with one that works, leaves one that fails alone for a growing while. Never
 * waits: where every endpoint has just failed, it says so at once.
 */
import type { QueueScalerError } from '../../errors.ts';
import { createBackOff, type BackOff } from './backOff.ts';

const FIRST_PAUSE_MS = 200;
const MAX_PAUSE_MS = 5_000;
/** A refused login is tried again after a second, and then ever more seldom. New credentials make new endpoints, tried at once. */
const FIRST_REFUSAL_PAUSE_MS = 1_000;
const MAX_REFUSAL_PAUSE_MS = 30_000;

export interface Endpoints<E> {
  /**
   * Runs with one endpoint after the other until one succeeds, at most once each; with a single one, a connection that broke is
   * tried twice. An error whose remedy is no other endpoint ends it.
   */
  attempt<T>(run: (endpoint: E) => Promise<T>, describe: (thrown: unknown, endpoint: E) => QueueScalerError): Promise<T>;
  /** The endpoint that works, or worked last. */
  readonly current: E;
}

interface State<E> {
  readonly endpoint: E;
  readonly backOff: BackOff;
  error: QueueScalerError | undefined;
}

export function createEndpoints<E>(all: readonly [E, ...E[]], random: () => number = Math.random): Endpoints<E> {
  const states: State<E>[] = all.map((endpoint) => ({
    endpoint,
    backOff: createBackOff(FIRST_PAUSE_MS, MAX_PAUSE_MS, random),
    error: undefined,
  }));
  let current = 0;
  const refusals = createBackOff(FIRST_REFUSAL_PAUSE_MS, MAX_REFUSAL_PAUSE_MS, random);
  let refusal: QueueScalerError | undefined;

  return {
    get current() {
      return states[current % states.length]?.endpoint ?? all[0];
    },
    async attempt(run, describe) {
      const now = performance.now();
      if (refusal !== undefined && refusals.retryAt > now) throw refusal;
      const order = states.map((_, offset) => (current + offset) % states.length);
      let last = states[current]?.error;
      let tries = 0;
      for (const index of order) {
        const state = states[index];
        if (state === undefined || state.backOff.retryAt > now) continue;
        // A load balancer that reset one connection takes the next.
        for (let attempt = 0; attempt < (states.length === 1 ? 2 : 1); attempt++) {
          tries++;
          try {
            const result = await run(state.endpoint);
            state.backOff.succeeded();
            state.error = undefined;
            refusals.succeeded();
            current = index;
            return result;
          } catch (thrown) {
            const error = describe(thrown, state.endpoint);
            last = error;
            if (error.spec.retry === 'credentials') {
              refusal = error;
              refusals.failed();
            }
            if (error.spec.retry !== 'endpoint') throw error;
            if (error.code === 'BROKER_TIMEOUT' || error.code === 'TLS_FAILED') break;
          }
        }
        state.error = last;
        state.backOff.failed();
      }
      if (tries === 0) last ??= states.find(({ error }) => error !== undefined)?.error;
      throw last ?? new Error('no endpoint');
    },
  };
}
